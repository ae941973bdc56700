"""Tables of a listener: shares that can be counted by hand, and a whole fit by the script."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from accompgen_hf import AccompGenSemanticConfig, AccompGenSemanticForCausalLM
from accompgen_hf.data.shards import PARTS_FORMAT_VERSION, Manifest, TokenRow, shard_name, shard_schema, write_rows
from accompgen_hf.songs.composition import compose_song
from accompgen_hf.training.semantic_encoder.pool import label_frames, number_chords
from accompgen_hf.training.stages.listener_tables import fit_listener

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 16, "intermediate_size": 16}
CONFIG = AccompGenSemanticConfig(num_clusters=24, codebook_size=24, part_names=("bass", "other"), **SIZES)


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


def write_songs(folder: Path, seeds: range, corpus: str) -> str:
    """A folder of shards with these songs, which says that they are of a corpus."""
    folder.mkdir()
    rows = [replace(song(seed)[0], codes=np.zeros((2, 8, 750), np.int16)) for seed in seeds]
    sha256 = write_rows(folder / shard_name(0), rows, shard_schema(has_parts=True))
    source = {"corpus": corpus, "recipe": {"composition": "plain", "singers": "vowels"}}
    settings = {"num_clusters": 24, "codebook_size": 24, "part_names": CONFIG.part_names, "source": source}
    shards = [{"file": shard_name(0), "sha256": sha256, "num_rows": len(rows)}]
    manifest = Manifest("f" * 64, settings, shards, {}, len(rows), [], 10.0 * len(rows))
    replace(manifest, format_version=PARTS_FORMAT_VERSION).save(folder)
    return str(folder)


@pytest.fixture
def fit_by_script(tmp_path, monkeypatch):
    """A call of the script with folders of shards gives the stage with its listener."""
    untrained = AccompGenSemanticForCausalLM(CONFIG)
    untrained.training_tracks = frozenset()
    untrained.save_pretrained(tmp_path / "stage")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = importlib.import_module("fit_listener")

    def call(*folders: str) -> AccompGenSemanticForCausalLM:
        stage, result = str(tmp_path / "stage"), str(tmp_path / "listening")
        words = ["fit_listener.py", "--stage", stage, "--data", *folders, "--output_dir", result]
        monkeypatch.setattr(sys, "argv", words)
        script.main()
        return AccompGenSemanticForCausalLM.from_pretrained(result)

    return call


def test_the_script_counts_the_songs_of_all_its_folders(fit_by_script, tmp_path):
    stage = fit_by_script(*(write_songs(tmp_path / str(n), range(4 * n, 4 * n + 4), "songs") for n in (0, 1)))
    expected = fit_listener(CONFIG, [song(seed) for seed in range(8)])
    torch.testing.assert_close(stage.listener.state_dict(), expected.state_dict())
    assert len(stage.training_tracks) == 8


def test_the_script_refuses_music_whose_beats_are_not_known(fit_by_script, tmp_path):
    with pytest.raises(ValueError, match="`data` must be shards of procedural songs"):
        fit_by_script(write_songs(tmp_path / "others", range(2), "musdb18"))
