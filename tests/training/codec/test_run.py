"""Tests of the codec's training: learning, bit-exact resume, live codebooks, a folder that loads."""

import json
import math

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, EncodecModel

from accompgen_hf.songs.song import HELD_OUT_SEED
from accompgen_hf.training.codec.evaluation import MelSpectrogram, SpectralLoss, evaluate_codec, perplexity
from accompgen_hf.training.codec.quantizer import fit_codebooks, quantize_and_update
from accompgen_hf.training.codec.run import (
    CodecTrainingArguments,
    prepare_songs,
    save_codec,
    synthesize_song,
    train_codec,
)
from accompgen_hf.training.codec.trainer import (
    CodecTrainer,
    build_codec_config,
    draw_clips,
    initialize_from_data,
    list_checkpoints,
)

TINY_MODEL = {"num_filters": 2, "hidden_size": 8, "upsampling_ratios": [8, 8, 5], "codebook_size": 16}


def tone(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two seconds of a sine for the vocals and of another, with a pulse, for the instrumental."""
    time = np.arange(48_000) / 24_000
    vocals = 0.1 * np.sin(2 * np.pi * (300 + 20 * seed) * time)
    instrumental = 0.2 * np.sin(2 * np.pi * (110 + 10 * seed) * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2
    return vocals.astype(np.float32), instrumental.astype(np.float32)


def tiny_arguments(folder, **overrides) -> CodecTrainingArguments:
    settings = {
        "output_dir": str(folder / "run"),
        "songs_dir": str(folder / "songs"),
        "num_songs": 3,
        "num_steps": 6,
        "num_continuous_steps": 3,
        "batch_size": 2,
        "clip_num_frames": 12,
        "warmup_steps": 1,
        "num_codebook_fit_batches": 4,
        "checkpoint_steps": 2,
        "log_steps": 1,
        "mel_scales": ((512, 20), (256, 10)),
        "model": {**TINY_MODEL, "target_bandwidths": [0.6, 1.2, 2.4]},
    }
    return CodecTrainingArguments(**{**settings, **overrides})


def make_trainer(folder, **overrides) -> CodecTrainer:
    arguments = tiny_arguments(folder, **overrides)
    return CodecTrainer(arguments, prepare_songs(arguments.songs_dir, range(arguments.num_songs), tone))


def tiny_quantizer(codebook_size: int = 16):
    model = EncodecModel(build_codec_config(**{**TINY_MODEL, "codebook_size": codebook_size}))
    return model.quantizer


def test_updates_reduce_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, num_steps=400, num_continuous_steps=1000, learning_rate=3e-3, warmup_steps=5)
    losses = [trainer.step()["spectral_loss"] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_quantized_updates_reduce_the_loss(tmp_path):
    trainer = make_trainer(tmp_path, num_steps=400, num_continuous_steps=30, learning_rate=3e-3, warmup_steps=5)
    losses = [trainer.step()["spectral_loss"] for _ in range(90)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize("stop", [2, 4])
def test_resumed_run_equals_unbroken_run_bit_for_bit(tmp_path, monkeypatch, stop):
    unbroken = train_codec(tiny_arguments(tmp_path / "a"), tone)
    arguments = tiny_arguments(tmp_path / "b")
    step = CodecTrainer.step

    def fail_after_the_checkpoint(trainer):
        if trainer.completed_steps == stop + 1:
            raise KeyboardInterrupt
        return step(trainer)

    monkeypatch.setattr(CodecTrainer, "step", fail_after_the_checkpoint)
    with pytest.raises(KeyboardInterrupt):
        train_codec(arguments, tone)
    monkeypatch.setattr(CodecTrainer, "step", step)
    resumed = train_codec(arguments, tone)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    metrics = [(tmp_path / name / "run" / "metrics.jsonl").read_text() for name in "ab"]
    assert metrics[0] == metrics[1]
    assert (tmp_path / "b" / "run" / "learning_curve.png").stat().st_size > 1000
    assert [path.name for path in list_checkpoints(tmp_path / "b" / "run")] == ["checkpoint-0000006"]


def test_finished_run_only_loads(tmp_path, monkeypatch):
    first = train_codec(tiny_arguments(tmp_path), tone)
    monkeypatch.setattr(CodecTrainer, "step", None)
    second = train_codec(tiny_arguments(tmp_path), tone)
    assert torch.equal(first.decoder.layers[0].conv.weight, second.decoder.layers[0].conv.weight)


def test_learning_rate_rises_stays_and_falls_to_zero(tmp_path):
    trainer = make_trainer(tmp_path, num_steps=100, warmup_steps=10, decay_share=0.5, learning_rate=1.0)
    rates = []
    for step in (0, 9, 40, 49, 75, 99):
        trainer.completed_steps = step
        rates.append(trainer.learning_rate())
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.001], abs=1e-3)


def test_noise_before_the_quantizer_is_relative_to_each_channel(tmp_path):
    trainer = make_trainer(tmp_path, latent_noise_share=0.3)
    scales = torch.tensor([0.1, 1.0, 7.0, 1.0, 1.0, 1.0, 1.0, 50.0])
    outputs = scales[:, None] * torch.randn(2, 8, 2000, generator=torch.Generator().manual_seed(0))
    noise = trainer._add_noise(outputs) - outputs
    torch.testing.assert_close(noise.std(dim=(0, 2)), 0.3 * scales, rtol=0.1, atol=0.0)


def test_training_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    make_trainer(tmp_path).step()
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpoint_of_another_recipe_is_refused(tmp_path):
    train_codec(tiny_arguments(tmp_path), tone)
    with pytest.raises(ValueError, match=r"`arguments` must equal .* but batch_size differ"):
        train_codec(tiny_arguments(tmp_path, batch_size=3), tone)


def test_held_out_songs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=rf"`seeds` must be below {HELD_OUT_SEED}"):
        train_codec(tiny_arguments(tmp_path, first_song_seed=HELD_OUT_SEED - 1), tone)


def test_clips_depend_on_seed_and_step_alone(tmp_path):
    arguments = tiny_arguments(tmp_path)
    songs = prepare_songs(arguments.songs_dir, range(3), tone)
    first, again = (draw_clips(songs, arguments, 5, 320) for _ in range(2))
    assert first.shape == (2, 1, 12 * 320)
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_clips(songs, arguments, 6, 320))
    assert not torch.equal(first, draw_clips(songs, tiny_arguments(tmp_path, seed=1), 5, 320))


def test_songs_are_synthesized_once(tmp_path):
    calls = []

    def counted(seed):
        calls.append(seed)
        return tone(seed)

    prepare_songs(str(tmp_path), range(2), counted)
    songs = prepare_songs(str(tmp_path), range(3), counted)
    assert calls == [0, 1, 2]
    np.testing.assert_allclose(songs[1][1] / 32767, tone(1)[1], atol=1 / 32767)


def test_song_source_gives_both_parts_at_the_codecs_rate():
    vocals, instrumental = synthesize_song(3)
    assert vocals.shape == instrumental.shape == (240_000,)


def test_data_start_gives_every_convolution_unit_variance(tmp_path):
    trainer = make_trainer(tmp_path)
    model = trainer.model
    clips = draw_clips(trainer.songs, trainer.arguments, 0, 320)
    initialize_from_data(model, clips)
    outputs = []
    model.encoder.layers[3].register_forward_hook(lambda module, inputs, output: outputs.append(output))
    decoded = model.decoder(model.encoder(clips))
    assert outputs[0].std().item() == pytest.approx(1.0, abs=0.05)
    assert decoded.std().item() == pytest.approx(clips.std().item(), rel=0.02)


def test_kmeans_start_finds_separate_groups():
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(16, 8, generator=generator)
    vectors = centres.repeat(20, 1) + 0.01 * torch.randn(320, 8, generator=generator)
    quantizer = tiny_quantizer()
    fit_codebooks(quantizer, vectors, generator)
    codes = quantizer.encode(vectors.T[None])  # (K, 1, N)
    decoded = quantizer.decode(codes)[0].T
    assert (decoded - vectors).square().mean() < 0.05 * vectors.var()


def test_kmeans_start_refuses_fewer_vectors_than_codes():
    with pytest.raises(ValueError, match="`embeddings` must hold at least 16 vectors, one per code, got 15"):
        fit_codebooks(tiny_quantizer(), torch.zeros(15, 8), torch.Generator())


def test_dead_codes_restart_on_frames_of_the_batch():
    generator = torch.Generator().manual_seed(0)
    quantizer = tiny_quantizer()
    fit_codebooks(quantizer, torch.randn(200, 8, generator=generator), generator)
    codebook = quantizer.layers[0].codebook
    codebook.embed[3:] = 1e3
    codebook.embed_avg[3:] = 1e3
    codebook.cluster_size[3:] = 0.0
    batch = torch.randn(2, 8, 50, generator=generator)
    output = quantize_and_update(quantizer, batch, torch.tensor([8, 8]), generator)
    assert output.num_restarted >= 13
    distance = torch.cdist(codebook.embed[3:], batch.transpose(1, 2).flatten(0, 1)).min(dim=1).values
    assert distance.max() < 1e-2  # `cdist` itself is only this exact
    assert quantizer.encode(batch)[0].unique().numel() > 10


def test_codebooks_follow_moving_inputs():
    generator = torch.Generator().manual_seed(0)
    quantizer = tiny_quantizer()
    fit_codebooks(quantizer, torch.randn(200, 8, generator=generator), generator)
    for _ in range(200):
        batch = 5 + torch.randn(2, 8, 50, generator=generator)
        quantize_and_update(quantizer, batch, torch.tensor([8, 8]), generator, decay=0.9)
    assert quantizer.layers[0].codebook.embed.mean().item() == pytest.approx(5.0, abs=0.3)


def test_quantized_embeddings_equal_transformers_and_pass_the_gradient_straight_through():
    generator = torch.Generator().manual_seed(0)
    quantizer = tiny_quantizer()
    fit_codebooks(quantizer, torch.randn(200, 8, generator=generator), generator)
    batch = torch.randn(2, 8, 30, generator=generator, requires_grad=True)
    codes = quantizer.encode(batch)  # (K, B, T)
    expected = [quantizer.decode(codes[:8, :1]), quantizer.decode(codes[:4, 1:])]
    output = quantize_and_update(quantizer, batch, torch.tensor([8, 4]), generator)
    torch.testing.assert_close(output.embeddings, torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert torch.equal(output.codes, codes.transpose(0, 1))
    output.embeddings.sum().backward()
    torch.testing.assert_close(batch.grad, torch.ones_like(batch))


def test_saved_folder_loads_as_encodec_with_eight_codebooks_at_75_hz(tmp_path):
    model = EncodecModel(build_codec_config())
    save_codec(model, tmp_path / "codec")
    size = sum(path.stat().st_size for path in (tmp_path / "codec").iterdir())
    assert size < 3_500_000
    assert json.loads((tmp_path / "codec" / "config.json").read_text())["dtype"] == "float32"
    loaded = EncodecModel.from_pretrained(tmp_path / "codec")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "codec")
    audio = 0.1 * np.sin(np.arange(48_000) / 20).astype(np.float32)
    inputs = extractor(audio, sampling_rate=24_000, return_tensors="pt")
    codes = loaded.encode(inputs["input_values"], inputs["padding_mask"], bandwidth=6.0).audio_codes
    assert codes.shape == (1, 1, 8, 150)
    assert loaded.decode(codes, [None]).audio_values.shape == (1, 1, 48_000)


def test_saved_weights_are_the_float16_values_of_the_trained_ones(tmp_path):
    model = EncodecModel(build_codec_config(**TINY_MODEL))
    save_codec(model, tmp_path / "codec")
    loaded = EncodecModel.from_pretrained(tmp_path / "codec").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(loaded[name], value.half().float()), name


def test_mel_of_a_full_scale_sine_is_of_one_size_at_any_window():
    sine = torch.sin(2 * math.pi * 1500 * torch.arange(24_000) / 24_000)[None]
    for window_size in (512, 2048):
        spectrogram = MelSpectrogram(24_000, window_size, 40)
        # A sine spreads over three bins of a Hann window, 1/4 + 1/2 + 1/4, under a triangle of at most 1.
        assert 0.4 < spectrogram(sine)[0, 5:-5].max().item() <= 1.0


def test_spectral_loss_is_zero_for_equal_waveforms_and_one_decade_is_one():
    noise = 0.1 * torch.randn(1, 9600, generator=torch.Generator().manual_seed(0))
    loss = SpectralLoss(24_000, ((512, 20), (256, 10)), linear_weight=0.0)
    assert loss(noise, noise).item() == 0
    assert loss(noise / 10, noise).item() == pytest.approx(1.0, abs=1e-3)


def test_perplexity_counts_codes_in_even_use():
    assert perplexity(torch.tensor([5.0, 5.0, 5.0, 5.0, 0.0])) == pytest.approx(4.0)


def test_evaluation_reports_errors_and_every_codebook(tmp_path):
    trainer = make_trainer(tmp_path)
    for _ in range(5):
        trainer.step()
    results = evaluate_codec(trainer.model, [tone(7)[1], tone(8)[1]])
    assert trainer.model.training
    assert results["log_mel_error"] > 0
    assert results["mean_spectrum_error"] > 0
    assert len(results["perplexity"]) == len(results["usage"]) == 8
    assert all(1 <= value <= 16 for value in results["perplexity"])


def test_evaluation_without_recordings_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`waveforms` must hold at least one recording, got none"):
        evaluate_codec(make_trainer(tmp_path).model, [])
