"""Without the optional libraries, or with broken ones, the package imports and says at the use what is missing.

Also here: what the import costs over that of transformers, and a process that may not use the network.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from tiny import tiny_model

ROOT = Path(__file__).resolve().parents[1]
REQUIRED = {"torch", "transformers", "safetensors", "huggingface_hub", "tokenizers", "numpy", "tqdm"}


OF_TRANSFORMERS = {"accelerate", "peft", "scipy", "sklearn", "soundfile", "soxr", "torchcodec"}


def optional_modules() -> list[str]:
    """Import names of everything that the core or an extra of setup.py names and that Transformers does not need."""
    names = re.findall(r'"([A-Za-z][\w-]*)>=[\d.]+"', (ROOT / "setup.py").read_text("utf-8"))
    aliases = {"scikit-learn": "sklearn", "PyYAML": "yaml", "pytest-timeout": "pytest_timeout"}
    modules = {aliases.get(name, name.replace("-", "_")) for name in names}
    # Transformers itself reads YAML; the others are tools of the tests.
    return sorted(modules - REQUIRED - {"yaml", "pytest", "pytest_timeout", "hypothesis", "ruff", "setuptools"})


def run_python(code: str, *arguments: str, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_list_of_optional_libraries_is_the_one_of_setup():
    expected = {
        "accelerate",
        "av",
        "datasets",
        "demucs",
        "evaluate",
        "gradio",
        "matplotlib",
        "mir_eval",
        "numba",
        "onnxruntime",
    }
    expected |= {"pyloudnorm", "scipy", "sklearn", "soundfile", "soxr", "encodec"}
    assert set(optional_modules()) >= expected - {"demucs"}


HIDE = """
import json, sys
from importlib.machinery import ModuleSpec, PathFinder

hidden, kind = set(json.loads(sys.argv[1])), sys.argv[2]
find_spec = PathFinder.find_spec

class Broken:
    def create_module(self, spec):
        return None

    def exec_module(self, module):
        raise OSError("undefined symbol: _ZN2at")

def find(name, path=None, target=None):
    if name.split(".")[0] not in hidden:
        return find_spec(name, path, target)
    return None if kind == "missing" else ModuleSpec(name, Broken())

PathFinder.find_spec = staticmethod(find)
"""

WITHOUT = (
    HIDE
    + """
import accompgen_hf
from accompgen_hf.app import cli
from transformers import AutoConfig, pipeline
assert AutoConfig.from_pretrained(accompgen_hf.DEFAULT_MODEL).model_type == "accompgen"
said = {}
from accompgen_hf.accompgen.audio_accompgen import load_audio, resample
from accompgen_hf.app.picture import draw_picture
from accompgen_hf.web.server import open_page
import numpy as np
silence = np.zeros(8000, dtype=np.float32)
def page():
    with open_page(pipe=None):
        pass
for use, call in {
    "file": lambda: load_audio(b"RIFF" + bytes(100)),
    "resample": lambda: resample(silence, 8000, 16000),
    "picture": lambda: draw_picture("p.png", silence, silence, silence, 16000),
    "page": page,
}.items():
    try:
        call()
    except (ImportError, ValueError) as error:  # with soundfile there, these bytes are no audio
        said[use] = str(error)
print(json.dumps(said))
"""
)


@pytest.mark.parametrize("kind", ["missing", "broken"])
def test_the_package_imports_without_them_and_each_use_names_the_cure(kind, tmp_path):
    # Transformers imports some of these itself where it finds them: broken, they would break it and not us.
    hidden = set(optional_modules()) - (OF_TRANSFORMERS if kind == "broken" else set())
    output = run_python(WITHOUT, json.dumps(sorted(hidden)), kind, HF_HUB_OFFLINE="1")
    said = json.loads(output.splitlines()[-1])
    if kind == "missing":
        assert "soundfile" in said["file"]
        assert "pip install soxr" in said["resample"]
        assert "pip install matplotlib" in said["picture"]
        assert '`pip install ".[web]"` in the folder of the repository' in said["page"]
    else:  # installing what is there would not help
        for use, library in (("picture", "matplotlib"), ("page", "gradio")):
            assert f"needs {library}" in said[use]
            assert "which is installed but cannot be imported (OSError: undefined symbol" in said[use]
            assert "pip install" not in said[use]


HELP = (
    HIDE
    + """
import contextlib, io, pathlib, runpy
failed = {}
for script in sorted(pathlib.Path("examples").rglob("*.py")):
    text = script.read_text("utf-8")
    if "ArgumentParser" not in text or "__main__" not in text:
        continue
    sys.argv = [str(script), "--help"]
    sys.path.insert(0, str(script.parent))
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if end.code or "usage:" not in said.getvalue():
            failed[str(script)] = f"exit code {end.code}"
    except BaseException as error:
        failed[str(script)] = repr(error)
    sys.path.pop(0)
print(json.dumps(failed))
"""
)


def test_every_script_shows_its_help_without_the_extras(monkeypatch):
    monkeypatch.chdir(ROOT)
    hidden = set(optional_modules()) - {"matplotlib", "mido", "pyloudnorm", "scipy", "soundfile", "soxr"}
    assert json.loads(run_python(HELP, json.dumps(sorted(hidden)), "missing").splitlines()[-1]) == {}


def test_the_commands_run_with_what_a_plain_installation_brings(tmp_path):
    code = HIDE + "from accompgen_hf.app import cli\nsys.exit(cli.main(sys.argv[3:]))"
    # What the extras alone bring, and what datasets brings along; scipy comes with pyloudnorm.
    hidden = set(optional_modules()) - {"matplotlib", "mido", "pyloudnorm", "scipy", "soundfile", "soxr"}
    hidden |= {"pyarrow", "pandas"}
    VocalAccompanimentPipeline(model=tiny_model(), device="cpu").save_pretrained(tmp_path / "model")
    soundfile.write(tmp_path / "take.wav", 0.1 * np.sin(np.arange(8000) * 0.1), 16_000)
    arguments = ["generate", str(tmp_path / "take.wav"), "--model", str(tmp_path / "model"), "--seed", "1"]
    run_python(code, json.dumps(sorted(hidden)), "missing", *arguments, "--output", str(tmp_path / "out"))
    written = {path.name for path in (tmp_path / "out" / "take-seed1").iterdir()}
    sheet_files = {"codes.safetensors", "lead_sheet.txt", "lead_sheet.json", "song.mid"}
    assert written == {"accompaniment.wav", "mix.wav", "picture.png", "settings.json", *sheet_files}


OFFLINE = """
import json, os, sys
import socket

def refuse(*_args, **_kwargs):
    raise AssertionError("the network was asked for")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy as np
import accompgen_hf
from transformers import pipeline

vocals = np.sin(np.arange(8000) * 0.1).astype(np.float32)
hashes = {}
for source in json.loads(sys.argv[1]):
    pipe = pipeline("vocal-accompaniment", model=source, device="cpu")
    hashes[source] = pipe(vocals, sampling_rate=16_000, seed=1, show_progress=False)["audio"].tobytes().hex()
    try:
        pipeline("vocal-accompaniment", model="someone/else", device="cpu")
    except OSError as error:
        hashes["unknown"] = str(error)
print(json.dumps(hashes))
"""


def test_offline_a_folder_and_a_cached_repository_load_and_generate(tmp_path):
    pipe = VocalAccompanimentPipeline(model=tiny_model(), device="cpu")
    folder = tmp_path / "folder"
    pipe.save_pretrained(folder)
    # The cache as huggingface_hub lays it out after a download.
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "home" / "hub" / "models--someone--band"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    pipe.save_pretrained(cached / "snapshots" / commit)
    sources = [str(folder), "someone/band"]
    output = run_python(
        OFFLINE,
        json.dumps(sources),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "home"),
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    told = json.loads(output.splitlines()[-1])
    vocals = np.sin(np.arange(8000) * 0.1).astype(np.float32)
    expected = pipe(vocals, sampling_rate=16_000, seed=1, show_progress=False)["audio"].tobytes().hex()
    assert [told[source] for source in sources] == [expected, expected]
    assert "find them in the cached files" in told["unknown"]


IMPORT_TIME = """
import time
import transformers.pipelines
start = time.process_time()
import accompgen_hf
print(time.process_time() - start)
"""


@pytest.mark.slow
def test_the_import_adds_at_most_three_tenths_of_a_second_to_that_of_transformers_and_numba_nothing():
    hidden_libraries = {"with numba": [], "without it": ["numba"]}
    seconds: dict[str, list[float]] = {name: [] for name in hidden_libraries}
    for _ in range(5):
        for name, hidden in hidden_libraries.items():
            seconds[name].append(float(run_python(HIDE + IMPORT_TIME, json.dumps(hidden), "missing")))
    least = {name: min(values) for name, values in seconds.items()}
    told = ", ".join(f"{value:.3f} s {name}" for name, value in least.items())
    print(f"import accompgen_hf: {told}, of the processor over transformers.pipelines, the least of 5 runs each")
    assert max(least.values()) <= 0.3
    assert least["with numba"] <= least["without it"] + 0.03


def test_the_import_brings_no_optional_library_and_no_command():
    before = "import sys; import transformers.pipelines; before = set(sys.modules)"
    brought = set(run_python(f"{before}; import accompgen_hf; print(*(set(sys.modules) - before))").split())
    assert not {name for name in brought if name.split(".")[0] in optional_modules()}
    assert "accompgen_hf.app.cli" not in brought
    assert "accompgen_hf.app.picture" not in brought
