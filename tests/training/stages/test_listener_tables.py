"""Tables of a listener: shares that can be counted by hand, and a whole fit by the script."""

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenSemanticConfig
from accompgen_hf.data.shards import TokenRow
from accompgen_hf.songs.composition import compose_song
from accompgen_hf.training.semantic_encoder.pool import label_frames, number_chords
from accompgen_hf.training.stages.listener_tables import fit_listener

CONFIG = AccompGenSemanticConfig(num_clusters=24, codebook_size=24, part_names=("bass", "other"))


def song(seed: int) -> tuple:
    """A song whose voice and bass say the part of the beat (0 to 11), and whose other says the chord."""
    annotation = compose_song(seed, duration_s=10.0)
    beats = ((np.arange(500) + 0.5) / 50 + annotation.start_s) / annotation.beat_s
    parts = (beats % 1 * 12).astype(np.int16)
    chords = np.maximum(number_chords(label_frames(annotation, 500), 0), 0).astype(np.int16)
    return TokenRow(f"song-{seed}", "CC0-1.0", "train", 0.0, 1.0, parts, np.stack([parts, chords]), None), annotation


@pytest.fixture(scope="module")
def listener():
    return fit_listener(CONFIG, [song(seed) for seed in range(40)])


def test_ids_that_are_parts_of_the_beat_say_so(listener):
    assert torch.equal(listener.beat_of_voice[:12].argmax(1), torch.arange(12))
    assert torch.equal(listener.beat_of_code[0, :12].argmax(1), torch.arange(12))
    assert (listener.beat_of_code[0, :12].amax(1) > 10).all()  # nearly 12 times as likely as without the id
    never_seen = listener.beat_of_code[0, 12:]
    assert never_seen.min() > 0.8
    assert never_seen.max() < 1.25


def test_ids_that_are_chords_say_so(listener):
    is_played = listener.chord_of_code[1].amax(1) > 3
    assert is_played.sum() >= 20  # of 24; some chord may be rare in 40 songs
    assert torch.equal(listener.chord_of_code[1].argmax(1)[is_played], torch.arange(24)[is_played])


def test_shares_add_up_to_one(listener):
    for name in ("pitch_of_voice", "pitch_of_chord", "first_chord", "next_chord"):
        sums = getattr(listener, name).sum(-1)
        torch.testing.assert_close(sums, torch.ones_like(sums))


def test_singers_prefer_the_tones_of_the_chord(listener):
    major, minor = listener.pitch_of_chord
    assert set(major.topk(3).indices.tolist()) == {0, 4, 7}
    assert set(minor.topk(3).indices.tolist()) == {0, 3, 7}


def test_a_listener_hears_the_beat_of_another_song(listener):
    row, _ = song(41)
    heard = listener.hear(torch.from_numpy(row.vocal_semantic_ids.astype(np.int64)), 100, 300)[:, 0]  # of the bass
    far = np.abs(heard.argmax(-1).numpy() - row.vocal_semantic_ids[100:400])
    assert np.mean(np.minimum(far, 12 - far) <= 1) > 0.95
