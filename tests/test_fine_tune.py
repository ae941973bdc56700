"""The three commands of docs/guide/fine_tune.md, on a tiny model of three parts and six small songs."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from accompgen_hf import AccompGenForConditionalGeneration
from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.app import cli
from accompgen_hf.data.training_tracks import hash_track
from tiny import tiny_part_model

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("drums", "bass", "other")
pytest.importorskip("peft", reason="adapters need peft (extra `train`)")


@pytest.fixture
def call(monkeypatch):
    def run(script: str, *words) -> None:
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        runpy.run_path(str(ROOT / "examples" / f"{script}.py"), run_name="__main__")

    return run


def write_songs(folder: Path) -> None:
    """Six songs of 2 s: a voice, and the parts of a band in other tones."""
    generator = np.random.default_rng(0)
    time_s = np.arange(2 * 16_000) / 16_000
    for kind in ("vocals", *PARTS):
        (folder / kind).mkdir(parents=True)
        for name in "abcdef":
            tone = 0.2 * np.sin(2 * np.pi * generator.uniform(100, 500) * time_s)
            soundfile.write(folder / kind / f"{name}.wav", tone, 16_000)


def test_songs_of_ones_own_fine_tune_a_whole_model_in_three_commands(call, tmp_path, capsys):
    songs, base, shards, run = (tmp_path / name for name in ("songs", "base", "shards", "run"))
    write_songs(songs)
    model = tiny_part_model()
    model.training_tracks = frozenset({hash_track("before")})
    model.save_pretrained(base)
    data = ["--source", "pairs", "--data", songs, "--bandwidth", 2.4, "--parts", *PARTS]
    prepare = ["prepare_dataset", *data, "--semantic_encoder", base, "--codec", base, "--output_dir", shards]
    call(*prepare, "--dry_run")
    assert "6 tracks, " in capsys.readouterr().out
    assert not shards.exists()
    call(*prepare)
    assert "so that 2 of 6 tracks are held out" in capsys.readouterr().out
    call("fine_tune", "--model", base, "--data", shards, "--output_dir", run, "--max_steps", 2, "--lora_rank", 2,
         "--stages", "semantic", "--validation_clips", 2, "--global_batch_size", 2)  # fmt: skip
    assert re.search(r"semantic: \d+\.\d+ nats per code before, \d+\.\d+ after 2 steps", capsys.readouterr().out)
    stage, band = run / "semantic" / "final", tmp_path / "band"
    assert cli.main(["assemble", "--base", str(base), "--semantic", str(stage), "-o", str(band)]) == 0
    AccompGenForConditionalGeneration.from_pretrained(band)
    assert read_record(band) == {hash_track(name) for name in ("before", *"abcdef")}
    with pytest.raises(SystemExit):
        call(*prepare[:-1], tmp_path / "other", "--codec", tmp_path / "nowhere", "--dry_run")
    assert "error: " in capsys.readouterr().err
