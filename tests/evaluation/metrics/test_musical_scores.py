"""Musical scores against the songs' known truth, against mir_eval, and on what must score badly."""

import numpy as np
import pytest

from accompgen_hf.accompgen.rhythm_accompgen import track_beats
from accompgen_hf.evaluation.metrics.beats import score_beats
from accompgen_hf.evaluation.metrics.musical_scores import chroma_cosine, score_accompaniment, vocal_leakage_db
from accompgen_hf.songs.song import HELD_OUT_SEED, compose_song, synthesize_song

RATE = 16_000


@pytest.fixture(scope="module")
def songs():
    return [synthesize_song(compose_song(HELD_OUT_SEED + seed, duration_s=20.0), RATE) for seed in range(6)]


def clicks(duration_s: float, period_s: float) -> np.ndarray:
    audio = np.zeros(round(duration_s * RATE), dtype=np.float32)
    audio[:: round(period_s * RATE)] = 0.9
    return audio


def test_true_accompaniments_score_high_and_silence_clicks_and_other_songs_low(songs):
    rows = {"true": [], "silence": [], "clicks": [], "other": []}
    for song, other in zip(songs, songs[1:] + songs[:1], strict=True):
        silence = np.zeros_like(song.vocals)
        audios = {"true": song.instrumental, "silence": silence, "other": other.instrumental}
        for name, audio in {**audios, "clicks": clicks(20.0, 0.617)}.items():
            rows[name].append(score_accompaniment(audio, song.vocals, RATE, annotation=song.annotation))
    means = {
        name: {key: np.mean([row[key] for row in scores]) for key in ("key_mirex", "chord_majmin", "beat_f1")}
        for name, scores in rows.items()
    }
    assert means["true"]["chord_majmin"] >= 0.9
    assert means["silence"] == {"key_mirex": 0, "chord_majmin": 0, "beat_f1": 0}
    assert means["clicks"]["key_mirex"] == means["clicks"]["chord_majmin"] == 0
    assert means["clicks"]["beat_f1"] < 0.5
    for key, value in means["true"].items():
        assert value > 0.6
        assert means["other"][key] < value - 0.2


def test_detuning_lowers_chords_and_key_and_delay_lowers_beats_step_by_step(songs):
    annotation, band, vocals = songs[0].annotation, songs[0].instrumental, songs[0].vocals
    truth = annotation.beat_times
    heard = track_beats(band, RATE).times
    scores = [score_beats(heard + delay_s, truth) for delay_s in (0.0, 0.05, 0.1)]
    assert scores == sorted(scores, reverse=True)
    other_key = synthesize_song(annotation.transposed(1), RATE).instrumental
    right, wrong = (score_accompaniment(audio, vocals, RATE, annotation.to_dict()) for audio in (band, other_key))
    assert right["chord_majmin"] > 0.7 > 0.2 > wrong["chord_majmin"]
    assert wrong["key_exact"] == 0
    assert chroma_cosine(band, band, RATE) == pytest.approx(1)
    assert chroma_cosine(band, other_key, RATE) < 0.7


def test_chroma_cosine_falls_and_leakage_rises_with_the_voice(songs):
    band, vocals = songs[0].instrumental, songs[0].vocals
    leaks = [vocal_leakage_db(band + gain * vocals, vocals, RATE) for gain in (0.0, 0.1, 0.5, 2.0)]
    assert leaks == sorted(leaks)
    assert leaks[0] < -20
    assert vocal_leakage_db(np.roll(0.3 * vocals, 40), vocals, RATE) > 20
    assert vocal_leakage_db(np.zeros(RATE), vocals[:RATE], RATE) is None
    noise = np.random.default_rng(0).normal(size=len(band)).astype(np.float32)
    cosines = [chroma_cosine(band + level * noise, band, RATE) for level in (0.0, 0.1, 1.0)]
    assert cosines == sorted(cosines, reverse=True)


def test_levels_silence_and_clipping_are_counted(songs):
    vocals = songs[0].vocals
    audio = songs[0].instrumental.copy()
    audio[: len(audio) // 4] = 0
    audio[-100:] = 1.0
    scores = score_accompaniment(audio, vocals, RATE, reference=songs[0].instrumental)
    assert scores["silence_rate"] == pytest.approx(0.25, abs=0.02)
    assert scores["activity_coverage"] == pytest.approx(1 - scores["silence_rate"])
    assert scores["clipping_rate"] == pytest.approx(100 / len(audio))
    assert scores["key_exact"] is scores["chord_majmin"] is scores["beat_f1"] is scores["tempo_correct"] is None
    louder = score_accompaniment(0.5 * audio, vocals, RATE)
    assert scores["loudness_difference_lu"] - louder["loudness_difference_lu"] == pytest.approx(6.02, abs=0.05)
    nothing = score_accompaniment(np.zeros_like(vocals), vocals, RATE)
    assert nothing["loudness_lufs"] is nothing["vocal_leakage_db"] is nothing["vocal_chroma_cosine"] is None
    assert nothing["tempo_bpm"] == 0
    assert nothing["silence_rate"] == 1


def test_audio_that_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="`vocals` and `accompaniment` must be equally long, got 4 and 5"):
        score_accompaniment(np.zeros(5), np.zeros(4), RATE)
    with pytest.raises(ValueError, match="`accompaniment` holds NaN or infinity, first at sample 1"):
        score_accompaniment(np.array([0, np.nan]), np.zeros(2), RATE)
    with pytest.raises(ValueError, match="`reference` must be as long as `accompaniment`, 4 samples, got 5"):
        score_accompaniment(np.zeros(4), np.zeros(4), RATE, reference=np.zeros(5))
