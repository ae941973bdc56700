"""Shards: the same bytes however often killed by however many workers, and a corrupt track stops nothing."""

import json
import os
import signal
import time

import datasets
import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from accompgen_hf.accompgen.configuration_accompgen import AccompGenSemanticEncoderConfig
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.data.filtering import ClipFilter
from accompgen_hf.data.preparation import prepare_shards
from accompgen_hf.data.shards import Manifest, assign_split, read_rows
from accompgen_hf.data.song_source import song_tracks
from accompgen_hf.data.sources import Track
from accompgen_hf.data.tokenization import TokenExtractor
from accompgen_hf.songs.song import HELD_OUT_SEED

RATE = 24000


@pytest.fixture(scope="module")
def extractor() -> TokenExtractor:
    """A random encoder and codec of the real classes, with 20 clusters and 8 codebooks."""
    hubert_config = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    config = AccompGenSemanticEncoderConfig(hubert_config=hubert_config, layer=2, num_clusters=20)
    codec_config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_residual_layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder, codec = AccompGenSemanticEncoder(config), EncodecModel(codec_config)
        for layer in codec.quantizer.layers:
            layer.codebook.embed.normal_()
    return TokenExtractor(encoder, codec)


def make_tracks(num_tracks: int, duration_s: float = 1.0) -> list[Track]:
    """Noise bursts as pairs: cheaper than songs, and every track differs."""

    def make_loader(number: int):
        def load():
            generator = np.random.default_rng(number)
            vocals, instrumental = 0.1 * generator.standard_normal((2, round(duration_s * RATE)), dtype=np.float32)
            return vocals, instrumental, RATE

        return load

    return [Track(f"track-{number:02d}", "CC-BY-4.0", make_loader(number)) for number in range(num_tracks)]


def read_folder(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_shards_open_with_datasets_and_say_what_they_are(extractor, tmp_path):
    manifest = prepare_shards(make_tracks(5), extractor, tmp_path, tracks_per_shard=2, validation_share=0.4)
    table = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=str(tmp_path / ".cache")
    )
    assert table["track_id"][:] == [f"track-{number:02d}" for number in range(5)]
    assert np.array(table[0]["codes"]).shape == (8, 75)
    assert table.features["codes"].feature.feature.dtype == "int16"
    assert [shard["num_rows"] for shard in manifest.shards] == [2, 2, 1]
    assert manifest == Manifest.load(tmp_path)
    assert manifest.token_fingerprint == extractor.token_fingerprint
    assert manifest.settings["num_clusters"] == 20
    splits = [assign_split(f"track-{number:02d}", 0.4) for number in range(5)]
    assert table["split"][:] == splits
    assert manifest.splits == {split: splits.count(split) for split in ("train", "validation")}


def test_any_number_of_workers_and_any_order_of_tracks_give_the_same_bytes(extractor, tmp_path):
    tracks = make_tracks(7)
    prepare_shards(tracks, extractor, tmp_path / "one", tracks_per_shard=2)
    for worker_index in (2, 0, 1):
        done = prepare_shards(
            tracks[::-1], extractor, tmp_path / "three", tracks_per_shard=2, worker_index=worker_index, num_workers=3
        )
        assert (done is None) == (worker_index != 1)
    assert read_folder(tmp_path / "one") == read_folder(tmp_path / "three")


def test_killed_and_rerun_gives_the_same_bytes_and_redoes_at_most_one_track(extractor, tmp_path):
    prepare_shards(make_tracks(6), extractor, tmp_path / "whole", tracks_per_shard=4)
    loads = []

    def interrupt_at(number: int, track: Track) -> Track:
        def load():
            loads.append(number)
            if len(loads) in (1, 4, 6):
                raise KeyboardInterrupt
            return track.load()

        return Track(track.track_id, track.licence, load)

    tracks = [interrupt_at(number, track) for number, track in enumerate(make_tracks(6))]
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            prepare_shards(tracks, extractor, tmp_path / "broken", tracks_per_shard=4)
    prepare_shards(tracks, extractor, tmp_path / "broken", tracks_per_shard=4)
    assert loads == [0, 0, 1, 2, 2, 3, 3, 4, 5]
    assert read_folder(tmp_path / "whole") == read_folder(tmp_path / "broken")
    prepare_shards(tracks, extractor, tmp_path / "broken", tracks_per_shard=4)
    assert len(loads) == 9


def _kill_and_rerun(extractor, folder, tracks, delays_s, **options) -> None:
    for delay_s in delays_s:
        child = os.fork()
        if child == 0:
            os.setsid()
            prepare_shards(tracks, extractor, folder, tracks_per_shard=2, **options)
            os._exit(0)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    prepare_shards(tracks, extractor, folder, tracks_per_shard=2, **options)


def test_sigkill_at_random_instants_leaves_the_same_bytes(extractor, tmp_path):
    tracks = make_tracks(6)
    prepare_shards(tracks, extractor, tmp_path / "whole", tracks_per_shard=2)
    delays_s = np.random.default_rng(0).uniform(0.05, 0.4, size=4)
    _kill_and_rerun(extractor, tmp_path / "killed", tracks, delays_s)
    assert read_folder(tmp_path / "whole") == read_folder(tmp_path / "killed")


@pytest.mark.slow
def test_fifty_sigkills_leave_the_same_bytes(extractor, tmp_path):
    tracks = make_tracks(40)
    clip_filter = ClipFilter(clip_duration_s=1.0, min_instrumental_rms_db=-20.0)  # their level: about half are dropped
    prepare_shards(tracks, extractor, tmp_path / "whole", tracks_per_shard=2, clip_filter=clip_filter)
    delays_s = np.random.default_rng(1).uniform(0.02, 0.5, size=50)
    _kill_and_rerun(extractor, tmp_path / "killed", tracks, delays_s, clip_filter=clip_filter)
    assert read_folder(tmp_path / "whole") == read_folder(tmp_path / "killed")


def make_gap(track: Track) -> Track:
    """The same track with a silent instrumental in its third second."""

    def load():
        vocals, instrumental, rate = track.load()
        instrumental = instrumental.copy()
        instrumental[2 * RATE : 3 * RATE] = 0
        return vocals, instrumental, rate

    return Track(track.track_id, track.licence, load, split="test")


def test_filtered_rows_are_cut_from_the_whole_tracks_tokens_and_the_rest_is_explained(extractor, tmp_path):
    tracks = make_tracks(3, duration_s=5.0)
    tracks[1] = make_gap(tracks[1])
    tracks[2] = Track(
        "track-02", "CC0-1.0", lambda: (np.zeros(RATE, np.float32), np.zeros(2 * RATE, np.float32), RATE)
    )
    clip_filter = ClipFilter(clip_duration_s=1.0)
    manifest = prepare_shards(tracks, extractor, tmp_path / "a", clip_filter=clip_filter, source={"corpus": "noise"})
    rows = read_rows(tmp_path / "a" / "shard-00000.parquet")
    assert [(row.track_id, row.start_s, len(row.vocal_semantic_ids), row.codes.shape[1]) for row in rows] == [
        ("track-00", 0.0, 150, 225),
        ("track-00", 3.0, 100, 150),
        ("track-01", 0.0, 100, 150),
        ("track-01", 3.0, 100, 150),
    ]
    whole = extractor.extract(*tracks[0].load(), tracks[0].track_id)
    assert np.array_equal(rows[1].codes, whole["codes"][:, 225:])
    assert np.array_equal(rows[1].vocal_semantic_ids, whole["vocal_semantic_ids"][150:])
    rejected = [json.loads(line) for line in (tmp_path / "a" / "rejected.jsonl").read_text().splitlines()]
    assert [(clip["track_id"], clip["start_s"], clip["reasons"]) for clip in rejected] == [
        ("track-01", 2.0, ["silent_instrumental", "loud_vocals"]),
        ("track-02", 0.0, ["duration_mismatch"]),
    ]
    assert rejected[0]["values"]["instrumental_rms_db"] == -120
    reasons = {"duration_mismatch": 1, "loud_vocals": 1, "silent_instrumental": 1}
    assert manifest.clips == {"kept": 9, "dropped": 2, "reasons": reasons}
    assert manifest.splits == {"train": 2, "validation": 0, "test": 2}
    assert manifest.hours_by_licence == {"CC-BY-4.0": round(9 / 3600, 4)}
    assert manifest.settings["clip_filter"]["clip_duration_s"] == 1.0
    assert (tmp_path / "a" / "filtering.png").is_file()
    with pytest.raises(ValueError, match=r"other tracks or settings \(clip_filter: "):
        prepare_shards(tracks, extractor, tmp_path / "a", source={"corpus": "noise"})
    for worker_index in range(2):  # three shards instead of one: other files, the same report
        call = {"clip_filter": clip_filter, "source": {"corpus": "noise"}, "tracks_per_shard": 1, "num_workers": 2}
        prepare_shards(tracks, extractor, tmp_path / "b", worker_index=worker_index, **call)
    for name in ("rejected.jsonl", "filtering.json", "filtering.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_corrupt_tracks_are_logged_and_skipped_until_there_are_too_many(extractor, tmp_path, caplog):
    def fail():
        raise OSError("file ends in the middle")

    def misaligned():
        return np.zeros(24000, np.float32), np.zeros(24001, np.float32), RATE

    tracks = [*make_tracks(8), Track("bad-1", "?", fail), Track("bad-2", "?", misaligned)]
    manifest = prepare_shards(tracks, extractor, tmp_path / "a", max_failures=0.2)
    assert manifest.failed_tracks == ["bad-1", "bad-2"]
    assert sum(shard["num_rows"] for shard in manifest.shards) == 8
    assert "Skipped track bad-1: OSError: file ends in the middle" in caplog.text
    failures = json.loads((tmp_path / "a" / "failures.json").read_text())
    assert "`vocals` and `instrumental` must be mono and equally long" in failures[1]["error"]
    with pytest.raises(RuntimeError, match=r"more than `max_failures` 0.1; the last one is bad-2"):
        prepare_shards(tracks, extractor, tmp_path / "b", max_failures=0.1)
    kwargs = {"tracks_per_shard": 1, "max_failures": 0.1}
    for worker_index in range(2):  # each alone is below the limit
        call = {"worker_index": worker_index, "num_workers": 2, **kwargs}
        if worker_index == 0:
            assert prepare_shards(tracks, extractor, tmp_path / "c", **call) is None
        else:
            with pytest.raises(RuntimeError, match=r"2 of 10 tracks failed, more than `max_failures` 0.1\."):
                prepare_shards(tracks, extractor, tmp_path / "c", **call)


def test_other_settings_in_the_same_folder_are_refused(extractor, tmp_path):
    prepare_shards(make_tracks(2), extractor, tmp_path)
    with pytest.raises(ValueError, match=r"other tracks or settings \(tracks_per_shard: 64 there, 8 asked\)"):
        prepare_shards(make_tracks(2), extractor, tmp_path, tracks_per_shard=8)
    with pytest.raises(ValueError, match=r"holds shards of other tracks or settings \(tracks_sha256"):
        prepare_shards(make_tracks(3), extractor, tmp_path)


def test_damaged_and_missing_shards_are_named(extractor, tmp_path):
    manifest = prepare_shards(make_tracks(2), extractor, tmp_path)
    path = tmp_path / manifest.shards[0]["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"shard-00000.parquet is damaged: its sha256 is not the manifest's"):
        read_rows(path, manifest.shards[0]["sha256"])
    path.write_bytes(content[:100])
    with pytest.raises(ValueError, match=r"shard-00000.parquet is damaged or no token shard"):
        read_rows(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"shard-00000.parquet cannot be read"):
        read_rows(path)
    with pytest.raises(ValueError, match=r"`data` must be a folder of token shards, but .* does not exist"):
        Manifest.load(tmp_path / "elsewhere")
    fields = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**fields, "format_version": 0}))
    with pytest.raises(ValueError, match=r"has `format_version` 0, this code reads 1"):
        Manifest.load(tmp_path)


def test_wrong_arguments_are_refused(extractor, tmp_path):
    tracks = make_tracks(2)
    with pytest.raises(ValueError, match=r"`tracks` must be at least one, with unique ids, got 4 \(2 unique\)"):
        prepare_shards([*tracks, *tracks], extractor, tmp_path)
    with pytest.raises(ValueError, match=r"`tracks_per_shard` must be at least 1, got 0"):
        prepare_shards(tracks, extractor, tmp_path, tracks_per_shard=0)
    with pytest.raises(ValueError, match=r"`worker_index` must be in \[0, num_workers = 2\), got 2"):
        prepare_shards(tracks, extractor, tmp_path, worker_index=2, num_workers=2)
    with pytest.raises(ValueError, match=r"`validation_share` must be in \[0, 1\], got 1.5"):
        prepare_shards(tracks, extractor, tmp_path, validation_share=1.5)
    with pytest.raises(ValueError, match=r"seeds above are held out for evaluation"):
        song_tracks(HELD_OUT_SEED - 1, 2)


def test_splits_are_by_group_and_near_their_share():
    splits = [assign_split(f"song-{number}", 0.1) for number in range(2000)]
    assert 150 < splits.count("validation") < 250
    assert assign_split("anything", 0.0) == "train"
    assert assign_split("anything", 1.0) == "validation"
