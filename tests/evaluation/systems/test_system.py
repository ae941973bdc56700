"""The systems that need no search: files of others, our own model, the truth; and what all outputs must be."""

import numpy as np
import pytest

from accompgen_hf import AccompGenProcessor, VocalAccompanimentPipeline
from accompgen_hf.accompgen.audio_accompgen import integrated_loudness, write_audio
from accompgen_hf.evaluation.systems.oracle import StageOracleSystem
from accompgen_hf.evaluation.systems.system import (
    FolderSystem,
    OursSystem,
    TruthSystem,
    Window,
    fit_output,
    match_loudness,
)
from tiny import tiny_model

RATE = 24_000


def tone(frequency: float, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    return (0.2 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


WINDOW = Window("song-0000000ms", "song", 0.0, 1.0, lambda rate: tone(440, rate))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    VocalAccompanimentPipeline(tiny_model(), AccompGenProcessor(), device="cpu").save_pretrained(folder)
    return folder


def test_files_of_any_rate_and_channels_are_matched_by_window_id(tmp_path):
    write_audio(tmp_path / "song-0000000ms.flac", np.stack([tone(440, 48_000)] * 2), 48_000)
    audio = FolderSystem("theirs", tmp_path).generate(tone(300), RATE, 0, WINDOW)
    assert audio.shape == (RATE,)
    assert np.abs(audio[500:-500] - tone(440)[500:-500]).max() < 1e-3


def test_a_missing_file_and_one_of_another_length_are_named(tmp_path):
    system = FolderSystem("theirs", tmp_path)
    with pytest.raises(ValueError, match=r"`system` theirs: .* one file for window 'song-0000000ms'.* got nothing"):
        system.generate(tone(300), RATE, 0, WINDOW)
    write_audio(tmp_path / "song-0000000ms.wav", tone(440, seconds=0.5), RATE)
    with pytest.raises(ValueError, match=r"lasts 0.50 s, but its window 1.00 s"):
        system.generate(tone(300), RATE, 0, WINDOW)
    with pytest.raises(ValueError, match=r"`system` theirs: .* is not a folder"):
        FolderSystem("theirs", tmp_path / "none")


def test_nan_in_a_file_is_refused_with_its_name(tmp_path):
    import soundfile

    audio = tone(440)
    audio[7] = np.nan
    soundfile.write(tmp_path / "song-0000000ms.wav", audio, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"song-0000000ms.wav is refused: .*NaN or infinity, first at sample 7"):
        FolderSystem("theirs", tmp_path).generate(tone(300), RATE, 0, WINDOW)


def test_a_folder_describes_its_files_and_its_conditions(tmp_path):
    (tmp_path / "isolated").mkdir()
    write_audio(tmp_path / "isolated" / "song-0000000ms.wav", tone(440), RATE)
    system = FolderSystem("theirs", tmp_path)
    before = system.describe()
    assert system.of_condition("isolated").path("song-0000000ms").is_file()
    assert system.of_condition("separated") is None
    write_audio(tmp_path / "isolated" / "song-0000000ms.wav", tone(441), RATE)
    assert system.describe() != before


def test_ours_is_the_pipeline_at_the_vocals_rate(model_folder):
    vocals = tone(300, 16_000)
    system = OursSystem(model_folder)
    first, again = (system.generate(vocals, 16_000, 3, WINDOW) for _ in range(2))
    expected = system.pipeline({"array": vocals, "sampling_rate": 16_000}, seed=3, output_sampling_rate="input")
    assert first.shape == vocals.shape
    assert np.array_equal(first, again)
    assert np.array_equal(first, expected["audio"])


def test_voices_together_get_what_each_gets_alone(model_folder):
    voices, seeds = [tone(300, 16_000), tone(350, 16_000)], [3, 9]
    windows = [WINDOW, Window("song-0000000ms", "song", 0.0, 1.0, lambda rate: tone(600, rate))]
    for system in (OursSystem(model_folder), StageOracleSystem(model_folder, "semantic")):
        together = system.generate_batch(voices, 16_000, seeds, windows)
        alone = [
            system.generate(voice, 16_000, seed, window)
            for voice, seed, window in zip(voices, seeds, windows, strict=True)
        ]
        assert not np.allclose(*alone, atol=1e-3)
        np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_description_changes_with_the_weights_and_missing_weights_are_named(model_folder, tmp_path):
    VocalAccompanimentPipeline(tiny_model(seed=1), AccompGenProcessor(), device="cpu").save_pretrained(tmp_path)
    assert OursSystem(tmp_path).describe() != OursSystem(model_folder).describe()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"`model` .* holds no weights"):
        OursSystem(tmp_path).describe()


def test_fewer_bits_are_part_of_the_description_and_reach_the_stages(model_folder):
    system = OursSystem(model_folder, weight_format="float16")
    assert system.describe()["options"] == {"weight_format": "float16"}
    assert OursSystem(model_folder).describe()["options"] == {}
    assert system.pipeline.model.fine.weight_format == "float16"


def test_the_truth_is_the_window_s_own_instrumental():
    assert np.array_equal(TruthSystem().generate(tone(300), RATE, 0, WINDOW), tone(440))


def test_loudness_is_set_three_units_under_the_vocals_and_peaks_stay_below_one():
    vocals, band = tone(300, seconds=2), tone(440, seconds=2) * 0.1
    matched = match_loudness(band, vocals, RATE)
    assert integrated_loudness(matched, RATE) == pytest.approx(integrated_loudness(vocals, RATE) - 3, abs=0.1)
    assert np.array_equal(match_loudness(band * 0, vocals, RATE), band * 0)
    clicks = np.zeros(2 * RATE, np.float32)
    clicks[::6000] = 1.0
    assert np.abs(match_loudness(clicks, vocals * 4, RATE)).max() <= 1.0


def test_a_length_that_differs_by_a_rounding_is_fitted():
    assert fit_output(np.ones(RATE - 10), RATE, RATE, "x")[-10:].tolist() == [0.0] * 10
    assert len(fit_output(np.ones(RATE + 10), RATE, RATE, "x")) == RATE
