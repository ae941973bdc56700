"""The served page and its handlers: caps, addresses, errors without tracebacks, files deleted; no browser."""

import json
import os
import re
import runpy
import socket
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import accompgen_hf
from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.app import cli, open_pipeline
from accompgen_hf.web import server, texts, web_command
from accompgen_hf.web.earlier_takes import ChosenSpan
from tiny import listening_model, tiny_model, tiny_part_model

gradio = pytest.importorskip("gradio", reason="the page needs gradio: pip install .[web]")
ROOT = Path(__file__).resolve().parents[2]
SPACE = ROOT / "examples" / "space"
ANNA = SimpleNamespace(session_hash="anna")
NOTHING_TOLD = ("", "", "")  # key, tempo, chords


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=tiny_model(is_placeholder=True), device="cpu")


@pytest.fixture(scope="module")
def address(pipe):
    environment = dict(os.environ)
    with server.open_page(pipe, max_bytes=100_000) as address:
        yield address
    os.environ.clear()
    os.environ.update(environment)


def fetch(address: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, data, headers), timeout=30) as response:
            return response.status, response.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode("utf-8", "replace")


def upload(address: str, content: bytes, name: str = "take.wav") -> tuple[int, str]:
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return fetch(f"{address}gradio_api/upload", body, **{"Content-Type": f"multipart/form-data; boundary={boundary}"})


def test_the_page_answers_on_this_machine_alone_and_names_no_other_host(address):
    assert address.startswith("http://127.0.0.1:")
    status, page = fetch(address)
    assert status == 200
    assert "Placeholder model" in page
    assert "googleapis" not in page
    assert "cdnjs" not in page


def test_a_file_over_the_cap_is_refused_while_it_is_sent_and_leaves_nothing(address):
    folder = Path(os.environ["GRADIO_TEMP_DIR"])
    before = sorted(folder.rglob("*"))
    status, words = upload(address, bytes(150_000))
    assert status == 413
    assert "100000 bytes" in words
    assert "Traceback" not in words
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("path", ["/etc/passwd", os.path.abspath(__file__), "../../etc/passwd", "setup.py"])
def test_files_of_the_server_are_not_given_out(address, path):
    status, words = fetch(f"{address}gradio_api/file={path}")
    assert status in (403, 404)
    assert len(words) < 300  # gradio repeats the path, and says no more
    assert "Traceback" not in words


def test_an_address_that_is_not_there_answers_without_a_traceback(address):
    for path in ("nowhere", "gradio_api/call/run", "gradio_api/api/run", "gradio_api/queue/join"):
        status, words = fetch(address + path, b"{}", **{"Content-Type": "application/json"})
        assert status >= 400
        assert "Traceback" not in words
        assert ".py" not in words


def test_no_handler_of_the_page_is_a_public_interface(address):
    status, words = fetch(f"{address}gradio_api/info")
    assert status == 200
    assert sorted(json.loads(words)["named_endpoints"]) == ["/accompany", "/regenerate"]
    assert json.loads(words)["unnamed_endpoints"] == {}


def test_the_queue_holds_sixteen_and_one_job_runs(pipe, monkeypatch):
    seen = {}

    def launch(page, **options):
        seen.update(options, queue=page._queue.max_size, limit=page._queue.default_concurrency_limit)
        return None, "address", None

    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    for name in ("GRADIO_TEMP_DIR", *server._ENVIRONMENT):
        monkeypatch.setenv(name, "")
    with server.open_page(pipe) as address:
        assert address == "address"
        folder = Path(os.environ["GRADIO_TEMP_DIR"]).parent
        assert folder.exists()
    assert not folder.exists()
    assert (seen["queue"], seen["limit"], seen["max_file_size"]) == (16, 1, 20 * 2**20)
    assert (seen["server_name"], seen["share"], seen["show_error"]) == ("127.0.0.1", False, False)
    assert not seen["mcp_server"]


@pytest.fixture
def handlers(pipe, tmp_path):
    from accompgen_hf.web.layout import Handlers, build_page
    from accompgen_hf.web.studio import Studio

    page = build_page(Studio(pipe, tmp_path / "jobs", max_duration_s=2.0))
    bound = [getattr(function.fn, "__self__", None) for function in page.fns.values()]
    return next(owner for owner in bound if isinstance(owner, Handlers))


def write_vocals(folder: Path) -> str:
    soundfile.write(folder / "take.wav", 0.3 * np.sin(np.arange(8000) * 0.05), 16_000)
    return str(folder / "take.wav")


def test_a_run_shows_progress_then_the_take_then_that_it_is_done(handlers, tmp_path):
    parts = handlers.parts
    shown = []
    for update in handlers.run(write_vocals(tmp_path), 2, True, 2.0, "5", "any", *NOTHING_TOLD, ANNA):
        if parts.player in update:
            shown.append(update[parts.player])
            for take in shown[-1]:  # also those of before: gradio reads all of them again
                assert all(Path(item["file"]["path"]).is_file() for item in [*take["tracks"], *take["files"]])
    assert [[take["label"] for take in takes] for takes in shown] == [
        ["seed 5, guidance 2, quick sketch"],
        ["seed 5, guidance 2, quick sketch", "seed 6, guidance 2, quick sketch"],
    ]
    assert texts.DONE in update[parts.status]["value"]
    assert (update[parts.go]["visible"], update[parts.stop]["visible"]) == (True, False)


@pytest.mark.parametrize("make", [tiny_model, tiny_part_model])
def test_styles_are_offered_where_the_model_knows_some(make, tmp_path):
    from accompgen_hf.web.layout import build_page
    from accompgen_hf.web.studio import Studio

    model = make()
    page = build_page(Studio(VocalAccompanimentPipeline(model=model, device="cpu"), tmp_path))
    [menu] = [block for block in page.blocks.values() if getattr(block, "elem_id", None) == "style"]
    assert menu.visible == (make is tiny_part_model)
    assert [value for _, value in menu.choices] == ["any", *model.config.style_names]


@pytest.mark.parametrize("make", [tiny_model, listening_model])
def test_the_page_asks_for_what_is_known_of_the_song_where_the_model_listens(make, tmp_path):
    from accompgen_hf.web.layout import build_page
    from accompgen_hf.web.studio import Studio

    page = build_page(Studio(VocalAccompanimentPipeline(model=make(), device="cpu"), tmp_path))
    fields = {getattr(block, "elem_id", None): block for block in page.blocks.values()}
    assert [fields[name].visible for name in ("key", "tempo", "chords")] == [make is listening_model] * 3
    names = [name for name, _ in fields["key"].choices]
    assert names[:3] == ["Hear it", "C major", "C minor"]
    assert len(names) == 25


def test_what_is_told_goes_to_the_studio(handlers, monkeypatch):
    asked = []
    monkeypatch.setattr(
        handlers.studio, "accompany", lambda visitor, path, settings: asked.append(settings) or iter(())
    )
    for told in (NOTHING_TOLD, ("A minor", "96", "0 2.5 Am"), ("", "", None)):
        list(handlers.run("take.wav", 1, False, 3.0, "", "any", *told, ANNA))
    told = [(settings.key, settings.tempo_bpm, settings.chords) for settings in asked]
    assert told == [(None, None, None), ("A minor", 96.0, [[0.0, 2.5, "Am"]]), (None, None, None)]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (("", "fast", ""), "The tempo must be a number of beats a minute"),
        (("", "", "Am F"), "The chords, line 1, must be start, end and name"),
        (("A minor", "", ""), "This model does not listen for key, tempo and chords"),
    ],
)
def test_what_is_told_wrong_is_said_in_words_on_the_page(handlers, tmp_path, told, words):
    *_, last = handlers.run(write_vocals(tmp_path), 1, False, 3.0, "", "any", *told, ANNA)
    assert words in last[handlers.parts.status]["value"]


def test_the_models_own_guidance_is_left_to_the_model(handlers, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        handlers.studio, "accompany", lambda visitor, path, settings: asked.append(settings) or iter(())
    )
    for guidance in (handlers.studio.default_guidance_scale, 1.0):
        list(handlers.run("take.wav", 2, False, guidance, "", "any", *NOTHING_TOLD, ANNA))
    assert [settings.guidance_scale for settings in asked] == [None, 1.0]


@pytest.mark.parametrize(
    ("seed", "content", "words"),
    [("", b"la la la", "The recording is text, not audio"), ("x", b"", "The seed must be a whole number")],
)
def test_what_is_refused_is_said_in_words_on_the_page(handlers, tmp_path, seed, content, words):
    (tmp_path / "take.wav").write_bytes(content)
    *_, last = handlers.run(str(tmp_path / "take.wav"), 1, False, 3.0, seed, "any", *NOTHING_TOLD, ANNA)
    assert handlers.parts.player not in last  # the takes of before stay
    assert words in last[handlers.parts.status]["value"]
    assert 'role="alert"' in last[handlers.parts.status]["value"]
    assert last[handlers.parts.go]["visible"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "Choose a part of the take first"),
        (
            {"recording": "/etc/passwd", "archive": "/etc/passwd", "start_s": 0, "end_s": 1, "part": None},
            "not there any",
        ),
    ],
)
def test_a_span_is_read_only_from_what_gradio_keeps_for_visitors(handlers, tmp_path, monkeypatch, sent, words):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    first, last = handlers.play_anew(SimpleNamespace(_data=sent), ANNA)
    assert first[handlers.parts.stop]["visible"]
    assert words in last[handlers.parts.status]["value"]
    assert handlers.parts.player not in last


def test_a_chosen_span_goes_to_the_studio(handlers, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    asked = []
    monkeypatch.setattr(handlers.studio, "regenerate", lambda *given: asked.append(given) or iter(()))
    sent = {"recording": f"{tmp_path}/voice.wav", "archive": f"{tmp_path}/a.zip", "start_s": 1, "end_s": 2.5}
    *_, last = handlers.play_anew(SimpleNamespace(_data={**sent, "part": "drums"}), ANNA)
    assert asked == [("anna", sent["recording"], ChosenSpan(sent["archive"], 1.0, 2.5, "drums"))]
    assert texts.DONE in last[handlers.parts.status]["value"]


def test_what_nobody_expected_goes_to_the_log_and_not_to_the_visitor(handlers, tmp_path, monkeypatch, capsys):
    def fail(*_args, **_options):
        raise RuntimeError("secret/path.py, line 7")

    monkeypatch.setattr(handlers.studio, "pipe", SimpleNamespace(model=handlers.studio.pipe.model))
    monkeypatch.setattr(handlers.studio, "_make_take", fail)
    *_, last = handlers.run(write_vocals(tmp_path), 1, False, 3.0, "", "any", *NOTHING_TOLD, ANNA)
    assert last[handlers.parts.status]["value"] == texts.failure(texts.BROKEN)
    assert "secret/path.py, line 7" in capsys.readouterr().err


def test_stop_ends_the_job_and_leaving_does_too(handlers, tmp_path):
    path = write_vocals(tmp_path)
    for end in (handlers.stop, handlers.leave):
        run = handlers.run(path, 4, False, 3.0, "", "any", *NOTHING_TOLD, ANNA)
        next(run)
        end(ANNA)
        *_, last = run
        assert texts.STOPPED in last[handlers.parts.status]["value"]


def test_a_run_that_was_not_stopped_and_could_not_begin_found_the_queue_full(handlers):
    status = handlers.parts.status
    assert texts.BUSY in handlers.fail(False)[status]["value"]
    assert texts.STOPPED in handlers.fail(True)[status]["value"]


def test_go_keeps_the_takes_of_before(handlers):
    updates = handlers.begin()
    assert handlers.parts.player not in updates
    assert updates[handlers.parts.stop]["visible"]


def test_without_gradio_the_error_names_the_extra(monkeypatch, capsys, pipe):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr(web_command, "load_pipeline", lambda model, device: pipe)
    for name in ("GRADIO_TEMP_DIR", *server._ENVIRONMENT):
        monkeypatch.setenv(name, "")
    assert cli.main(["web", "--device", "cpu"]) == 1
    assert 'The web page needs gradio: `pip install ".[web]"`' in capsys.readouterr().err
    assert not list(Path(tempfile.gettempdir()).glob(f"accompgen-web-*/{os.getpid()}"))


def test_without_mcp_the_error_names_the_extra(monkeypatch, pipe):
    monkeypatch.setitem(sys.modules, "mcp", None)
    for name in ("GRADIO_TEMP_DIR", *server._ENVIRONMENT):
        monkeypatch.setenv(name, "")
    words = r'The MCP server needs mcp: `pip install "\.\[mcp\]"`'
    with pytest.raises(ImportError, match=words), server.open_page(pipe, has_mcp=True):
        pass


def test_an_address_where_nobody_can_listen_is_refused_at_once(pipe):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for host, number in (("192.0.2.1", None), ("127.0.0.1", port), ("no.such.name.invalid", None)):
            words = f"`host` '{host}'.*cannot be listened on .*give an address of this machine"
            with pytest.raises(OSError, match=words), server.open_page(pipe, host, number):
                pass


@pytest.mark.parametrize("option", [["--port", "70000"], ["--max-duration", "-3"], ["--max-size", "0"]])
def test_caps_and_ports_that_mean_nothing_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        cli.main(["web", *option])
    assert f"argument {option[0]}: must be a" in capsys.readouterr().err


def test_the_command_serves_until_it_is_interrupted(monkeypatch, capsys, pipe):
    seen = {}

    class Page:
        def __init__(self, pipe, host, port, **caps):
            seen.update(host=host, port=port, **caps)

        def __enter__(self):
            return "http://127.0.0.1:7860/"

        def __exit__(self, *_):
            seen["closed"] = True

    class Interrupted:
        def wait(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(web_command, "load_pipeline", lambda model, device: pipe)
    monkeypatch.setattr(server, "open_page", Page)
    monkeypatch.setattr(web_command.threading, "Event", Interrupted)
    assert cli.main(["web", "--device", "cpu", "--max-duration", "30", "--max-size", "5"]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:7860/\n"
    expected = {"host": "127.0.0.1", "port": None, "max_bytes": 5 * 2**20, "max_duration_s": 30.0, "closed": True}
    assert seen == {**expected, "has_mcp": False}
    assert cli.main(["web", "--device", "cpu", "--mcp"]) == 0
    assert seen["has_mcp"]
    assert "The MCP server is http://127.0.0.1:7860/gradio_api/mcp/" in capsys.readouterr().err


@pytest.mark.parametrize("is_lent", [False, True])
def test_the_space_serves_the_same_page_where_the_space_wants_it(monkeypatch, is_lent):
    seen, decorated = {}, []

    class Page:
        def __init__(self, pipe, **options):
            seen.update(options, pipe=pipe)

        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    def lend(duration):
        decorated.append(duration)
        return lambda task: lambda *args, **options: ("on a GPU", task(*args, **options))

    def pipe(recording, **options):
        return recording, options

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lend))
    monkeypatch.setattr(open_pipeline, "load_pipeline", lambda model, device: seen.update(model=model) or pipe)
    monkeypatch.setattr(open_pipeline, "choose_device", lambda name: "cpu")
    monkeypatch.setattr(server, "open_page", Page)
    monkeypatch.setenv("ACCOMPGEN_MODEL", "me/my-band")
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    if is_lent:
        monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    with pytest.raises(KeyboardInterrupt):
        runpy.run_path(str(SPACE / "app.py"), run_name="__main__")
    play = seen.pop("play")
    assert seen == {"host": None, "pipe": pipe, "model": "me/my-band"}
    [duration] = decorated
    recording = {"array": np.zeros((1, 20 * 8000)), "sampling_rate": 8000}
    assert duration(recording, seed=7) == 50
    if is_lent:
        assert play(recording, seed=7) == ("on a GPU", (recording, {"seed": 7}))
    else:
        assert play is None  # the pipeline itself also reports its progress


def test_the_space_names_the_wheel_and_the_gradio_of_this_version():

    requirements = (SPACE / "requirements.txt").read_text("utf-8")
    assert f"./accompgen_hf-{accompgen_hf.__version__}-py3-none-any.whl[web," in requirements
    pin = re.search(r"^gradio==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)[1]
    assert f"sdk_version: {pin}\n" in (SPACE / "README.md").read_text("utf-8")


def test_the_page_opens_whatever_proxies_are_set(pipe, monkeypatch):
    proxies = {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks://127.0.0.1:9"}
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    with server.open_page(pipe) as address:
        assert not {"http_proxy", "ALL_PROXY"} & set(os.environ)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert opener.open(address, timeout=30).status == 200
    assert {name: os.environ[name] for name in proxies} == proxies
