"""The layers of a stage: the relative bias, table by table, against tables written by hand."""

import functools

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import build_stage_inputs, relative_position_bucket
from accompgen_hf.accompgen.modeling_accompgen_layers import AccompGenRelativeBias
from reference import reference_bias_rows, t5_bucket
from tiny import random_clip, tiny_stage, tiny_stage_config

STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)
LAYOUTS = [(axis, both_ways) for axis in ("token", "time") for both_ways in (False, True)]
MASKED = -1e4  # no bias is that low

stage_of = functools.cache(tiny_stage)


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (64, 500), (8, 20)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_buckets_are_t5s(num_buckets, max_distance, bidirectional):
    distance = torch.arange(-2100, 2100)
    ours = relative_position_bucket(distance, num_buckets, max_distance, bidirectional)
    assert torch.equal(ours, t5_bucket(distance, num_buckets, max_distance, bidirectional))


def bias_values(config, **layout) -> list[list[float | None]]:
    """The bias of the first head with every row of the tables at a value of its own; `None` where masked."""
    bias = AccompGenRelativeBias(config)
    with torch.no_grad():
        bias.weight.copy_(torch.arange(bias.weight.shape[0])[:, None].expand_as(bias.weight))
        values = bias(**layout, num_queries=layout["segment_ids"].shape[1], num_keys=layout["segment_ids"].shape[1])
    return [[None if value <= MASKED else value for value in row] for row in values[0, 0].tolist()]


def assert_same_partition(labels: list[str], values: list[list[float | None]]) -> None:
    """Equal labels have equal values, different labels different ones, and '.' is masked."""
    label_of_value, value_of_label = {}, {}
    for label_row, value_row in zip(labels, values, strict=True):
        for label, value in zip(label_row.split(), value_row, strict=True):
            if label == ".":
                assert value is None
                continue
            assert value is not None
            assert label_of_value.setdefault(value, label) == label
            assert value_of_label.setdefault(label, value) == value


# Two vocal frames, two instrumental frames, BOS and two coarse frames of four codebooks, written out from the text:
# query rows v0 v1 | i0 i1 | p0 ... p8, where p0 is BOS and p predicts code p. Times in 1/150 s: v and i 0, 3;
# p0-p3 0, p4-p7 2, p8 4. "s" + token distance in a segment; "iv", "tv", "ti" + whole frames of the key between them.
TIME_TABLE = [
    "s0    .     .     .     .   .   .   .   .   .   .   .   .",
    "s1    s0    .     .     .   .   .   .   .   .   .   .   .",
    "iv0   iv-1  s0    .     .   .   .   .   .   .   .   .   .",
    "iv1   iv0   s1    s0    .   .   .   .   .   .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s0  .   .   .   .   .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s1  s0  .   .   .   .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s2  s1  s0  .   .   .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s3  s2  s1  s0  .   .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s4  s3  s2  s1  s0  .   .   .   .",
    "tv0   tv-1  ti0   ti-1  s5  s4  s3  s2  s1  s0  .   .   .",
    "tv0   tv-1  ti0   ti-1  s6  s5  s4  s3  s2  s1  s0  .   .",
    "tv0   tv-1  ti0   ti-1  s7  s6  s5  s4  s3  s2  s1  s0  .",
    "tv1   tv0   ti1   ti0   s8  s7  s6  s5  s4  s3  s2  s1  s0",
]
# With a bidirectional prefix: "b" the prefix's own table, both ways; "vi" the fourth pair, from a vocal query.
TIME_TABLE_BOTH_WAYS = [
    "b0    b-1   vi0   vi-1  .   .   .   .   .   .   .   .   .",
    "b1    b0    vi1   vi0   .   .   .   .   .   .   .   .   .",
    "iv0   iv-1  b0    b-1   .   .   .   .   .   .   .   .   .",
    "iv1   iv0   b1    b0    .   .   .   .   .   .   .   .   .",
    *TIME_TABLE[4:],
]
TOKEN_TABLE = [" ".join(f"s{q - k}" if k <= q else "." for k in range(13)) for q in range(13)]
TOKEN_TABLE_BOTH_WAYS = [
    *(" ".join(f"b{q - k}" if k < 4 else "." for k in range(13)) for q in range(4)),
    *TOKEN_TABLE[4:],
]


@pytest.mark.parametrize(
    ("axis", "both_ways", "table"),
    [
        ("time", False, TIME_TABLE),
        ("time", True, TIME_TABLE_BOTH_WAYS),
        ("token", False, TOKEN_TABLE),
        ("token", True, TOKEN_TABLE_BOTH_WAYS),
    ],
)
def test_bias_table_of_two_coarse_frames_written_by_hand(axis, both_ways, table):
    config = tiny_stage_config(AccompGenCoarseConfig, relative_position_axis=axis, bidirectional_prefix=both_ways)
    layout = {
        "segment_ids": torch.tensor([[0, 0, 1, 1] + [2] * 9]),
        "segment_positions": torch.tensor([[0, 1, 0, 1, *range(9)]]),
    }
    assert_same_partition(table, bias_values(config, **layout))


def test_the_time_axis_has_one_table_per_pair_that_can_be_attended():
    def num_tables(config_class, **fields):
        config = tiny_stage_config(config_class, relative_position_axis="time", **fields)
        same = config.relative_attention_num_buckets * (2 if config.bidirectional_prefix else 1)
        num_rows = AccompGenRelativeBias(config).weight.shape[0] - same
        assert num_rows % config.cross_segment_num_buckets == 0
        return num_rows // config.cross_segment_num_buckets

    assert [num_tables(config_class) for config_class in STAGE_CONFIGS] == [1, 3, 1]
    assert num_tables(AccompGenCoarseConfig, bidirectional_prefix=True) == 4


def test_the_time_axis_does_not_shift_with_the_clips_length():
    """The same instant gets the same bias in a short and a long clip; the token axis shifts it."""

    def own_frame_bias(axis: str, num_frames: int) -> float:
        config = tiny_stage_config(AccompGenSemanticConfig, relative_position_axis=axis)
        layout = {
            "segment_ids": torch.tensor([[0] * num_frames + [1] * num_frames]),
            "segment_positions": torch.tensor([[*range(num_frames), *range(num_frames)]]),
        }
        return bias_values(config, **layout)[num_frames + 3][3]  # target slot 3 asks vocal frame 3

    assert own_frame_bias("time", 5) == own_frame_bias("time", 40)
    assert own_frame_bias("token", 5) != own_frame_bias("token", 40)


def test_bias_rows_of_a_clip_are_the_references():
    for axis, both_ways in LAYOUTS:
        for config_class in STAGE_CONFIGS:
            model = stage_of(config_class, relative_position_axis=axis, bidirectional_prefix=both_ways)
            inputs = build_stage_inputs(model.config, *random_clip(model.config, 1, 0.08))
            segments, positions = inputs["segment_ids"], inputs["segment_positions"]
            ours = model.model.relative_bias.bucket_rows(segments, positions, segments.shape[1])[0]
            expected = reference_bias_rows(model, segments[0].tolist(), positions[0].tolist())
            is_visible = torch.ones_like(expected).tril().bool()
            if both_ways:
                is_prefix = segments[0] < len(model.config.segments) - 1
                is_visible |= is_prefix[:, None] & is_prefix[None]
            assert torch.equal(ours[is_visible], expected[is_visible])
