"""The whole chain by its scripts: songs and a STEM file -> pairs -> centroids -> tokens -> stages -> band and parts.

Three minutes on two quiet cores; alone by `python -m pytest -m slow tests/test_whole_chain.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import load_dataset
from transformers import AutoModel, Wav2Vec2FeatureExtractor

import accompgen_hf
from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.songs.song import HELD_OUT_SEED, generate_song
from accompgen_hf.training.run_files import read_metrics
from stem_files import RATE, write_stem_file

ROOT = Path(__file__).resolve().parents[1]
NUM_STEPS = 50
NUM_CLUSTERS = 60
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*words: object, **variables: str) -> str:
    """Run a command from the repository's root and return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **variables}
    command = [sys.executable, *map(str, words)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def launch(*words: object) -> str:
    """Run a script on two processes, which talk through gloo."""
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    return run(*launcher, *words, ACCELERATE_USE_CPU="true")


def write_stem_song(path: Path) -> None:
    """A procedural song as MUSDB18 has its songs: 44.1 kHz stereo, the band in three stems."""
    song = generate_song(777, duration_s=12.0, with_parts=True)
    stems = {"mix": song.vocals + song.instrumental, **song.parts, "vocals": song.vocals}
    stems = {name: resample(audio[None], song.sampling_rate, RATE) for name, audio in stems.items()}
    write_stem_file(path, {name: np.repeat(audio, 2, axis=0) for name, audio in stems.items()})


def test_songs_and_a_stem_file_become_a_model_that_accompanies(tmp_path):
    write_stem_song(tmp_path / "musdb18" / "train" / "Ann - Somewhere.stem.mp4")
    shipped = AutoModel.from_pretrained(accompgen_hf.DEFAULT_MODEL)
    shipped.semantic_encoder.hubert.save_pretrained(tmp_path / "hubert")
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "hubert")
    shipped.codec.save_pretrained(tmp_path / "codec")
    layer = shipped.config.semantic_encoder_config.layer
    pairs, centroids, encoder, shards = (tmp_path / name for name in ("pairs", "centroids", "encoder", "shards"))

    # 1. Pairs, of two sources in one folder.
    run("examples/separate_songs.py", "--source", "songs", "--num_songs", 20, "--output_dir", pairs)
    run("examples/separate_songs.py", "--source", "musdb18", "--data", tmp_path / "musdb18", "--output_dir", pairs)
    assert len(list((pairs / "instrumental").iterdir())) == 21

    # 2. Centroids, and the encoder with them.
    folders = ("--vocals", pairs / "vocals", "--instrumental", pairs / "instrumental")
    options = ("--layer", layer, "--num_clusters", NUM_CLUSTERS, "--num_passes", 2, "--output_dir", centroids)
    run("examples/fit_kmeans.py", "--encoder", tmp_path / "hubert", *folders, *options)
    hubert, table = str(tmp_path / "hubert"), str(centroids / "centroids.safetensors")
    run(
        "-c",
        "from accompgen_hf import AccompGenSemanticEncoder as E; "
        f"E.from_hubert({hubert!r}, {table!r}, layer={layer}).save_pretrained({str(encoder)!r})",
    )

    # 3. Tokens, on two processes.
    parts = ("--semantic_encoder", encoder, "--codec", tmp_path / "codec")
    options = ("--source", "pairs", "--data", pairs, "--validation_share", 0.3, "--tracks_per_shard", 4)
    launch("examples/prepare_dataset.py", *options, *parts, "--output_dir", shards)
    manifest = json.loads((shards / "manifest.json").read_text())
    rows = load_dataset("parquet", data_files=str(shards / "*.parquet"), split="train", cache_dir=tmp_path / "cache")
    assert {"song-000003", "musdb18-Ann - Somewhere"} <= set(rows["track_id"])
    assert sum(manifest["hours_by_licence"].values()) == pytest.approx(manifest["duration_s"] / 3600, abs=1e-3)
    assert len(manifest["hours_by_licence"]) == 2

    # 4. Three stages, on two processes.
    for stage in ("semantic", "coarse", "fine"):
        options = (
            "--config",
            f"examples/configs/tiny_second_edition/{stage}.yaml",
            "--data",
            shards,
            "--output_dir",
            tmp_path / stage,
        )
        options += ("--max_steps", NUM_STEPS, "--num_processes", 2, "--global_batch_size", 4, "--save_every", 25)
        options += ("--validation_clips", 8, "--warmup_steps", 5, "--model.num_clusters", NUM_CLUSTERS)
        output = launch("examples/train_stage.py", *options)
        assert "2 processes" in output
        losses = [event["loss"] for event in read_metrics(tmp_path / stage) if event["kind"] == "train"]
        assert losses[-1] < losses[0]
        summary = json.loads((tmp_path / stage / "summary.json").read_text())
        assert (summary["step"], summary["token_fingerprint"]) == (NUM_STEPS, manifest["token_fingerprint"])

    # 5. One repository, and music from it.
    stages = [word for stage in ("semantic", "coarse", "fine") for word in (f"--{stage}", tmp_path / stage / "final")]
    codec = ("--semantic-encoder", encoder, "--codec", tmp_path / "codec")
    run("-m", "accompgen_hf.app.cli", "assemble", *stages, *codec, "-o", tmp_path / "band")
    vocals = generate_song(HELD_OUT_SEED, duration_s=2.0).vocals
    soundfile.write(tmp_path / "vocals.wav", vocals, 24_000)
    options = ("--model", tmp_path / "band", "--seed", 1, "-o", tmp_path / "results", "--quiet")
    folder = run("-m", "accompgen_hf.app.cli", "generate", tmp_path / "vocals.wav", *options).split("\n")[0]
    accompaniment, sampling_rate = soundfile.read(Path(folder) / "accompaniment.wav")
    assert (len(accompaniment), sampling_rate) == (48_000, 24_000)
    assert np.sqrt(np.mean(accompaniment**2)) > 1e-3
    assert len(np.unique(accompaniment)) > 1000


def test_a_stem_file_becomes_a_model_that_plays_its_parts_in_a_style(tmp_path):
    """One process, shallow stages and the shipped encoder: what differs from the chain above are parts and style."""
    write_stem_song(tmp_path / "musdb18" / "train" / "Ann - Somewhere.stem.mp4")
    shipped = AutoModel.from_pretrained(accompgen_hf.DEFAULT_MODEL)
    for name in ("semantic_encoder", "codec"):
        getattr(shipped, name).save_pretrained(tmp_path / name)
    options = ("--semantic_encoder", tmp_path / "semantic_encoder", "--codec", tmp_path / "codec")
    options += ("--parts", "drums", "bass", "other", "--validation_share", 0, "--no_filters")
    # MUSDB18 states no styles: those come from a procedural song, in shards of its own.
    stems, songs = tmp_path / "stems", tmp_path / "songs"
    musdb18 = ("--source", "musdb18", "--data", tmp_path / "musdb18")
    run("examples/prepare_dataset.py", *musdb18, *options, "--output_dir", stems)
    run("examples/prepare_dataset.py", "--num_songs", 1, "--styles", *options, "--output_dir", songs)
    settings = json.loads((stems / "manifest.json").read_text())["settings"]
    assert settings["part_names"] == ["drums", "bass", "other"]

    sizes = ("--model.num_clusters", shipped.config.semantic_encoder_config.num_clusters)
    sizes += ("--model.num_hidden_layers", 1, "--max_steps", 3, "--global_batch_size", 2, "--validation_clips", 0)
    for stage in ("semantic", "coarse", "fine"):
        config = ("--config", f"examples/configs/tiny/{stage}.yaml", "--data", stems, songs)
        run("examples/train_stage.py", *config, *sizes, "--output_dir", tmp_path / stage)
    stages = [word for stage in ("semantic", "coarse", "fine") for word in (f"--{stage}", tmp_path / stage / "final")]
    tokenizers = ("--semantic-encoder", tmp_path / "semantic_encoder", "--codec", tmp_path / "codec")
    run("-m", "accompgen_hf.app.cli", "assemble", *stages, *tokenizers, "-o", tmp_path / "band")

    soundfile.write(tmp_path / "vocals.wav", generate_song(HELD_OUT_SEED, duration_s=1.0).vocals, 24_000)
    asked = ("--style", "bossa_nova", "--parts", "drums", "bass", "other", "--seed", 1, "--quiet")
    asked += ("--model", tmp_path / "band", "-o", tmp_path / "results")
    folder = Path(run("-m", "accompgen_hf.app.cli", "generate", tmp_path / "vocals.wav", *asked).split("\n")[0])
    accompaniment, sampling_rate = soundfile.read(folder / "accompaniment.wav")
    parts = [soundfile.read(folder / f"{name}.wav")[0] for name in ("drums", "bass", "other")]
    assert (len(accompaniment), sampling_rate) == (24_000, 24_000)
    assert np.abs(sum(parts) - accompaniment).max() <= 2 * 2**-23
    assert all(np.sqrt(np.mean(part**2)) > 1e-4 for part in parts)
    assert not np.array_equal(parts[0], parts[1])
