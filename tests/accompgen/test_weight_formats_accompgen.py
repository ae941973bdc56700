"""Weights in fewer bits: what they cost in numbers, that they are decoded with, and what is refused."""

import pytest
import torch

from accompgen_hf import AccompGenCoarseConfig, AccompGenForConditionalGeneration
from accompgen_hf.accompgen import weight_formats_accompgen as weight_formats
from accompgen_hf.accompgen.fast_decoding_accompgen import fuse_weights
from accompgen_hf.accompgen.weight_formats_accompgen import HalfProjection, Int8Projection, Projection, make_projection
from tiny import random_clip, tiny_model, tiny_stage

needs_fbgemm = pytest.mark.skipif(not weight_formats.has_packed_products(), reason="PyTorch without FBGEMM")


def random_matrix(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@needs_fbgemm
@pytest.mark.parametrize(
    ("weight_format", "relative_error"), [(None, 1e-6), ("float16", 5e-4), ("int8", 0.03)], ids=str
)
@pytest.mark.parametrize("num_inputs", [64, 2730])  # the paper's inner width is no multiple of what kernels like
def test_products_are_those_of_the_weight_up_to_its_rounding(weight_format, relative_error, num_inputs):
    weight, values = random_matrix(48, num_inputs), random_matrix(2, num_inputs, seed=1)
    expected = values @ weight.T
    projection = make_projection(weight, weight_format)
    for found in (projection(values), projection.add_to(torch.ones(2, 48), values) - 1):
        assert (found - expected).norm() < relative_error * expected.norm()


@needs_fbgemm
def test_an_output_whose_weights_are_zero_stays_zero():
    assert make_projection(torch.zeros(8, 16), "int8")(torch.ones(1, 16)).tolist() == [[0.0] * 8]


@needs_fbgemm
def test_a_large_weight_from_half_precision_is_read_in_half_without_loss():
    weight = random_matrix(1024, 1024)
    assert type(make_projection(weight)) is Projection
    from_checkpoint = weight.half().float()
    projection = make_projection(from_checkpoint)
    assert type(projection) is HalfProjection
    assert type(make_projection(from_checkpoint[:8])) is Projection
    values = random_matrix(2, 1024, seed=1)
    torch.testing.assert_close(projection(values), values @ from_checkpoint.T, atol=1e-4, rtol=1e-5)


@needs_fbgemm
def test_a_stage_in_int8_decodes_in_int8_and_keeps_its_parameters():
    stage = tiny_stage(AccompGenCoarseConfig)
    before = {name: tensor.clone() for name, tensor in stage.state_dict().items()}
    conditioning, _ = random_clip(stage.config, duration_s=0.4)
    plain = stage.generate_codes(**conditioning, seed=3, engine="torch")
    assert stage.set_weight_format("int8") is stage
    assert type(fuse_weights(stage).layers[0].qkv) is Int8Projection
    rounded = stage.generate_codes(**conditioning, seed=3, engine="torch")
    assert not torch.equal(rounded, plain)  # rounding moves some choices of a random model
    assert set(rounded.flatten().tolist()) <= set(range(stage.config.codebook_size))
    assert torch.equal(rounded, stage.generate_codes(**conditioning, seed=3, engine="torch"))
    assert all(torch.equal(tensor, before[name]) for name, tensor in stage.state_dict().items())
    assert torch.equal(stage.set_weight_format(None).generate_codes(**conditioning, seed=3, engine="torch"), plain)


@needs_fbgemm
def test_a_composite_in_int8_saves_its_original_weights(tmp_path):
    model = tiny_model().set_weight_format("int8")
    assert {model.semantic.weight_format, model.coarse.weight_format, model.fine.weight_format} == {"int8"}
    model.save_pretrained(tmp_path)
    loaded = AccompGenForConditionalGeneration.from_pretrained(tmp_path)
    assert loaded.coarse.weight_format is None
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match=r"`weight_format` must be one of \('float16', 'int8'\) or None, got 'int4'"):
        tiny_stage(AccompGenCoarseConfig).set_weight_format("int4")


def test_another_dtype_or_device_than_float32_on_the_cpu_is_refused():
    stage = tiny_stage(AccompGenCoarseConfig)
    with pytest.raises(ValueError, match=r"needs a float32 model on the CPU, this one is torch.bfloat16 on cpu"):
        stage.to(torch.bfloat16).set_weight_format("int8")
    with pytest.raises(ValueError, match=r"this one is torch.float32 on meta"):
        tiny_stage(AccompGenCoarseConfig).to("meta").set_weight_format("int8")


@needs_fbgemm
def test_a_stage_in_int8_that_moves_away_is_refused_when_it_decodes():
    stage = tiny_stage(AccompGenCoarseConfig).set_weight_format("int8").to(torch.bfloat16)
    conditioning, _ = random_clip(stage.config)
    with pytest.raises(ValueError, match=r"`set_weight_format\(None\)` takes it back"):
        stage.generate_codes(**conditioning, seed=3)


def test_a_pytorch_without_fbgemm_is_refused(monkeypatch):
    monkeypatch.setattr(weight_formats, "has_packed_products", lambda: False)
    with pytest.raises(ValueError, match=r"needs PyTorch's FBGEMM"):
        tiny_stage(AccompGenCoarseConfig).set_weight_format("int8")
    assert type(make_projection(random_matrix(1024, 1024).half().float())) is Projection
