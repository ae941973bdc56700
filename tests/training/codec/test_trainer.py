"""Updates: learning in every phase, a schedule that holds, nothing random but by (seed, step)."""

import numpy as np
import pytest
import torch

from accompgen_hf.training.codec.material import draw_clips
from accompgen_hf.training.codec.run import save_codec
from accompgen_hf.training.codec.trainer import build_codec_config, initialize_from_data
from tiny_codec_training import TINY_DECODER, TINY_MODEL, make_trainer, tiny_arguments

LONG = {"max_steps": 400, "decay_share": 0.01, "learning_rate": 3e-3, "warmup_steps": 5}


@pytest.mark.parametrize("decoder_type", ["fourier", "encodec"])
def test_updates_reduce_the_loss(tmp_path, decoder_type):
    model = {**TINY_MODEL, "decoder_type": decoder_type}
    trainer = make_trainer(tmp_path, **LONG, num_continuous_steps=1000, model=model)
    losses = [trainer.step()["mel_loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_quantized_updates_reduce_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, **LONG, num_continuous_steps=30)
    losses = [trainer.step()["mel_loss"] for _ in range(90)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_bf16_updates_reduce_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, **LONG, num_continuous_steps=30, use_bf16=True)
    losses = [trainer.step()["mel_loss"] for _ in range(90)]
    assert np.mean(losses[-10:]) < 0.75 * np.mean(losses[:5])


def test_discriminators_judge_in_turns_between_their_steps(tmp_path):
    trainer = make_trainer(tmp_path, discriminator_step=4, discriminator_stop_step=9, max_steps=20)
    before = {name: value.clone() for name, value in trainer.discriminators.state_dict().items()}
    numbers = [trainer.step() for _ in range(10)]
    assert ["adversarial_loss" in entry for entry in numbers] == [False] * 4 + [True] * 5 + [False]
    # Two discriminators; each learns in every second of its turns: 4 and 5, then 8.
    assert [step for step, entry in enumerate(numbers) if "discriminator_loss" in entry] == [4, 5, 8]
    after = trainer.discriminators.state_dict()
    assert {name.split(".")[0] for name, value in before.items() if not torch.equal(after[name], value)} == {"0", "1"}


def test_a_smaller_decoder_starts_from_blocks_of_a_trained_one(tmp_path):
    first = make_trainer(tmp_path / "a")
    save_codec(first.model, tmp_path / "codec")
    trainer = make_trainer(tmp_path / "b", init_from=str(tmp_path / "codec"), keep_decoder_layers=(1,))
    assert trainer.model.config.num_decoder_layers == len(trainer.model.decoder.blocks) == 1
    kept, source = trainer.model.decoder.blocks[0].expand.weight, first.model.decoder.blocks[1].expand.weight
    assert torch.equal(kept, source.half().float())
    with pytest.raises(ValueError, match=r"`keep_decoder_layers` must name blocks from 0 to 1, got \[2\]"):
        make_trainer(tmp_path / "c", init_from=str(tmp_path / "codec"), keep_decoder_layers=(2,))
    with pytest.raises(ValueError, match="`keep_decoder_layers` needs `init_from`"):
        tiny_arguments(tmp_path, keep_decoder_layers=(1,))


def test_a_larger_decoder_starts_as_the_smaller_one_and_learns(tmp_path):
    first = make_trainer(tmp_path / "a")
    save_codec(first.model, tmp_path / "codec")
    settings = {"init_from": str(tmp_path / "codec"), "freeze_encoder": True}
    trainer = make_trainer(tmp_path / "b", **settings, num_added_decoder_layers=2)
    model, same = trainer.model, make_trainer(tmp_path / "c", **settings).model
    assert model.config.num_decoder_layers == len(model.decoder.blocks) == len(same.decoder.blocks) + 2
    codes = torch.randint(model.config.codebook_size, (1, 1, 8, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (codec.eval().decode(codes, [None]).audio_values for codec in (same, model))
    error = (found - expected).norm() / expected.norm()
    assert error < 0.01
    model.train()
    before = model.decoder.blocks[-1].expand.weight.clone()
    for _ in range(3):
        trainer.step()
    assert not torch.equal(model.decoder.blocks[-1].expand.weight, before)
    with pytest.raises(ValueError, match="`num_added_decoder_layers` must be 0, or with `init_from` more, got 1"):
        tiny_arguments(tmp_path, num_added_decoder_layers=1)


@pytest.mark.parametrize("asked", [{"keep_decoder_layers": (0,)}, {"num_added_decoder_layers": 1}])
def test_blocks_are_of_a_fourier_decoder_alone(tmp_path, asked):
    model = {**TINY_MODEL, "decoder_type": "encodec"}
    save_codec(make_trainer(tmp_path / "a", model=model).model, tmp_path / "codec")
    with pytest.raises(ValueError, match="need a codec whose `decoder_type` is 'fourier', got 'encodec'"):
        make_trainer(tmp_path / "b", init_from=str(tmp_path / "codec"), **asked)


def test_from_the_freeze_step_on_the_decoder_trains_alone(tmp_path):
    trainer = make_trainer(tmp_path, freeze_step=5, max_steps=20)
    for _ in range(5):
        numbers = trainer.step()
    assert "commitment_loss" in numbers
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for _ in range(3):
        numbers = trainer.step()
    assert "commitment_loss" not in numbers
    changed = {
        name.split(".")[0]
        for name, value in trainer.model.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert changed == {"decoder"}


def test_a_saved_codec_starts_a_run_whose_decoder_trains_on_alone(tmp_path):
    first = make_trainer(tmp_path / "a")
    for _ in range(4):
        first.step()
    save_codec(first.model, tmp_path / "codec")
    trainer = make_trainer(tmp_path / "b", init_from=str(tmp_path / "codec"), freeze_encoder=True)
    saved = {name: value.half().float() for name, value in first.model.named_parameters()}
    assert all(torch.equal(saved[name], value) for name, value in trainer.model.named_parameters())
    numbers = trainer.step()
    assert numbers["mel_loss"] < 2
    for name, value in trainer.model.named_parameters():
        assert torch.equal(saved[name], value) != name.startswith("decoder."), name


def test_whole_numbers_are_shares_too(tmp_path):
    trainer = make_trainer(tmp_path, depth_shares=(0, 1, 0))
    assert trainer._draw_depths(8).tolist() == [trainer.depths[1]] * 8


def test_learning_rate_rises_stays_and_falls_to_zero(tmp_path):
    trainer = make_trainer(tmp_path, max_steps=100, warmup_steps=10, decay_share=0.5)
    rates = [trainer.rate_share.at(step) for step in (0, 9, 40, 49, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.001], abs=1e-3)


@pytest.mark.gpu
def test_updates_in_every_phase_run_on_a_gpu(tmp_path):
    trainer = make_trainer(tmp_path, device="cuda", use_bf16=True, discriminator_step=4, freeze_step=8, max_steps=12)
    for _ in range(12):
        numbers = trainer.step()
        assert all(np.isfinite(value) for value in numbers.values())


def test_noise_before_the_quantizer_is_relative_to_each_channel(tmp_path):
    trainer = make_trainer(tmp_path, latent_noise_share=0.3)
    scales = torch.tensor([0.1, 1.0, 7.0, 1.0, 1.0, 1.0, 1.0, 50.0])
    outputs = scales[:, None] * torch.randn(2, 8, 2000, generator=torch.Generator().manual_seed(0))
    noise = trainer._add_noise(outputs) - outputs
    torch.testing.assert_close(noise.std(dim=(0, 2)), 0.3 * scales, rtol=0.1, atol=0.0)


def test_training_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    make_trainer(tmp_path, discriminator_step=0).step()
    assert torch.equal(torch.get_rng_state(), before)


def test_data_start_gives_every_convolution_unit_variance(tmp_path):
    trainer = make_trainer(tmp_path, model={**TINY_MODEL, "decoder_type": "encodec"})
    model = trainer.model
    clips = draw_clips(trainer.songs, trainer.arguments, 0, 320)
    initialize_from_data(model, clips)
    outputs = []
    model.encoder.layers[3].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    decoded = model.decoder(model.encoder(clips))
    assert outputs[0].std().item() == pytest.approx(1.0, abs=0.05)
    assert decoded.std().item() == pytest.approx(clips.std().item(), rel=0.02)


def test_the_default_codec_is_small_enough_to_travel():
    config = build_codec_config(**TINY_DECODER)
    assert (config.decoder_type, config.hop_length, config.num_quantizers) == ("fourier", 320, 8)
