"""Training attention against PyTorch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from accompgen_hf.accompgen.attention_accompgen import QUERY_BLOCK, attend


def make_inputs(num_positions, num_bias_rows, is_causal):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    query, key, value = (draw(2, 3, num_positions, 8).requires_grad_() for _ in range(3))
    bias = draw(num_bias_rows, 3, num_positions, num_positions)
    if is_causal:
        is_visible = torch.ones(num_positions, num_positions, dtype=torch.bool).tril()
        bias = bias.masked_fill(~is_visible, -3e4)
    return query, key, value, bias.requires_grad_(), draw(2, 3, num_positions, 8)


@pytest.mark.parametrize("num_positions", [5, QUERY_BLOCK, 2 * QUERY_BLOCK + 37])
@pytest.mark.parametrize(("num_bias_rows", "is_causal"), [(1, True), (2, True), (1, False)])
def test_output_and_every_gradient_equal_sdpa(num_positions, num_bias_rows, is_causal):
    query, key, value, bias, grad = make_inputs(num_positions, num_bias_rows, is_causal)
    inputs = (query, key, value, bias)
    output = attend(*inputs, is_causal)
    assert type(output.grad_fn).__name__ == "_BlockedAttentionBackward"
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    gradients = torch.autograd.grad(output, inputs, grad)
    for gradient, reference in zip(gradients, torch.autograd.grad(expected, inputs, grad), strict=True):
        torch.testing.assert_close(gradient, reference, atol=1e-11, rtol=0)


def test_without_gradients_pytorch_does_the_work():
    query, key, value, bias, _ = make_inputs(5, 1, True)
    with torch.no_grad():
        output = attend(query, key, value, bias, True)
        assert torch.equal(output, F.scaled_dot_product_attention(query, key, value, attn_mask=bias))
