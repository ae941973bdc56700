"""Validation numbers against closed forms: a model that knows nothing, and one that copies its conditioning."""

import math
from types import SimpleNamespace

import pytest
import torch

from accompgen_hf.accompgen.configuration_accompgen import AccompGenSemanticConfig
from accompgen_hf.training.stages.validation import validate_stage

CONFIG = AccompGenSemanticConfig(
    num_clusters=4, codebook_size=4, hidden_size=8, num_hidden_layers=1, clip_duration_s=0.4, window_overlap_s=0.0
)


class CopyingStage(torch.nn.Module):
    """Believes with probability 0.7 that the target repeats its conditioning; without it, nothing."""

    config = CONFIG
    device = torch.device("cpu")

    def target_losses(self, input_ids, segment_ids, segment_positions, labels):
        conditioning = input_ids[:, :20] - CONFIG.segments[0].offset
        target = labels[:, 21:] - CONFIG.segments[1].offset
        is_right = conditioning == target
        probability = torch.where(is_right, 0.7, 0.1)
        is_hidden = input_ids[:, :20] == CONFIG.null_token_id
        probability = torch.where(is_hidden, 0.25, probability)
        return -probability.log()[:, None], is_right[:, None]


class Endless(list):
    def __getitem__(self, position: int) -> dict:
        return super().__getitem__(position % len(self))


def make_dataset(track_ids: list[str]) -> Endless:
    samples = Endless()
    for number, track_id in enumerate(track_ids):
        ids = torch.full((20,), number % 4)
        samples.append(
            {
                "conditioning": {"vocal_semantic_ids": ids},
                "target": ids,
                "is_dropped": True,
                "history_dropped": torch.zeros(len(ids), dtype=torch.bool),
                "track_id": track_id,
            }
        )
    return samples


def test_gains_perplexity_and_accuracy_of_a_copying_stage():
    model = CopyingStage().train()
    summary = validate_stage(model, make_dataset(["a", "b", "c", "d"]), num_clips=8, batch_size=3)
    assert (summary["num_clips"], summary["num_tracks"]) == (8, 4)
    assert summary["loss"] == pytest.approx(-math.log(0.7), abs=1e-6)
    assert summary["perplexity"] == pytest.approx([1 / 0.7], abs=1e-5)
    assert summary["accuracy"] == [1.0]
    assert summary["conditioning_gain"] == pytest.approx(math.log(7), abs=1e-6)
    assert summary["null_gain"] == pytest.approx(math.log(0.7 / 0.25), abs=1e-6)
    assert summary["conditioning_gain_interval"] == pytest.approx(0, abs=1e-5)
    assert model.training


def test_a_stage_with_hidden_pasts_is_also_asked_without_its_past():
    class ForgetfulStage(CopyingStage):
        config = AccompGenSemanticConfig(**{**CONFIG.to_diff_dict(), "history_dropout": 1.0})

        def target_losses(self, input_ids, segment_ids, segment_positions, labels):
            losses, hits = super().target_losses(input_ids, segment_ids, segment_positions, labels)
            is_seen = input_ids[:, 21:] != CONFIG.null_token_id
            return torch.where(is_seen[:, None], 0.2, losses), hits

    dataset = make_dataset(["a", "b", "c", "d"])
    summary = validate_stage(ForgetfulStage(), dataset, num_clips=4, batch_size=3)
    assert summary["conditioning_gain"] == 0
    assert summary["conditioning_gain_hidden_past"] == pytest.approx(math.log(7), abs=1e-6)
    assert "conditioning_gain_hidden_past" not in validate_stage(CopyingStage(), dataset, num_clips=4, batch_size=3)


def test_the_wrong_conditioning_is_always_another_tracks():
    summary = validate_stage(CopyingStage(), make_dataset(["a", "b", "b", "a", "c"]), num_clips=5, batch_size=5)
    # Clip 1 (track b) skips clip 2 (track b); clip 4 (c) wraps around to clip 0, whose codes are equal: no gain.
    of_tracks = torch.tensor([math.log(7), math.log(7), 0.0]).double()
    assert summary["conditioning_gain"] == pytest.approx(of_tracks.mean().item(), abs=1e-6)
    assert summary["conditioning_gain_interval"] == pytest.approx(1.96 * of_tracks.std().item() / 3**0.5, abs=1e-6)


def test_clips_of_one_track_are_refused():
    with pytest.raises(ValueError, match=r"`validation_clips` must cover at least two tracks, got 2 clips of one"):
        validate_stage(CopyingStage(), make_dataset(["a", "a"]), num_clips=2, batch_size=1)


def test_every_process_measures_its_share():
    shares = []
    for process_index in range(2):
        accelerator = SimpleNamespace(process_index=process_index, num_processes=2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("accelerate.utils.gather_object", lambda clips: shares.append(clips) or clips)
            validate_stage(CopyingStage(), make_dataset(["a", "b", "c", "d", "e"]), 5, 2, accelerator)
    assert [len(share) for share in shares] == [3, 2]
