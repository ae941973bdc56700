"""SingSong through the training loop of our stages: it learns, resumes, and says whether it listens."""

import pytest
import torch

from accompgen_hf.singsong.modeling import SingSongFineForConditionalGeneration, SingSongForConditionalGeneration
from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.stages.arguments import StageTrainingArguments
from accompgen_hf.training.stages.loop import train_stage
from tiny_shards import write_shards

MODEL = {
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 48,
    "num_layers": 1,
    "num_heads": 2,
    "num_clusters": 12,
    "codebook_size": 8,
    "clip_duration_s": 0.4,
    "window_overlap_s": 0.0,
    "condition_dropout": 0.1,
}
CLASSES = {"singsong": SingSongForConditionalGeneration, "singsong_fine": SingSongFineForConditionalGeneration}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def make_arguments(shards, output_dir, **fields) -> StageTrainingArguments:
    values = {
        "stage": "singsong",
        "model": MODEL,
        "max_steps": 4,
        "global_batch_size": 4,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "log_every": 1,
        "validation_clips": 4,
        **fields,
    }
    return StageTrainingArguments(data=str(shards), output_dir=str(output_dir), **values)


def read_losses(output_dir) -> list[float]:
    return [event["loss"] for event in read_metrics(output_dir) if event["kind"] == "train"]


@pytest.mark.parametrize("stage", list(CLASSES))
def test_twenty_steps_lower_the_loss_and_the_folder_loads(shards, tmp_path, stage):
    summary = train_stage(make_arguments(shards, tmp_path, stage=stage, max_steps=20))
    losses = read_losses(tmp_path)
    assert sum(losses[-4:]) < sum(losses[:4]) - 1
    validation = summary["validation"]
    assert len(validation["perplexity"]) == (5 if stage == "singsong" else 4)
    assert {"conditioning_gain", "conditioning_gain_interval", "null_gain"} <= set(validation)
    model = CLASSES[stage].from_pretrained(tmp_path / "final")
    assert model.config.token_fingerprint == "f" * 64
    assert summary["tokens_per_s"] > 0


def test_micro_batches_and_a_break_change_nothing(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "whole", save_every=2))
    train_stage(make_arguments(shards, tmp_path / "split", micro_batch_size=2))
    torch.testing.assert_close(
        torch.tensor(read_losses(tmp_path / "whole")), torch.tensor(read_losses(tmp_path / "split"))
    )
    for folder in (tmp_path / "whole").glob("checkpoint-00000004"):
        folder.rename(tmp_path / "last")  # as if it had been killed before its end
    (tmp_path / "whole" / "summary.json").unlink()
    before = SingSongForConditionalGeneration.from_pretrained(tmp_path / "whole" / "final").state_dict()
    train_stage(make_arguments(shards, tmp_path / "whole", save_every=2))
    after = SingSongForConditionalGeneration.from_pretrained(tmp_path / "whole" / "final").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_model_of_other_tokens_is_refused(shards, tmp_path):
    with pytest.raises(ValueError, match="`token_fingerprint` of the singsong config is eee"):
        train_stage(make_arguments(shards, tmp_path, model={**MODEL, "token_fingerprint": "e" * 64}))
