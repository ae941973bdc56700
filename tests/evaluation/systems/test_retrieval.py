"""Random and retrieval: who is never chosen, where an excerpt begins, and whether tempo and key follow the voice."""

import numpy as np
import pytest

from accompgen_hf.accompgen.audio_accompgen import integrated_loudness
from accompgen_hf.evaluation.systems.retrieval import RandomSystem, RetrievalSystem, other_songs
from listed_corpus import ListedCorpus, excerpt, window

RATE = 24_000


def pulses(tempo_bpm: float, seconds: float, frequency: float = 220.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * frequency * time) * np.exp(-12 * (time % (60 / tempo_bpm)))).astype(np.float32)


def test_tempo_within_four_and_the_same_or_relative_key_are_kept(cadence):
    kept = [excerpt("same", 120, 0, "major"), excerpt("relative", 123, 9, "minor")]
    wrong = [excerpt("fast", 125, 0, "major"), excerpt("fifth", 120, 7, "major"), excerpt("parallel", 120, 0, "minor")]
    own = excerpt("song-800000", 120, 0, "major")
    system = RetrievalSystem(ListedCorpus([own, *wrong, *kept]))
    assert system.find(cadence, RATE, window()) == kept


def test_without_a_match_the_nearest_tempo_in_key_is_taken(cadence):
    corpus = ListedCorpus(
        [excerpt("far", 90, 0, "major"), excerpt("near", 110, 0, "major"), excerpt("x", 120, 1, "major")]
    )
    assert [found.song_id for found in RetrievalSystem(corpus).find(cadence, RATE, window())] == ["near"]
    silence = np.zeros(10 * RATE, np.float32)
    assert len(RetrievalSystem(corpus).find(silence, RATE, window())) == 3  # nothing heard, nothing excluded


def test_no_system_ever_plays_the_song_itself(cadence):
    corpus = ListedCorpus([excerpt("song-800000", 120, 0, "major")])
    for system in (RandomSystem(corpus), RetrievalSystem(corpus)):
        with pytest.raises(ValueError, match="`corpus` must hold other songs than 'song-800000'"):
            system.generate(cadence, RATE, 0, window())
    assert other_songs(corpus, window("song-800001")) == corpus.excerpts


def test_retrieval_begins_on_a_beat_and_the_seed_decides(cadence):
    corpus = ListedCorpus([excerpt("a", 120, 0, "major", beats_s=(0.25, 1.25, 2.75))])
    starts = set()
    for seed in range(8):
        audio = RetrievalSystem(corpus).generate(cadence, RATE, seed, window())
        again = RetrievalSystem(corpus).generate(cadence, RATE, seed, window())
        assert np.array_equal(audio, again)
        gain = (audio[-1] - audio[0]) / 10  # of the ramp, per second
        starts.add(round(float(audio[0] / gain), 2))
    assert starts == {0.25, 1.25}  # from 2.75 s on, ten seconds are not left


def test_both_are_as_loud_as_the_mix_wants_them(cadence):
    corpus = ListedCorpus([excerpt("a", 120, 0, "major")])
    corpus.load = lambda excerpt, sampling_rate: 0.1 * pulses(100, 12.0)
    for system in (RandomSystem(corpus), RetrievalSystem(corpus)):
        audio = system.generate(cadence, RATE, 1, window())
        assert audio.shape == cadence.shape
        difference = integrated_loudness(audio, RATE) - integrated_loudness(cadence, RATE)
        assert difference == pytest.approx(-3.0, abs=0.1)
