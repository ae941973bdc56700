"""Formats, tags and count-ins of results: what is written is read back, and all files begin together."""

import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.delivery import check_format, plan_count_in
from accompgen_hf.app.delivery_choices import FORMATS
from accompgen_hf.app.result_folders import list_audio, read_settings, write_part_result, write_result

RATE = 24_000
NUM_SAMPLES = 3 * RATE
SETTINGS = {"vocals": "/songs/Täke.wav", "seed": 7, "temperature": 0.8, "model": "some/model"}


def make_sheet(first_s: float = 0.2, meter: int = 4) -> dict:
    beats = [round(float(time), 3) for time in np.arange(first_s, 3.0, 0.5)]
    chord = {"start_s": 0.0, "end_s": 3.0, "name": "Am", "root": 9, "quality": "min"}
    sheet = {"duration_s": 3.0, "key": "A minor", "tempo_bpm": 120.0, "meter": meter, "chords": [chord]}
    return {**sheet, "beat_times": beats, "downbeat_times": beats[1::meter]}


def make_result(**changes) -> dict:
    time = np.arange(NUM_SAMPLES) / RATE
    bass, other = (0.1 * np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (110, 440))
    audio = bass + other
    result = {"audio": audio, "mix": np.stack([audio, 0.5 * audio]), "sampling_rate": RATE, "lead_sheet": make_sheet()}
    return {**result, "stems": {"bass": bass, "other": other}, **changes}


def write(tmp_path: Path, **settings) -> Path:
    vocals = np.full((2, NUM_SAMPLES), 0.1, np.float32)
    return write_result(tmp_path, {**SETTINGS, **settings}, vocals, RATE, make_result(), {"device": "cpu"})


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("accompgen_hf.app.result_folders.draw_picture", lambda path, *_args, **_kwargs: path.touch())


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_has_the_length_and_gives_its_settings_back(tmp_path, file_format):
    folder = write(tmp_path, format=file_format)
    names = [f"accompaniment.{file_format}", f"mix.{file_format}", "bass.wav", "other.wav"]
    assert list_audio(folder) == names
    for name in names:
        info = soundfile.info(folder / name)
        assert (info.frames, info.samplerate) == (NUM_SAMPLES, RATE)
    heard, _ = soundfile.read(folder / names[0], dtype="float32")
    error = np.abs(heard - make_result()["audio"])[RATE:-RATE].max()
    assert error < (1e-6 if file_format in ("wav", "flac") else 0.02)
    for name in names[:2]:
        settings = read_settings(folder / name)
        assert {key: settings[key] for key in SETTINGS} == SETTINGS
        assert settings["format"] == file_format
        assert settings["made_with"]["device"] == "cpu"
    record = json.loads((folder / "settings.json").read_bytes())
    assert set(record["files"]) == set(names)


def test_the_same_settings_give_the_same_hashes_in_every_format(tmp_path):
    for file_format in FORMATS:
        folders = [write(tmp_path / str(number), format=file_format) for number in range(2)]
        first, second = (json.loads((folder / "settings.json").read_bytes())["files"] for folder in folders)
        assert first == second


def test_lead_sheet_and_midi_file_have_the_folders_name_as_title(tmp_path):
    for name in ("Täke-seed7", "Täke-seed7-2"):
        folder = write(tmp_path)
        assert folder.name == name
        assert (folder / "lead_sheet.txt").read_text("utf-8").splitlines()[0] == name
        assert mido.MidiFile(folder / "song.mid", charset="utf-8").tracks[0].name == name


def test_files_without_a_format_have_no_tags(tmp_path):
    folder = write(tmp_path)
    with soundfile.SoundFile(folder / "mix.wav") as file:
        assert file.comment == ""
    with pytest.raises(ValueError, match="has no settings in its tags"):
        read_settings(folder / "mix.wav")


@pytest.mark.parametrize("file_format", ["wav", "flac"])
def test_a_count_in_moves_every_file_by_the_same_samples(tmp_path, file_format):
    plain, folder = write(tmp_path / "plain"), write(tmp_path / "moved", count_in=2, format=file_format)
    num_moved = plan_count_in(make_sheet(), 2, RATE).num_samples
    # Bars of 2 s; the first bar line is at 0.7 s, so the audio begins 1.3 s after one.
    assert num_moved == round((4.0 + 1.3) * RATE)
    for name in ("accompaniment", "mix", "bass", "other"):
        suffix = file_format if name in ("accompaniment", "mix") else "wav"
        before, _ = soundfile.read(plain / f"{name}.wav")
        after, _ = soundfile.read(folder / f"{name}.{suffix}")
        assert len(after) == num_moved + NUM_SAMPLES
        np.testing.assert_allclose(after[num_moved:], before, atol=2e-7)  # formats round the last bit on their own
        assert (np.abs(after[:num_moved]).max() > 0.1) == (name == "mix")
    voice, _ = soundfile.read(folder / f"vocals.{file_format}")
    assert voice.shape == (num_moved + NUM_SAMPLES, 2)
    assert np.abs(voice[:num_moved]).max() == 0

    sheet = json.loads((folder / "lead_sheet.json").read_bytes())
    moved_s = num_moved / RATE
    assert sheet["count_in_s"] == pytest.approx(moved_s)
    np.testing.assert_allclose(sheet["beat_times"], np.array(make_sheet()["beat_times"]) + moved_s, atol=1e-5)
    clicks, now = [], 0.0
    midi = mido.MidiFile(folder / "song.mid")
    for message in midi:
        now += message.time
        if message.type == "note_on" and message.channel == 9:
            clicks.append((now, message.note))
    assert midi.length == pytest.approx(moved_s + 3.0, abs=0.01)
    np.testing.assert_allclose([time for time, _ in clicks], np.arange(len(clicks)) * 0.5, atol=0.01)
    assert [note == 76 for _, note in clicks] == [index % 4 == 0 for index in range(len(clicks))]
    mix, _ = soundfile.read(folder / f"mix.{file_format}")
    level = np.abs(mix[:num_moved, 0])
    onsets = [round(index * 0.5 * RATE) for index in range(11)]
    assert all(level[first : first + 200].max() > 0.1 for first in onsets)
    assert all(level[first + 3000 : first + 11_900].max() == 0 for first in onsets[:-1])


@pytest.mark.parametrize(
    ("beats", "place", "num_clicks"),
    [
        ([0.3, 0.83, 1.29, 1.8], 0, 8),  # the audio begins late in the bar before the first beat
        ([0.2, 0.74, 1.24, 1.7], 1, 7),  # the first beat is the last of its bar
        ([0.02, 0.56, 1.02, 1.5], 3, 5),
        ([1.3, 1.82, 2.31, 2.8], 1, 5),  # no beat was heard at first: the clicks end where the audio begins
    ],
)
def test_clicks_of_a_count_in_lead_evenly_into_the_first_beat(beats, place, num_clicks):
    sheet = {**make_sheet(), "beat_times": beats, "downbeat_times": beats[place::4]}
    count_in = plan_count_in(sheet, 1, RATE)
    step_s = np.median(np.diff(beats))
    np.testing.assert_allclose(count_in.click_times, step_s * np.arange(len(count_in.click_times)), atol=1e-9)
    num_steps = (count_in.duration_s + beats[0]) / step_s  # from the first click, which begins a bar
    assert num_steps == pytest.approx(round(num_steps), abs=1e-3)
    assert (round(num_steps) + place) % 4 == 0
    assert len(count_in.click_times) == num_clicks
    assert 0 < count_in.duration_s - count_in.click_times[-1] <= step_s + 0.005


def test_a_streamed_result_is_delivered_as_a_called_one(tmp_path):
    settings = {**SETTINGS, "format": "flac", "count_in": 1}
    result = make_result()
    vocals = np.full((2, NUM_SAMPLES), 0.1, np.float32)
    part, stem = tmp_path / "take.part.wav", tmp_path / "take.bass.part.wav"
    soundfile.write(part, result["audio"], RATE, subtype="PCM_24")
    soundfile.write(stem, result["stems"]["bass"], RATE, subtype="FLOAT")
    recording = Recording(vocals, RATE)
    streamed = write_part_result(
        tmp_path / "a", settings, recording, part, {}, stem_paths={"bass": stem}, lead_sheet=make_sheet()
    )
    assert not part.exists()
    assert not stem.exists()
    called = write_result(tmp_path / "b", settings, recording, RATE, result, {})
    assert {path.name for path in streamed.iterdir()} == {path.name for path in called.iterdir()} - {"other.wav"}
    for name in ("accompaniment.flac", "bass.wav", "vocals.flac"):
        np.testing.assert_allclose(*(soundfile.read(folder / name)[0] for folder in (streamed, called)), atol=2e-7)
    for name in ("song.mid", "lead_sheet.txt", "lead_sheet.json"):
        assert (streamed / name).read_bytes() == (called / name).read_bytes()
    assert soundfile.info(streamed / "mix.flac").frames == soundfile.info(called / "mix.flac").frames


def test_without_a_beat_there_is_no_count_in_and_it_is_said(tmp_path):
    silent = {**make_sheet(), "beat_times": [], "downbeat_times": [], "meter": None, "tempo_bpm": None}
    with pytest.raises(ValueError, match="`count_in` must be 0 here: no beat was heard"):
        plan_count_in(silent, 1, RATE)
    with pytest.warns(UserWarning, match="There is no count-in"):
        folder = write_result(
            tmp_path,
            {**SETTINGS, "count_in": 1},
            np.zeros((1, NUM_SAMPLES), np.float32),
            RATE,
            make_result(lead_sheet=silent),
            {},
        )
    assert soundfile.info(folder / "mix.wav").frames == NUM_SAMPLES
    assert json.loads((folder / "lead_sheet.json").read_bytes())["count_in_s"] == 0


def test_what_a_format_cannot_hold_is_said_before_the_work():
    check_format("wav", 22_051, 16)
    with pytest.raises(ValueError, match=r"`--format mp3` takes 8000.* got 96000: add `--rate 48000`"):
        check_format("mp3", 96_000, 1)
    with pytest.raises(ValueError, match="takes at most 2 channels, got 6"):
        check_format("mp3", 48_000, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": "m4a"}', "'format' must be one of wav, flac"),
        ('{"count_in": 9}', "'count_in' must be from 0 to 8"),
    ],
)
def test_settings_files_hold_what_the_options_allow(tmp_path, text, message):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_settings(tmp_path / "settings.json")


def test_a_file_that_is_no_audio_is_refused_as_settings(tmp_path):
    (tmp_path / "take.flac").write_bytes(b"no audio")
    with pytest.raises(ValueError, match="cannot be read"):
        read_settings(tmp_path / "take.flac")
