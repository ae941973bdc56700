"""The corpus: keys that are heard in it, and an index that belongs to it."""

import json

import numpy as np
import pytest

from accompgen_hf.data.sources import Track
from accompgen_hf.evaluation.systems.corpus import Corpus, estimate_key, relative_key

RATE = 24_000


def test_a_cadence_is_heard_in_its_key_and_silence_in_none(cadence):
    assert estimate_key(cadence, RATE) == (0, "major")
    assert estimate_key(np.zeros(RATE, np.float32), RATE) is None


def test_relative_keys_share_their_notes_and_are_mutual():
    assert relative_key(0, "major") == (9, "minor")
    assert relative_key(9, "minor") == (0, "major")
    for tonic in range(12):
        assert relative_key(*relative_key(tonic, "major")) == (tonic, "major")


def test_the_index_is_made_once_and_belongs_to_its_corpus(cadence, tmp_path):
    loads = []

    def load():
        loads.append(1)
        return cadence, cadence, RATE

    tracks = [Track("a", "CC0-1.0", load), Track("quiet", "CC0-1.0", lambda: (cadence * 0, cadence * 0, RATE))]
    path = tmp_path / "cache" / "index.json"
    found = Corpus(tracks, 4.0, path).excerpts
    assert [(item.song_id, item.start_s) for item in found] == [("a", 0.0), ("a", 4.0)]
    assert found[0].tempo_bpm == pytest.approx(120, abs=2)
    assert np.diff(found[0].beats_s) == pytest.approx(0.5, abs=0.05)
    assert json.loads(path.read_text())["request"]["num_tracks"] == 2
    again = Corpus(tracks, 4.0, path)
    assert again.excerpts == found
    assert len(loads) == 1
    assert np.array_equal(again.load(found[1], RATE), cadence[4 * RATE : 8 * RATE])
    with pytest.raises(ValueError, match=r"`corpus` index .* is of another corpus"):
        _ = Corpus(tracks[:1], 4.0, path).excerpts
    with pytest.raises(ValueError, match=r"`corpus` has no excerpt of 11.0 s in 1 songs"):
        _ = Corpus(tracks[:1], 11.0, tmp_path / "other.json").excerpts
