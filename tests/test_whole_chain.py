"""The whole chain by its scripts: songs and a STEM file -> pairs -> centroids -> tokens -> stages -> an accompaniment.

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
    song = generate_song(777, duration_s=12.0)
    vocals, band = (resample(audio[None], song.sampling_rate, RATE) for audio in (song.vocals, song.instrumental))
    parts = {"drums": 0.5 * band, "bass": 0.3 * band, "other": 0.2 * band, "vocals": vocals}
    stems = {name: np.repeat(audio, 2, axis=0) for name, audio in {"mix": vocals + band, **parts}.items()}
    write_stem_file(path, stems)


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
