"""The endpoints as programs use them: gradio_client and an MCP client against a served page."""

import asyncio
import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import soundfile

from accompgen_hf import VocalAccompanimentPipeline
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.result_folders import write_result
from accompgen_hf.web import server
from tiny import listening_model

gradio_client = pytest.importorskip("gradio_client", reason="the page needs gradio: pip install .[web]")

PARAMETERS = ["recording", "seed", "guidance_scale", "quick", "style", "key", "tempo_bpm", "chords"]


@pytest.fixture(scope="module")
def pipe():
    return VocalAccompanimentPipeline(model=listening_model(), device="cpu")


@pytest.fixture(scope="module")
def address(pipe):
    pytest.importorskip("mcp", reason="the MCP server needs mcp: pip install .[mcp]")
    environment = dict(os.environ)
    with server.open_page(pipe, max_duration_s=5.0, has_mcp=True) as address:
        yield address
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="module")
def client(address):
    return gradio_client.Client(address, verbose=False)


@pytest.fixture
def vocals(tmp_path):
    soundfile.write(tmp_path / "take.wav", 0.3 * np.sin(np.arange(8000) * 0.05), 16_000)
    return tmp_path / "take.wav"


def test_the_schema_names_what_goes_in_and_comes_out(client):
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert sorted(endpoints) == ["/accompany", "/regenerate"]
    parameters = {entry["parameter_name"]: entry for entry in endpoints["/accompany"]["parameters"]}
    assert list(parameters) == PARAMETERS
    assert [name for name, entry in parameters.items() if not entry["parameter_has_default"]] == ["recording"]
    assert [entry["label"] for entry in endpoints["/accompany"]["returns"]][:2] == ["Mix", "The band alone"]


def test_accompany_gives_what_the_pipeline_gives(client, pipe, vocals):
    mix, band, archive = client.predict(gradio_client.handle_file(vocals), seed=7, api_name="/accompany")
    expected = pipe(str(vocals), seed=7, output_sampling_rate="input")
    for path, name in ((mix, "mix"), (band, "audio")):
        audio, rate = soundfile.read(path, dtype="float32")
        assert rate == 16_000
        assert np.abs(audio - expected[name]).max() < 2**-22
    with zipfile.ZipFile(archive) as files:
        settings = json.loads(files.read("settings.json"))
        assert (settings["seed"], settings["vocals"]) == (7, "take.wav")
        audio, _ = soundfile.read(io.BytesIO(files.read("accompaniment.wav")), dtype="float32")
    assert np.abs(audio - expected["audio"]).max() < 2**-22


def test_accompany_takes_what_is_known_of_the_song(client, pipe, vocals):
    told = {"key": "Bb", "tempo_bpm": 92.5}
    files = client.predict(
        gradio_client.handle_file(vocals), seed=7, **told, chords="0 0.25 F\n0.25 0.5 Gm", api_name="/accompany"
    )
    told["chords"] = [[0.0, 0.25, "F"], [0.25, 0.5, "Gm"]]
    audio, _ = soundfile.read(files[1], dtype="float32")
    assert np.abs(audio - pipe(str(vocals), seed=7, output_sampling_rate="input", **told)["audio"]).max() < 2**-22
    with zipfile.ZipFile(files[2]) as archive:
        settings = json.loads(archive.read("settings.json"))
    assert {name: settings[name] for name in told} == told


def test_regenerate_makes_a_span_of_a_take_anew_and_the_old_seed_gives_it_back(client, tmp_path):
    soundfile.write(tmp_path / "take.wav", 0.3 * np.sin(np.arange(16_000) * 0.05), 16_000)
    vocals = gradio_client.handle_file(tmp_path / "take.wav")
    _, first, archive = client.predict(vocals, seed=7, api_name="/accompany")
    span = {"take": gradio_client.handle_file(archive), "start_s": 0.4, "end_s": 0.8, "api_name": "/regenerate"}
    _, same, _ = client.predict(vocals, **span, seed=7)
    _, other, archive = client.predict(vocals, **span, seed=8)
    first, same, other = (soundfile.read(path, dtype="float32")[0] for path in (first, same, other))
    np.testing.assert_array_equal(same, first)
    assert np.abs(other - first).max() > 0.001
    with zipfile.ZipFile(archive) as files:
        settings = json.loads(files.read("settings.json"))
    assert settings["regenerated"]["from"].startswith("take-seed7")
    with pytest.raises(gradio_client.exceptions.AppError, match="The part must end after it begins"):
        client.predict(vocals, **{**span, "end_s": 0.1}, seed=8)


def test_regenerate_takes_a_folder_of_the_command_in_another_format(client, pipe, vocals, tmp_path):
    result = pipe(str(vocals), seed=7, return_codes=True, output_sampling_rate="input")
    settings = {"vocals": "take.wav", "seed": 7, "format": "flac"}
    folder = write_result(tmp_path, settings, Recording(vocals), 16_000, result, {})
    archive = gradio_client.handle_file(shutil.make_archive(str(tmp_path / "take-seed7"), "zip", folder))
    files = client.predict(
        gradio_client.handle_file(vocals), archive, start_s=0.1, end_s=0.4, seed=7, api_name="/regenerate"
    )
    for path, name in zip(files[:2], ("mix.flac", "accompaniment.flac"), strict=True):
        assert os.path.basename(path) == name
        np.testing.assert_array_equal(soundfile.read(path)[0], soundfile.read(folder / name)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -2}, "The seed must be from 0 to"),
        ({"guidance_scale": 11}, "The guidance must be from 0 to 10.0, got 11"),
        ({"key": "H"}, 'The key must be a tonic with "major" or "minor"'),
        ({"tempo_bpm": 10}, "The tempo must be from 30 to 300, got 10"),
        ({"chords": "Am F"}, "The chords, line 1, must be start, end and name"),
    ],
)
def test_what_is_refused_comes_back_as_words(client, vocals, options, words):
    with pytest.raises(gradio_client.exceptions.AppError, match=words):
        client.predict(gradio_client.handle_file(vocals), **options, api_name="/accompany")


def test_a_recording_that_is_too_long_is_refused_in_words(client, tmp_path):
    soundfile.write(tmp_path / "long.wav", 0.3 * np.sin(np.arange(6 * 8000) * 0.05), 8000)
    with pytest.raises(gradio_client.exceptions.AppError, match="lasts more than 5 s, which is the limit here"):
        client.predict(gradio_client.handle_file(tmp_path / "long.wav"), api_name="/accompany")


def test_an_mcp_client_finds_the_tools(address):
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return (await session.list_tools()).tools

    tools = {tool.name.rsplit("_", 1)[-1]: tool for tool in asyncio.run(talk())}
    assert sorted(tools) == ["accompany", "regenerate"]
    tool = tools["accompany"]
    assert tool.description.startswith("Play a band to a recording of a singing voice.")
    assert set(tool.inputSchema["properties"]) == set(PARAMETERS)
    assert "Audio file of one voice" in tool.inputSchema["properties"]["recording"]["description"]
    assert "start and end in seconds and a name" in tool.inputSchema["properties"]["chords"]["description"]
