"""Attention with a learned additive bias whose training skips the masked half (Eq. 3).

PyTorch's fused kernels give no gradient to a bias on the CPU, and the plain path keeps (B, H, S, S) weights per layer.
Here queries are computed in blocks that see only the keys before them, forward and backward, and the backward pass
computes the weights again, block by block.

Letters: B batch, R rows of bias (B or 1), H heads, S positions, D head width.
"""

import math

import torch
import torch.nn.functional as F

QUERY_BLOCK = 128  # scores of a block stay in the cache of one core
# Finite in every dtype: autocast would round float32's lowest value to -inf, and rows of padding to NaN.
MASKED_SCORE = -3e4


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, is_causal: bool
) -> torch.Tensor:
    """softmax(Q Kᵀ / sqrt(D) + B) V.

    Args:
        query, key, value (`torch.Tensor` of shape `(B, H, S, D)`): `key` and `value` may be longer (cache).
        bias (`torch.Tensor` of shape `(R, H, S, num_keys)`): The bias, and the mask as very low finite values.
        is_causal (`bool`): Whether the mask hides every key after its query; these are then not computed in training.

    Returns:
        `torch.Tensor` of shape `(B, H, S, D)`.
    """
    is_training_on_cpu = query.device.type == "cpu" and bias.requires_grad and torch.is_grad_enabled()
    if is_training_on_cpu and query.shape[2] == key.shape[2]:
        return _BlockedAttention.apply(query, key, value, bias, is_causal)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, bias, is_causal):
        query = query * (1 / math.sqrt(query.shape[-1]))
        output = torch.empty_like(query)
        for rows, num_keys in _blocks(query.shape[2], is_causal):
            weights = _weights(query[:, :, rows], key[:, :, :num_keys], bias[:, :, rows, :num_keys])
            output[:, :, rows] = weights @ value[:, :, :num_keys]
        ctx.save_for_backward(query, key, value, bias, output)
        ctx.is_causal = is_causal
        return output

    @staticmethod
    def backward(ctx, grad_output):
        query, key, value, bias, output = ctx.saved_tensors
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        grad_bias = torch.zeros_like(bias)
        overlap = (grad_output * output).sum(-1, keepdim=True)  # Σ_j P_ij dP_ij, without P
        for rows, num_keys in _blocks(query.shape[2], ctx.is_causal):
            keys, values = key[:, :, :num_keys], value[:, :, :num_keys]
            weights = _weights(query[:, :, rows], keys, bias[:, :, rows, :num_keys])
            grad_rows = grad_output[:, :, rows]
            grad_value[:, :, :num_keys] += weights.transpose(2, 3) @ grad_rows
            grad_scores = (grad_rows @ values.transpose(2, 3)).sub_(overlap[:, :, rows]).mul_(weights)
            grad_query[:, :, rows] = grad_scores @ keys
            grad_key[:, :, :num_keys] += grad_scores.transpose(2, 3) @ query[:, :, rows]
            grad_bias[:, :, rows, :num_keys] = grad_scores.sum(0, keepdim=True) if len(bias) == 1 else grad_scores
        return grad_query / math.sqrt(query.shape[-1]), grad_key, grad_value, grad_bias, None


def _weights(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return (query @ key.transpose(2, 3)).add_(bias.to(query.dtype)).softmax(-1)  # (B, H, block, num_keys)


def _blocks(num_positions: int, is_causal: bool) -> list[tuple[slice, int]]:
    starts = range(0, num_positions, QUERY_BLOCK)
    ends = [min(start + QUERY_BLOCK, num_positions) for start in starts]
    return [(slice(start, end), end if is_causal else num_positions) for start, end in zip(starts, ends, strict=True)]
