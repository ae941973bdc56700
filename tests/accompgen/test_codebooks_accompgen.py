"""Order of codes, and layout of a stage's sequence: all against sequences written by hand."""

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenFineConfig, AccompGenSemanticConfig
from accompgen_hf.accompgen.codebooks_accompgen import (
    build_stage_inputs,
    codes_to_ids,
    deinterleave_codes,
    ids_to_codes,
    interleave_codes,
)
from tiny import CODEBOOK_SIZE, NUM_CLUSTERS, random_clip, random_codes, tiny_stage_config

STAGE_CONFIGS = (AccompGenSemanticConfig, AccompGenCoarseConfig, AccompGenFineConfig)


def test_interleave_keeps_the_codebooks_of_a_frame_together():
    codes = torch.tensor([[[10, 11], [20, 21]]])  # 2 codebooks, 2 frames
    assert interleave_codes(codes).tolist() == [[10, 20, 11, 21]]


def test_slot_j_holds_codebook_j_mod_4_of_frame_j_div_4():
    codes = torch.arange(2 * 4 * 6).view(2, 4, 6)
    slots = interleave_codes(codes)
    assert slots.shape == (2, 24)
    assert all(slots[1, j] == codes[1, j % 4, j // 4] for j in range(24))


def test_interleaving_is_undone():
    codes = torch.randint(1024, (3, 4, 7), generator=torch.Generator().manual_seed(0))
    assert torch.equal(deinterleave_codes(interleave_codes(codes), 4), codes)


@pytest.mark.parametrize("config_class", STAGE_CONFIGS)
def test_codes_come_back_from_the_vocabulary(config_class):
    for segment in tiny_stage_config(config_class).segments:
        codes = random_codes(segment, 3, 0.16)
        ids = codes_to_ids(segment, codes)
        assert torch.equal(ids_to_codes(segment, ids), codes)
        assert segment.offset <= ids.min()
        assert ids.max() < segment.offset + segment.num_codebooks * segment.codebook_size


def test_an_id_is_offset_plus_code_and_the_offset_names_the_codebook():
    target = AccompGenCoarseConfig().target_segment
    codes = torch.tensor([[[0, 5], [0, 6], [0, 7], [1023, 8]]])
    assert codes_to_ids(target, codes).tolist() == [
        [1003, 1003 + 1024, 1003 + 2048, 1003 + 3072 + 1023, 1008, 1003 + 1030, 1003 + 2055, 1003 + 3080]
    ]
    vocal = AccompGenCoarseConfig().segments[0]
    assert codes_to_ids(vocal, torch.tensor([[0, 499]])).tolist() == [[3, 502]]
    assert codes_to_ids(vocal, torch.tensor([[7]], dtype=torch.int16)).dtype == torch.int64


def test_a_coarse_clip_of_40_ms_written_by_hand():
    config = tiny_stage_config(AccompGenCoarseConfig)  # vocal ids from 3, instrumental from 23, codebooks from 43
    conditioning = {
        "vocal_semantic_ids": torch.tensor([[1, 2]]),
        "instrumental_semantic_ids": torch.tensor([[3, 19]]),
    }
    target = torch.tensor([[[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 15]]])
    inputs = build_stage_inputs(config, conditioning, target)
    target_ids = [43, 59 + 3, 75 + 6, 91 + 9, 44, 59 + 4, 75 + 7, 91 + 10, 45, 59 + 5, 75 + 8, 91 + 15]
    assert inputs["input_ids"].tolist() == [[4, 5, 26, 42, 1, *target_ids]]
    assert inputs["segment_ids"].tolist() == [[0, 0, 1, 1] + [2] * 13]
    assert inputs["segment_positions"].tolist() == [[0, 1, 0, 1, *range(13)]]
    assert inputs["labels"].tolist() == [[-100] * 5 + target_ids]


@pytest.mark.parametrize(
    ("config_class", "num_positions"),
    [(AccompGenSemanticConfig, 1001), (AccompGenCoarseConfig, 2001), (AccompGenFineConfig, 1801)],
)
def test_a_training_clip_has_the_papers_number_of_positions_with_bos(config_class, num_positions):
    config = config_class()
    inputs = build_stage_inputs(config, *random_clip(config, 1, config.clip_duration_s))
    assert inputs["input_ids"].shape == (1, num_positions)
    assert inputs["input_ids"].max() < config.vocab_size


def test_fine_with_semantics_puts_both_streams_before_the_coarse_codes():
    config = tiny_stage_config(AccompGenFineConfig, condition_on_semantics=True)
    inputs = build_stage_inputs(config, *random_clip(config, 1, 0.04))
    assert inputs["segment_ids"].tolist() == [[0] * 2 + [1] * 2 + [2] * 12 + [3] * 13]


def test_a_dropped_condition_becomes_null_and_nothing_else_changes():
    config = tiny_stage_config(AccompGenCoarseConfig)
    clip = random_clip(config, 3)
    whole = build_stage_inputs(config, *clip)
    dropped = build_stage_inputs(config, *clip, condition_dropped=torch.tensor([False, True, False]))
    num_conditioning = 4 + 4  # 80 ms of both semantic streams
    assert (dropped["input_ids"][1, :num_conditioning] == config.null_token_id).all()
    assert torch.equal(dropped["input_ids"][1, num_conditioning:], whole["input_ids"][1, num_conditioning:])
    assert torch.equal(dropped["input_ids"][[0, 2]], whole["input_ids"][[0, 2]])
    for name in ("segment_ids", "segment_positions", "labels"):
        assert torch.equal(dropped[name], whole[name])


def test_a_hidden_past_becomes_null_and_its_labels_stay():
    config = tiny_stage_config(AccompGenCoarseConfig)
    conditioning, target = random_clip(config, 2)  # 80 ms: 8 conditioning slots, BOS, 6 frames of 4 slots
    hidden = torch.zeros(2, 6, dtype=torch.bool)
    hidden[1, 2:4] = True
    whole = build_stage_inputs(config, conditioning, target)
    inputs = build_stage_inputs(config, conditioning, target, history_dropped=hidden)
    changed = (inputs["input_ids"] != whole["input_ids"]).nonzero().tolist()
    assert changed == [[1, 9 + slot] for slot in range(2 * 4, 4 * 4)]
    assert (inputs["input_ids"][1, 17:25] == config.null_token_id).all()
    for name in ("segment_ids", "segment_positions", "labels"):
        assert torch.equal(inputs[name], whole[name])


def test_without_target_the_sequence_ends_with_bos_and_has_no_labels():
    config = tiny_stage_config(AccompGenSemanticConfig)
    conditioning, _ = random_clip(config)
    inputs = build_stage_inputs(config, conditioning)
    assert inputs["input_ids"].shape == (2, 5)
    assert (inputs["input_ids"][:, -1] == config.bos_token_id).all()
    assert (inputs["labels"] == -100).all()


def test_inputs_are_not_changed_in_place():
    config = tiny_stage_config(AccompGenFineConfig)
    conditioning, target = random_clip(config)
    before = conditioning["coarse_codes"].clone(), target.clone()
    build_stage_inputs(config, conditioning, target, torch.tensor([True, True]))
    assert torch.equal(conditioning["coarse_codes"], before[0])
    assert torch.equal(target, before[1])


@pytest.mark.parametrize("codes", [torch.zeros(2, 3), torch.zeros(1, 2, 3, 4)])
def test_interleave_refuses_other_than_three_dimensions(codes):
    with pytest.raises(ValueError, match=r"`codes` must be \(batch_size, num_codebooks, num_frames\), got"):
        interleave_codes(codes)


@pytest.mark.parametrize("codes", [torch.zeros(1, 7), torch.zeros(1, 2, 4)])
def test_deinterleave_refuses_a_broken_frame(codes):
    with pytest.raises(ValueError, match=r"`codes` must be \(batch_size, num_frames \* 4\) and end on a whole frame"):
        deinterleave_codes(codes, 4)


@pytest.mark.parametrize(
    ("index", "codes", "message"),
    [
        (0, torch.zeros(1, 1, 2).long(), r"`vocal_semantic_ids` must be \(batch_size, num_frames\), got \(1, 1, 2\)"),
        (2, torch.zeros(1, 8).long(), r"`coarse_codes` must be \(batch_size, 4, num_frames\), got \(1, 8\)"),
        (2, torch.zeros(1, 3, 8).long(), r"`coarse_codes` must be \(batch_size, 4, num_frames\), got \(1, 3, 8\)"),
        (0, torch.zeros(1, 2), "`vocal_semantic_ids` must hold integers, got torch.float32"),
        (0, torch.tensor([[NUM_CLUSTERS]]), r"`vocal_semantic_ids` must be in \[0, 20\), got 20 to 20. .* codebook"),
        (0, torch.tensor([[-1, 3]]), r"`vocal_semantic_ids` must be in \[0, 20\), got -1 to 3"),
        (2, torch.full((1, 4, 3), CODEBOOK_SIZE), r"`coarse_codes` must be in \[0, 16\), got 16 to 16"),
    ],
)
def test_codes_that_do_not_fit_their_segment_are_refused(index, codes, message):
    with pytest.raises(ValueError, match=message):
        codes_to_ids(tiny_stage_config(AccompGenCoarseConfig).segments[index], codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instrumental_semantic_ids": None}, "`conditioning` must have exactly the keys .*vocal_semantic_ids"),
        ({"coarse_codes": torch.zeros(2, 4, 6).long()}, "`conditioning` must have exactly the keys"),
        ({"instrumental_semantic_ids": torch.zeros(2, 6).long()}, "must cover one duration, got .*0.08.*0.12"),
        ({"instrumental_semantic_ids": torch.zeros(1, 4).long()}, "one batch size in all its entries"),
    ],
)
def test_conditioning_that_does_not_fit_together_is_refused(changes, message):
    config = tiny_stage_config(AccompGenCoarseConfig)
    conditioning, _ = random_clip(config)
    changed = {name: codes for name, codes in {**conditioning, **changes}.items() if codes is not None}
    with pytest.raises(ValueError, match=message):
        build_stage_inputs(config, changed)
