"""Shards of several parts and of styles: what they hold, what they are refused for, and the clips cut from them."""

import functools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.modeling_accompgen import fingerprint_of_parts
from accompgen_hf.data.collator import StageCollator
from accompgen_hf.data.dataset import StageClipDataset
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.shard_cache import map_rows
from accompgen_hf.data.shards import SHARD_SCHEMA, Manifest, TokenRow, read_rows, shard_name, shard_schema, write_rows
from accompgen_hf.data.song_source import song_tracks
from accompgen_hf.data.sources import Track
from accompgen_hf.data.tokenization import TokenExtractor, TokenRecipe
from tiny import tiny_model

PARTS = ("drums", "bass", "other")
RATE = 24000
SIZES = {"num_clusters": 500, "codebook_size": 1024, "hidden_size": 8, "num_hidden_layers": 1}


@functools.cache
def make_extractor(part_names: tuple[str, ...]) -> TokenExtractor:
    model = tiny_model()
    return TokenExtractor(model.semantic_encoder, model.codec, TokenRecipe(bandwidth=2.4, part_names=part_names))


def write_part_shards(folder: Path, num_rows: int = 4, style_names: tuple[str, ...] = ("rock", "waltz")) -> Path:
    """Rows of 2 s whose tokens say part and frame: 100 per part in the plan, 300 per part in the codes."""
    folder.mkdir()
    rows = []
    for index in range(num_rows):
        vocal_ids = np.arange(100, dtype=np.int16)
        plan = vocal_ids + 100 * np.arange(3, dtype=np.int16)[:, None]
        codes = np.broadcast_to(np.arange(150) + 300 * np.arange(3)[:, None, None], (3, 8, 150)).astype(np.int16)
        style = style_names[index % 2] if style_names else None
        rows.append(TokenRow(f"t{index}", "CC0-1.0", "train", 0.0, 1.0, vocal_ids, plan, codes, style))
    sha256 = write_rows(folder / shard_name(0), rows, shard_schema(True, bool(style_names)))
    settings = {"num_clusters": 500, "codebook_size": 1024, "part_names": list(PARTS), "style_names": style_names}
    shards = [{"file": shard_name(0), "sha256": sha256, "num_rows": num_rows}]
    Manifest("f" * 64, settings, shards, {"train": num_rows}, num_rows, [], 2.0, format_version=2).save(folder)
    return folder


# ---- preparation ---------------------------------------------------------------------------------------------------


def test_songs_in_parts_and_styles_become_shards_that_say_so(tmp_path):
    tracks = song_tracks(0, 2, 2.0, parts=True, styles=True)
    manifest = prepare_shards(tracks, make_extractor(PARTS), tmp_path, validation_share=0.0)
    assert Manifest.load(tmp_path) == manifest
    assert (manifest.format_version, manifest.part_names) == (2, PARTS)
    assert manifest.style_names == tuple(sorted({track.style for track in tracks}))
    assert manifest.failed_tracks == []
    rows = read_rows(tmp_path / shard_name(0), manifest.shards[0]["sha256"])
    assert [row.style for row in rows] == [track.style for track in tracks]
    assert (rows[0].instrumental_semantic_ids.shape, rows[0].codes.shape) == ((3, 100), (3, 8, 150))
    vocals, parts, rate = tracks[0].load_parts()
    for index, name in enumerate(PARTS):
        alone = make_extractor(("instrumental",)).extract(vocals, parts[name], rate, tracks[0].track_id)
        assert np.array_equal(rows[0].instrumental_semantic_ids[index], alone["instrumental_semantic_ids"])
        assert np.array_equal(rows[0].codes[index], alone["codes"])
    assert np.array_equal(rows[0].vocal_semantic_ids, alone["vocal_semantic_ids"])
    for read, mapped in zip(rows, map_rows(tmp_path, manifest), strict=True):
        assert np.array_equal(read.codes, mapped.codes)
        assert np.array_equal(read.instrumental_semantic_ids, mapped.instrumental_semantic_ids)
        assert read.style == mapped.style


def test_the_first_format_opens_as_one_part_without_style(tmp_path):
    manifest = prepare_shards(song_tracks(0, 1, 2.0), make_extractor(("instrumental",)), tmp_path)
    assert (manifest.format_version, manifest.part_names, manifest.style_names) == (1, ("instrumental",), ())
    assert not {"part_names", "style_names"} & set(manifest.settings)
    assert pq.read_schema(tmp_path / shard_name(0)).names == SHARD_SCHEMA.names
    assert shard_schema() == SHARD_SCHEMA
    [row] = read_rows(tmp_path / shard_name(0))
    assert (row.instrumental_semantic_ids.shape, row.codes.shape, row.style) == ((100,), (8, 150), None)


def test_the_fingerprint_covers_the_names_of_several_parts():
    prints = {names: make_extractor(names).token_fingerprint for names in (("instrumental",), ("band",), PARTS)}
    assert prints[("instrumental",)] == prints[("band",)] != prints[PARTS]
    assert prints[PARTS] != make_extractor(PARTS[::-1]).token_fingerprint
    model = tiny_model(vocal_target_lufs=-20.0)
    assert fingerprint_of_parts(model.config, model.semantic_encoder, model.codec) == prints[("instrumental",)]


def load_noise(names: tuple[str, ...] = PARTS):
    noise = 0.1 * np.random.default_rng(0).standard_normal((1 + len(names), RATE), dtype=np.float32)
    return noise[0], dict(zip(names, noise[1:], strict=True)), RATE


def load_pair():
    vocals, parts, rate = load_noise()
    return vocals, parts["drums"], rate


@pytest.mark.parametrize(
    ("load_parts", "message"),
    [
        (None, "`part_names` drums, bass, other need tracks with parts, but this one has none"),
        (lambda: load_noise(("drums", "bass")), "`part_names` must be among drums, bass, got other"),
    ],
)
def test_tracks_without_a_part_fail(tmp_path, load_parts, message):
    track = Track("a", "CC0-1.0", load_pair, load_parts=load_parts)
    with pytest.raises(RuntimeError, match=message):
        prepare_shards([track], make_extractor(PARTS), tmp_path, max_failures=0.0)


def test_parts_must_be_as_many_and_as_long_as_said():
    vocals, parts, rate = load_noise()
    with pytest.raises(ValueError, match=r"equally long, with 3 parts, got shapes \(24000,\) and \(24000,\)"):
        make_extractor(PARTS).extract(vocals, parts["drums"], rate, "a")
    with pytest.raises(ValueError, match="`part_names` must name at least one part"):
        TokenRecipe(part_names=())


# ---- clips ---------------------------------------------------------------------------------------------------------


def open_dataset(folder: Path, config_class, **fields):
    names = {"part_names": PARTS, "style_names": ("rock", "waltz")}
    config = config_class(clip_duration_s=0.4, window_overlap_s=0.0, **{**SIZES, **names, **fields})
    return StageClipDataset(folder, config, style_dropout=config.style_dropout)


def test_the_plan_has_all_parts_and_a_coarse_clip_is_of_one(tmp_path):
    folder = write_part_shards(tmp_path / "shards")
    plan = open_dataset(folder, AccompGenSemanticConfig)[0]
    assert plan["target"].shape == (3, 20)
    assert (plan["target"] - plan["conditioning"]["vocal_semantic_ids"]).tolist() == [[0] * 20, [100] * 20, [200] * 20]
    assert "part_id" not in plan
    for config_class in (AccompGenCoarseConfig, AccompGenFineConfig):
        dataset = open_dataset(folder, config_class)
        samples = [dataset[position] for position in range(40)]
        assert {sample["part_id"] for sample in samples} == {0, 1, 2}
        for sample in samples:
            assert sample["target"].shape == (4, 30)
            assert (sample["target"] // 300 == sample["part_id"]).all()
    for sample in [open_dataset(folder, AccompGenCoarseConfig)[position] for position in range(6)]:
        own = sample["conditioning"]["instrumental_semantic_ids"] - sample["conditioning"]["vocal_semantic_ids"]
        assert (own == 100 * sample["part_id"]).all()


def test_styles_are_hidden_at_random_and_with_the_conditioning(tmp_path):
    dataset = open_dataset(write_part_shards(tmp_path / "shards"), AccompGenCoarseConfig)
    samples = [dataset[position] for position in range(400)]
    style_of = {"t0": 1, "t1": 2, "t2": 1, "t3": 2}
    shown = [sample["style_id"] for sample in samples]
    assert all(style in (0, style_of[sample["track_id"]]) for style, sample in zip(shown, samples, strict=True))
    assert 0.22 < shown.count(0) / 400 < 0.38
    batch = StageCollator(dataset.config)([{**sample, "is_dropped": True} for sample in samples[:4]])
    assert batch["style_ids"].tolist() == [0] * 4
    assert batch["part_ids"].tolist() == [sample["part_id"] for sample in samples[:4]]
    kept = StageCollator(dataset.config)(samples[:4])
    assert kept["style_ids"].tolist() == shown[:4]


def test_parts_and_styles_move_no_other_random_number(tmp_path):
    folder = write_part_shards(tmp_path / "shards")
    with_both = open_dataset(folder, AccompGenSemanticConfig)
    with_parts = open_dataset(folder, AccompGenSemanticConfig, style_names=())
    for position in range(20):
        first, second = with_both[position], with_parts[position]
        assert "style_id" not in second
        assert (first["start_s"], first["track_id"]) == (second["start_s"], second["track_id"])
        assert torch.equal(first["history_dropped"], second["history_dropped"])


def test_shards_of_other_parts_or_styles_are_refused(tmp_path):
    folder = write_part_shards(tmp_path / "shards")
    with pytest.raises(ValueError, match="`part_names` of the accompgen_coarse config are instrumental, but the rows"):
        open_dataset(folder, AccompGenCoarseConfig, part_names=("instrumental",))
    with pytest.raises(ValueError, match="`style_names` of the accompgen_coarse config are rock, but the rows in "):
        open_dataset(folder, AccompGenCoarseConfig, style_names=("rock",))
    unknown = open_dataset(write_part_shards(tmp_path / "plain", style_names=()), AccompGenCoarseConfig)
    assert {unknown[position]["style_id"] for position in range(8)} == {0}
