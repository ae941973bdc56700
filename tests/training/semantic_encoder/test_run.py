"""Masked prediction on a few real songs: targets carry pitch, training resumes exactly, files say what they hold."""

from functools import partial

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")
from accompgen_hf.accompgen.modeling_accompgen_semantic_encoder import AccompGenSemanticEncoder
from accompgen_hf.training.run_files import read_metrics
from accompgen_hf.training.semantic_encoder.finish import save_encoder
from accompgen_hf.training.semantic_encoder.model import save_rounded_hubert
from tiny_encoder import TINY_HUBERT, make_trainer


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


def test_parts_take_turns_beside_the_vocals(parts_of_bands, tmp_path):
    trainer = make_trainer(parts_of_bands, tmp_path)
    read = []
    trainer.pool.read_waveform, original = (
        lambda kind, clip: read.append(kind) or original(kind, clip),
        (trainer.pool.read_waveform),
    )
    for step in range(4):
        trainer.draw_batch(trainer.pool, (0, step), 2)
    assert read == ["vocals", "instrumental", "vocals", "drums", "vocals", "bass", "vocals", "other"]
    del trainer.pool.read_waveform
    trainer.train()
    assert all(metrics["loss"] > 0 for metrics in read_metrics(tmp_path, "validation"))


def test_a_run_starts_from_an_encoder(parts, tmp_path):
    trained = make_trainer(parts, tmp_path / "first").train()
    save_rounded_hubert(trained, tmp_path / "hubert")
    blank = np.zeros((1, 16), np.float32)
    encoder = AccompGenSemanticEncoder.from_hubert(tmp_path / "hubert", blank, layer=2)
    save_encoder(encoder, tmp_path / "encoder")
    trainer = make_trainer(parts, tmp_path / "second", init_from=str(tmp_path / "encoder"))
    for name, value in encoder.hubert.state_dict().items():
        if name != "masked_spec_embed":
            assert torch.equal(trainer.model.hubert.state_dict()[name], value)
    other_sizes = {**TINY_HUBERT, "intermediate_size": 48}
    with pytest.raises(ValueError, match=r"`init_from` .* must be an encoder of the sizes in `hubert`"):
        make_trainer(parts, tmp_path / "third", init_from=str(tmp_path / "encoder"), hubert=other_sizes)


def test_muon_trains_the_layers_and_resumes_exactly(parts, tmp_path):
    make = partial(make_trainer, parts, optimizer="muon")
    unbroken = make(tmp_path / "unbroken").train().state_dict()
    make(tmp_path / "broken").train(stop_at=3)
    resumed = make(tmp_path / "broken").train().state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in unbroken.items())
    adamw = make_trainer(parts, tmp_path / "adamw").train().state_dict()
    name = "encoder.layers.0.attention.q_proj.weight"
    assert not torch.allclose(adamw[name], unbroken[name], atol=1e-4)
    with pytest.raises(ValueError, match="`optimizer` must be one of adamw, muon, got 'sgd'"):
        make_trainer(parts, tmp_path, optimizer="sgd")


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
