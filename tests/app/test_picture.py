"""Facts about the picture: it is a readable PNG, its mel and onsets are right, and matplotlib's state stays."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.picture import (
    PICTURE_RATE,
    _measure_lane,
    draw_picture,
    find_onsets,
    iter_log_mel,
    log_mel,
    onset_strength,
)

VOCALS = Path(accompgen_hf.__file__).parent / "assets" / "vocals" / "vocadito_10.wav"

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def clicks(instants: list[float], duration_s: float = 3.0, sampling_rate: int = 24_000) -> np.ndarray:
    random = np.random.default_rng(0)
    audio = np.zeros(round(duration_s * sampling_rate), dtype=np.float32)
    for instant in instants:
        start = round(instant * sampling_rate)
        audio[start : start + 480] = 0.3 * random.standard_normal(480) * np.linspace(1, 0, 480)
    return audio


def test_onsets_are_found_where_something_begins():
    instants = [0.5, 1.0, 1.75, 2.25]
    onsets = find_onsets(onset_strength(log_mel(clicks(instants), 24_000)))
    np.testing.assert_allclose(onsets, instants, atol=0.04)


def test_silence_steady_noise_and_a_moment_have_no_onsets():
    assert len(find_onsets(onset_strength(log_mel(np.zeros(48_000, np.float32), 24_000)))) == 0
    noise = 0.1 * np.random.default_rng(0).standard_normal(72_000).astype(np.float32)
    assert len(find_onsets(onset_strength(log_mel(noise, 24_000))[20:])) == 0
    assert len(find_onsets(onset_strength(log_mel(noise[:2400], 24_000)))) == 0


def test_a_full_scale_sine_peaks_near_0_db_in_its_band():
    time = np.arange(3 * PICTURE_RATE) / PICTURE_RATE
    mel = log_mel(np.sin(2 * np.pi * 1000 * time).astype(np.float32), PICTURE_RATE)
    assert mel.shape == (80, 300)
    column = mel[:, 150]
    mels = 2595 * np.log10(1 + np.array([50, 8000, 1000]) / 700)
    expected_band = (mels[2] - mels[0]) / (mels[1] - mels[0]) * 81 - 1
    assert abs(int(column.argmax()) - expected_band) <= 1
    assert column.max() == pytest.approx(0, abs=3)
    assert np.median(column) < -60


def test_the_mel_is_the_same_across_block_borders():
    audio = 0.1 * np.random.default_rng(0).standard_normal(35 * PICTURE_RATE).astype(np.float32)
    whole = log_mel(audio, PICTURE_RATE)
    late = log_mel(audio[25 * PICTURE_RATE :], PICTURE_RATE)
    np.testing.assert_allclose(whole[:, 2510:3490], late[:, 10:990], atol=1e-3)


@pytest.mark.parametrize(("max_kept_frames", "num_passes"), [(900, 1), (899, 2)])
def test_a_recording_in_blocks_is_measured_as_the_whole(monkeypatch, max_kept_frames, num_passes):
    audio = np.tile(clicks([0.5, 1.0, 1.75]), (2, 3))
    audio[1] *= 0.3
    mel = log_mel(audio, 24_000)
    monkeypatch.setattr("accompgen_hf.app.picture._MAX_COLUMNS", 70)
    monkeypatch.setattr("accompgen_hf.app.picture._MAX_KEPT_FRAMES", max_kept_frames)
    passes = []
    monkeypatch.setattr(
        "accompgen_hf.app.picture.iter_log_mel", lambda blocks: passes.append(1) or iter_log_mel(blocks)
    )
    for lane in (_measure_lane(audio, 24_000), _measure_lane(Recording(audio, 24_000), 0)):
        assert lane.duration_s == 9.0
        np.testing.assert_allclose(lane.strength, onset_strength(mel), atol=1e-4)
        columns = [mel[:, start : start + 13].max(axis=1) for start in range(0, 900, 13)]
        np.testing.assert_allclose(lane.columns, np.stack(columns, axis=1), atol=1e-4)
    assert len(passes) == 2 * num_passes


def read_png(path) -> np.ndarray:
    from matplotlib.image import imread

    return imread(path)


def test_a_picture_of_the_real_recording_is_a_png_of_three_lanes(tmp_path):
    vocals, rate = load_audio(VOCALS)
    accompaniment = clicks([1.0, 2.0], duration_s=9.1)
    path = tmp_path / "ein Bild ü.png"
    draw_picture(path, vocals, accompaniment, vocals[0], (rate, 24_000, rate), title="$x_1$ été 100 %")
    assert os.listdir(tmp_path) == [path.name]
    image = read_png(path)
    assert image.shape[:2] == (1260, 1800)
    assert image[..., :3].std() > 0.2


@pytest.mark.parametrize("duration_s", [0.1, 100.0])
def test_the_shortest_and_a_long_recording_can_be_drawn(tmp_path, duration_s):
    audio = np.zeros(round(8000 * duration_s), np.float32)
    draw_picture(tmp_path / "a.png", audio, audio, audio, 8000)
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_matplotlibs_state_stays(tmp_path):
    import matplotlib

    before, backend = dict(matplotlib.rcParams), matplotlib.rcParams._get_backend_or_none()
    had_pyplot = "matplotlib.pyplot" in sys.modules
    audio = clicks([0.5])
    draw_picture(tmp_path / "a.png", audio, audio, audio, 24_000)
    assert dict(matplotlib.rcParams) == before
    assert matplotlib.rcParams._get_backend_or_none() == backend
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_a_failed_picture_leaves_the_old_one_and_no_rest(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, path, **_):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("No space left on device")

    (tmp_path / "a.png").write_bytes(b"old")
    monkeypatch.setattr(Figure, "savefig", fail)
    audio = clicks([0.5])
    with pytest.raises(OSError, match="No space left"):
        draw_picture(tmp_path / "a.png", audio, audio, audio, 24_000)
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_rates_are_one_or_three_and_matplotlib_is_named_when_missing(tmp_path, monkeypatch):
    audio = clicks([0.5])
    with pytest.raises(ValueError, match="`sampling_rate` must be one rate or three, got 2"):
        draw_picture(tmp_path / "a.png", audio, audio, audio, (24_000, 24_000))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="Drawing the picture needs matplotlib"):
        draw_picture(tmp_path / "a.png", audio, audio, audio, 24_000)
