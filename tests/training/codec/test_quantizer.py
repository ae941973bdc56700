"""Training of the quantizer: k-means start, live codes, the same sums as Transformers' quantizer."""

import pytest
import torch
from transformers import EncodecModel

from accompgen_hf.training.codec.quantizer import (
    fit_codebooks,
    quantize_and_update,
    start_running_sums,
    sum_code_vectors,
)
from accompgen_hf.training.codec.trainer import build_codec_config
from tiny_codec_training import TINY_MODEL


def tiny_quantizer():
    return EncodecModel(build_codec_config(**TINY_MODEL)).quantizer


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


def test_sums_without_training_equal_those_with_it_and_change_nothing():
    generator = torch.Generator().manual_seed(0)
    quantizer = tiny_quantizer()
    fit_codebooks(quantizer, torch.randn(200, 8, generator=generator), generator)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    batch = torch.randn(3, 8, 30, generator=generator)
    depths = torch.tensor([8, 4, 2])
    sums = sum_code_vectors(quantizer, batch, depths)
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())
    expected = quantize_and_update(quantizer, batch, depths, generator).embeddings
    torch.testing.assert_close(sums, expected, atol=1e-5, rtol=1e-5)


def test_running_sums_start_where_the_codes_are():
    quantizer = tiny_quantizer()
    codebook = quantizer.layers[0].codebook
    codebook.embed.normal_(generator=torch.Generator().manual_seed(0))
    start_running_sums(quantizer)
    torch.testing.assert_close(codebook.embed_avg / codebook.cluster_size[:, None], codebook.embed)
