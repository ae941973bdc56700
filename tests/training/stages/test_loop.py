"""The loop: curves that no splitting moves, resume to the bit, and a stage that learns from its conditioning."""

import contextlib
import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import DistributedType
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM

import accompgen_hf  # noqa: F401  (registers the stages with AutoModelForCausalLM)
from accompgen_hf.accompgen.training_record_accompgen import read_record
from accompgen_hf.data.training_tracks import read_shard_tracks
from accompgen_hf.training.stages.loop import StageTrainer, train_stage
from accompgen_hf.training.stages.processes import prepare_sharded
from tiny_shards import MODEL, make_arguments, read_losses, receive_sigterm_in_third_step, write_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return write_shards(tmp_path_factory.mktemp("data") / "shards")


def read_weights(output_dir: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(output_dir / "final")
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def assert_equal_weights(first: Path, second: Path) -> None:
    ours, theirs = read_weights(first), read_weights(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("stage", ["semantic", "coarse", "fine"])
def test_every_stage_trains_and_its_folder_loads(shards, tmp_path, stage):
    summary = train_stage(make_arguments(shards, tmp_path, stage=stage, max_steps=2))
    assert summary["is_finished"]
    assert summary["tokens_per_s"] > 0
    assert np.isfinite(summary["validation"]["loss"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "final")
    assert model.config.token_fingerprint == "f" * 64
    assert len(summary["validation"]["perplexity"]) == (1 if stage == "semantic" else 4)
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "summary.json").read_text())["arguments"]["stage"] == stage
    assert read_record(tmp_path / "final") == read_shard_tracks(shards)


def test_two_micro_batches_equal_one_batch(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "one"))
    train_stage(make_arguments(shards, tmp_path / "two", micro_batch_size=2))
    train_stage(make_arguments(shards, tmp_path / "ragged", micro_batch_size=3))
    for name in ("two", "ragged"):
        np.testing.assert_allclose(read_losses(tmp_path / name), read_losses(tmp_path / "one"), atol=1e-5)
        ours, theirs = read_weights(tmp_path / name), read_weights(tmp_path / "one")
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], atol=2e-4, rtol=0)


class _Killed(Exception):
    pass


@pytest.mark.parametrize("fields", [{}, {"ema_decay": 0.5, "micro_batch_size": 3}, {"num_workers": 1}])
def test_resume_equals_an_unbroken_run_bit_for_bit(shards, tmp_path, monkeypatch, fields):
    fields = {**fields, "save_every": 2, "model": {**MODEL, "dropout": 0.1}}
    train_stage(make_arguments(shards, tmp_path / "whole", **fields))
    take_step = StageTrainer._take_step

    def die_at_step_3(self, window):
        result = take_step(self, window)
        if self.step == 3:
            raise _Killed  # the update of step 3 is done, and lost
        return result

    monkeypatch.setattr(StageTrainer, "_take_step", die_at_step_3)
    with pytest.raises(_Killed):
        train_stage(make_arguments(shards, tmp_path / "broken", **fields))
    monkeypatch.undo()
    torch.manual_seed(99)  # the state of the second process is another one
    train_stage(make_arguments(shards, tmp_path / "broken", **fields))
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken")
    assert read_losses(tmp_path / "whole") == read_losses(tmp_path / "broken")


def test_sigterm_finishes_the_step_saves_and_resumes_to_the_bit(shards, tmp_path, monkeypatch):
    train_stage(make_arguments(shards, tmp_path / "whole"))
    receive_sigterm_in_third_step(monkeypatch)
    summary = train_stage(make_arguments(shards, tmp_path / "stopped"))
    assert not summary["is_finished"]
    assert summary["step"] == 3
    assert [path.name for path in tmp_path.glob("stopped/checkpoint-*")] == ["checkpoint-00000003"]
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    train_stage(make_arguments(shards, tmp_path / "stopped"))
    assert_equal_weights(tmp_path / "whole", tmp_path / "stopped")


def test_a_finished_run_is_not_done_again(shards, tmp_path):
    first = train_stage(make_arguments(shards, tmp_path))
    stamp = (tmp_path / "final" / "model.safetensors").stat().st_mtime_ns
    assert train_stage(make_arguments(shards, tmp_path))["validation"] == first["validation"]
    assert (tmp_path / "final" / "model.safetensors").stat().st_mtime_ns == stamp


def test_global_random_state_is_not_touched(shards, tmp_path):
    torch.manual_seed(1), np.random.seed(1)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(1), np.random.seed(1)  # noqa: NPY002
    train_stage(make_arguments(shards, tmp_path, max_steps=2))
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


def test_a_clip_can_be_overfitted(tmp_path):
    shards = write_shards(tmp_path / "shards", num_rows=2, is_listening=False)
    model = {**MODEL, "condition_dropout": 0.0, "clip_duration_s": 0.8}
    fields = {"model": model, "max_steps": 150, "validation_clips": 0, "warmup_steps": 5, "learning_rate": 1e-2}
    train_stage(make_arguments(shards, tmp_path / "run", global_batch_size=1, weight_decay=0.0, **fields))
    assert read_losses(tmp_path / "run")[-1] < 0.1


def test_conditioning_gain_is_positive_for_pairs_and_zero_for_shuffled_pairs(shards, tmp_path):
    fields = {"max_steps": 120, "global_batch_size": 8, "validation_clips": 8, "learning_rate": 1e-2}
    fields["model"] = {**MODEL, "num_hidden_layers": 1}
    paired = train_stage(make_arguments(shards, tmp_path / "paired", **fields))["validation"]
    shuffled = train_stage(make_arguments(shards, tmp_path / "shuffled", shuffle_pairs=True, **fields))["validation"]
    assert paired["conditioning_gain"] > 0.5 + paired["conditioning_gain_interval"]
    assert paired["null_gain"] > 0.3
    assert paired["accuracy"][0] > 0.3
    assert abs(shuffled["conditioning_gain"]) < 0.05


def test_steps_with_nan_gradients_are_skipped_counted_and_finally_fatal(shards, tmp_path, monkeypatch):
    take_step = StageTrainer._take_step
    bad_steps = {2, 3}

    def poison(self, window):
        if self.step not in bad_steps:
            return take_step(self, window)
        before = [parameter.clone() for parameter in self.stage.parameters()]
        handle = self.stage.heads[0].weight.register_hook(lambda gradient: gradient * float("nan"))
        result = take_step(self, window)
        handle.remove()
        assert all(torch.equal(a, b) for a, b in zip(before, self.stage.parameters(), strict=True))
        return result

    monkeypatch.setattr(StageTrainer, "_take_step", poison)
    summary = train_stage(make_arguments(shards, tmp_path / "some"))
    assert summary["num_skipped_steps"] == 2
    assert all(torch.isfinite(weight).all() for weight in read_weights(tmp_path / "some").values())
    bad_steps.update(range(2, 10))
    arguments = make_arguments(shards, tmp_path / "many", max_skipped_in_row=3, save_every=2)
    with pytest.raises(RuntimeError, match=r"The gradients of 3 steps in a row were not finite \(step 4\)"):
        train_stage(arguments)
    assert (tmp_path / "many" / "checkpoint-00000004").is_dir()


def test_averaged_weights_are_validated_and_saved(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "plain"))
    train_stage(make_arguments(shards, tmp_path / "averaged", ema_decay=0.9))
    assert read_losses(tmp_path / "plain") == read_losses(tmp_path / "averaged")
    plain, averaged = read_weights(tmp_path / "plain"), read_weights(tmp_path / "averaged")
    assert any(not torch.equal(plain[name], averaged[name]) for name in plain)


def test_a_run_does_not_go_on_under_other_arguments(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path, save_every=2))
    with pytest.raises(ValueError, match=r"a run with \{'learning_rate': 0.003\}, now asked: \{'learning_rate': 0.1"):
        train_stage(make_arguments(shards, tmp_path, learning_rate=0.1))


@pytest.fixture
def other_precision():
    """Accelerate has one precision per process; a run of another one begins from nothing, and leaves nothing."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


def test_recomputed_activations_change_no_weight(shards, tmp_path):
    train_stage(make_arguments(shards, tmp_path / "plain", max_steps=2))
    train_stage(make_arguments(shards, tmp_path / "recomputed", max_steps=2, gradient_checkpointing=True))
    assert_equal_weights(tmp_path / "recomputed", tmp_path / "plain")


def test_bf16_follows_the_plain_curve_and_resumes_to_the_bit(shards, tmp_path, other_precision):
    train_stage(make_arguments(shards, tmp_path / "plain"))
    AcceleratorState._reset_state()
    train_stage(make_arguments(shards, tmp_path / "half", mixed_precision="bf16", save_every=3))
    np.testing.assert_allclose(read_losses(tmp_path / "half"), read_losses(tmp_path / "plain"), atol=0.02)
    assert read_losses(tmp_path / "half") != read_losses(tmp_path / "plain")
    for name in ("checkpoint-00000006", "final", "summary.json"):
        path = tmp_path / "half" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    first = read_losses(tmp_path / "half")
    train_stage(make_arguments(shards, tmp_path / "half", mixed_precision="bf16"))
    assert read_losses(tmp_path / "half") == first


def use_fp16_scaler(trainer: StageTrainer) -> torch.amp.GradScaler:
    """Give a run on the CPU what a GPU's fp16 run has, half-precision products apart: the scaler of gradients."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    trainer.arguments.mixed_precision = "fp16"
    trainer.accelerator.state._mixed_precision = "fp16"
    trainer.accelerator.native_amp, trainer.accelerator.scaler = True, scaler
    trainer.optimizer = AcceleratedOptimizer(trainer.optimizer.optimizer, device_placement=False, scaler=scaler)
    return scaler


def test_the_scaler_of_fp16_changes_no_update_and_steps_down_after_an_overflow(
    shards, tmp_path, monkeypatch, other_precision
):
    train_stage(make_arguments(shards, tmp_path / "plain"))
    trainer = StageTrainer(make_arguments(shards, tmp_path / "scaled"))
    scaler = use_fp16_scaler(trainer)
    monkeypatch.setattr(trainer.accelerator, "autocast", contextlib.nullcontext)
    trainer.run()
    ours, theirs = read_weights(tmp_path / "scaled"), read_weights(tmp_path / "plain")
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    trainer.step = 0
    windows = trainer._make_windows()
    before = {name: weight.clone() for name, weight in trainer.stage.named_parameters()}
    handle = trainer.stage.heads[0].weight.register_hook(lambda gradient: gradient * float("inf"))
    trainer._take_step(next(windows))
    handle.remove()
    assert all(torch.equal(before[name], weight) for name, weight in trainer.stage.named_parameters())
    assert (trainer.state["num_skipped_steps"], scaler.get_scale()) == (1, 2.0**9)
    trainer._take_step(next(windows))
    assert trainer.state["num_skipped_in_row"] == 0
    assert any(not torch.equal(before[name], weight) for name, weight in trainer.stage.named_parameters())


@pytest.mark.slow
def test_a_compiled_model_follows_the_plain_curve(shards, tmp_path):
    model = {**MODEL, "num_hidden_layers": 1}
    train_stage(make_arguments(shards, tmp_path / "plain", model=model))
    train_stage(make_arguments(shards, tmp_path / "compiled", model=model, torch_compile=True))
    np.testing.assert_allclose(read_losses(tmp_path / "compiled"), read_losses(tmp_path / "plain"), atol=1e-4)
    assert read_weights(tmp_path / "compiled").keys() == read_weights(tmp_path / "plain").keys()


def test_impossible_runs_are_refused(shards, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"`num_processes` is 2, but this run has 1"):
        train_stage(make_arguments(shards, tmp_path, num_processes=2))
    with pytest.raises(ValueError, match=r"`model` must hold fields of AccompGenSemanticConfig, which has none named"):
        train_stage(make_arguments(shards, tmp_path, model={"width": 3}))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"2 processes were launched, but this one works with 1"):
        train_stage(make_arguments(shards, tmp_path))
    monkeypatch.delenv("WORLD_SIZE")
    sharding = SimpleNamespace(distributed_type=DistributedType.FSDP)
    with pytest.raises(ValueError, match=r"`ema_decay` must be null with FSDP, got 0.9"):
        prepare_sharded(None, sharding, make_arguments(shards, tmp_path, ema_decay=0.9))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"`mixed_precision` 'fp16' needs a GPU"):
        train_stage(make_arguments(shards, tmp_path, mixed_precision="fp16"))
    alone = write_shards(tmp_path / "alone", num_rows=5)
    with pytest.raises(ValueError, match=r"must give at least two held-out tracks, .* got 1 tracks, 4 clips"):
        train_stage(make_arguments(alone, tmp_path / "y", max_steps=10**9))
    with pytest.raises(ValueError, match=r"got 8 tracks, 1 clips"):
        train_stage(make_arguments(shards, tmp_path / "z", validation_clips=1))
