"""Masked prediction on a few real songs: targets carry pitch, training resumes exactly, files say what they hold."""

import pytest
import torch

pytest.importorskip("sklearn")
from accompgen_hf.training.run_files import read_metrics
from tiny_encoder import make_trainer


def test_a_killed_run_goes_on_to_the_same_weights(parts, tmp_path):
    unbroken = make_trainer(parts, tmp_path / "unbroken").train().state_dict()
    make_trainer(parts, tmp_path / "broken").train(stop_at=3)
    assert (tmp_path / "broken" / "checkpoint-00000003").exists()
    resumed = make_trainer(parts, tmp_path / "broken").train().state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())
    for kind in ("train", "validation"):
        assert [event["step"] for event in read_metrics(tmp_path / "broken", kind)] == [2, 4]
    assert len(list((tmp_path / "broken").glob("checkpoint-*"))) == 2


def test_training_learns_its_two_clips(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path, max_steps=40, learning_rate=1e-2, save_every=40, evaluate_every=20)
    trainer.train()
    first, last = read_metrics(tmp_path, "train")
    assert last["loss"] < first["loss"] - 0.1


def test_a_run_does_not_go_on_under_other_arguments(parts, tmp_path):
    make_trainer(parts, tmp_path).train(stop_at=2)
    with pytest.raises(ValueError, match=r"holds a run with \{'learning_rate': 0.001\}, now asked: \{'learning_rate'"):
        make_trainer(parts, tmp_path, learning_rate=0.1).train()


def test_training_leaves_the_global_random_state_alone(parts, tmp_path):
    state = torch.get_rng_state()
    make_trainer(parts, tmp_path, max_steps=1).train()
    assert torch.equal(state, torch.get_rng_state())


def test_a_gradient_that_is_not_finite_stops_the_run(parts, tmp_path):
    trainer = make_trainer(parts, tmp_path)
    with torch.no_grad():
        trainer.model.projections["timbre"].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"`learning_rate` .* gave a gradient of nan"):
        trainer.train()
