"""Training of EnCodec's residual vector quantizer: k-means start, EMA codebooks, restart of dead codes.

`transformers.EncodecModel` quantizes but cannot train its quantizer. These functions work on its own buffers
(`embed`, `embed_avg`, `cluster_size`), so nothing has to be converted afterwards.

Letters: B batch, D codebook dimension, T EnCodec frames (75 per second), N = B * T frames of a batch, K codebooks,
C codes of a codebook.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import embedding, mse_loss
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook, EncodecResidualVectorQuantizer


@dataclass
class QuantizerOutput:
    """What one training step takes from the quantizer.

    Args:
        embeddings (`torch.FloatTensor` of shape `(batch_size, codebook_dim, num_frames)`):
            Quantized embeddings; the gradient passes straight through to the encoder.
        codes (`torch.LongTensor` of shape `(batch_size, num_codebooks, num_frames)`):
            Indices of all codebooks, also of those the batch was not decoded from.
        commitment_loss (`torch.FloatTensor`):
            Mean squared distance of the encoder's residuals to their codes, relative to its outputs' variance.
        num_restarted (`int`):
            Codes that were dead and now stand on a frame of this batch.
    """

    embeddings: torch.Tensor
    codes: torch.LongTensor
    commitment_loss: torch.Tensor
    num_restarted: int


def fit_codebooks(
    quantizer: EncodecResidualVectorQuantizer,
    embeddings: torch.Tensor,
    generator: torch.Generator,
    iterations: int = 12,
) -> None:
    """Set every codebook by k-means on what the codebooks before it leave over.

    Args:
        quantizer (`EncodecResidualVectorQuantizer`): Its buffers are written.
        embeddings (`torch.FloatTensor` of shape `(num_vectors, codebook_dim)`): Encoder outputs.
        generator (`torch.Generator`): Chooses the first centroids and restarts empty ones.

    Raises:
        ValueError: If there are fewer vectors than codes.
    """
    residual = embeddings.detach().float()
    for layer in quantizer.layers:
        codebook = layer.codebook
        if residual.shape[0] < codebook.codebook_size:
            raise ValueError(
                f"`embeddings` must hold at least {codebook.codebook_size} vectors, one per code, "
                f"got {residual.shape[0]}. Collect more batches."
            )
        choice = torch.randperm(residual.shape[0], generator=generator)[: codebook.codebook_size]
        codebook.embed.copy_(residual[choice])
        for _ in range(iterations):
            indices = codebook.quantize(residual)
            counts, sums = _count_and_sum(residual, indices, codebook.codebook_size)
            empty = counts == 0
            choice = torch.randint(residual.shape[0], (int(empty.sum()),), generator=generator)
            codebook.embed.copy_(sums / counts.clamp(min=1.0)[:, None])
            codebook.embed[empty] = residual[choice]
        residual = residual - embedding(codebook.quantize(residual), codebook.embed)
    start_running_sums(quantizer)


def quantize_and_update(
    quantizer: EncodecResidualVectorQuantizer,
    hidden_states: torch.Tensor,
    num_codebooks: torch.LongTensor,
    generator: torch.Generator,
    decay: float = 0.99,
    dead_share: float = 0.2,
) -> QuantizerOutput:
    """One training step: nearest codes, straight-through gradient, EMA update of all codebooks.

    Args:
        hidden_states (`torch.FloatTensor` of shape `(batch_size, codebook_dim, num_frames)`): Encoder outputs.
        num_codebooks (`torch.LongTensor` of shape `(batch_size,)`):
            Codebooks each item is decoded from (quantizer dropout). All of them are updated in any case.
        generator (`torch.Generator`): Chooses the frames on which dead codes restart.
        decay (`float`): Decay of the exponential moving averages per step.
        dead_share (`float`): A code used less than this share of the mean use is dead.
    """
    batch_size, _, num_frames = hidden_states.shape
    vectors = hidden_states.transpose(1, 2).flatten(0, 1)  # (B, D, T) -> (N, D)
    # (B,) -> (N, 1): how many codebooks each frame is decoded from.
    depth = num_codebooks.repeat_interleave(num_frames)[:, None]
    residual, quantized = vectors, torch.zeros_like(vectors)
    # Relative to the variance, or the encoder would obey by shrinking its outputs to nothing.
    variance = vectors.detach().var() + 1e-8
    commitment_loss, codes, num_restarted = vectors.new_zeros(()), [], 0
    for level, layer in enumerate(quantizer.layers):
        codebook = layer.codebook
        with torch.no_grad():
            indices = codebook.quantize(residual)
            chosen = embedding(indices, codebook.embed)
            num_restarted += _update_codebook(codebook, residual, indices, generator, decay, dead_share)
        commitment_loss = commitment_loss + mse_loss(residual, chosen) / variance / len(quantizer.layers)
        quantized = quantized + torch.where(depth > level, chosen, 0.0)
        residual = residual - chosen
        codes.append(indices.view(batch_size, num_frames))
    quantized = vectors + (quantized - vectors).detach()
    embeddings = quantized.view(batch_size, num_frames, -1).transpose(1, 2)  # (N, D) -> (B, D, T)
    return QuantizerOutput(embeddings, torch.stack(codes, dim=1), commitment_loss, num_restarted)


def sum_code_vectors(
    quantizer: EncodecResidualVectorQuantizer, hidden_states: torch.Tensor, num_codebooks: torch.LongTensor
) -> torch.Tensor:
    """Quantize without training: sums `(B, D, T)` of the code vectors of each item's first `num_codebooks`, `(B,)`."""
    with torch.no_grad():
        return sum_vectors_of(quantizer, quantizer.encode(hidden_states), num_codebooks)  # codes (K, B, T)


@torch.no_grad()
def sum_vectors_of(
    quantizer: EncodecResidualVectorQuantizer, codes: torch.LongTensor, num_codebooks: torch.LongTensor
) -> torch.Tensor:
    """Sums `(B, D, T)` of the code vectors of `codes`, `(K, B, T)`, of each item's first `num_codebooks`, `(B,)`."""
    total = 0.0
    for level, (layer, indices) in enumerate(zip(quantizer.layers, codes, strict=True)):
        chosen = layer.decode(indices)  # (B, T) -> (B, D, T)
        total = total + torch.where(num_codebooks[:, None, None] > level, chosen, 0.0)
    return total


def start_running_sums(quantizer: EncodecResidualVectorQuantizer) -> None:
    """Set the running sums of codebooks that were saved without them, as if every code had been used equally often."""
    with torch.no_grad():
        for layer in quantizer.layers:
            layer.codebook.cluster_size.fill_(1.0)
            layer.codebook.embed_avg.copy_(layer.codebook.embed)


def _update_codebook(
    codebook: EncodecEuclideanCodebook,
    vectors: torch.Tensor,
    indices: torch.LongTensor,
    generator: torch.Generator,
    decay: float,
    dead_share: float,
) -> int:
    """Move a codebook towards the batch's vectors and restart its dead codes; returns how many there were."""
    num_vectors, codebook_size = vectors.shape[0], codebook.codebook_size
    counts, sums = _count_and_sum(vectors, indices, codebook_size)
    # Counts are kept relative to the mean use, so that the threshold does not depend on the batch size.
    scale = codebook_size / num_vectors
    codebook.cluster_size.mul_(decay).add_(counts * scale, alpha=1 - decay)
    codebook.embed_avg.mul_(decay).add_(sums * scale, alpha=1 - decay)
    dead = (codebook.cluster_size < dead_share).nonzero()[:, 0]
    # At most one restart per frame of the batch: two codes on one frame would never part.
    dead = dead[:num_vectors]
    choice = torch.randperm(num_vectors, generator=generator)[: len(dead)]
    codebook.embed_avg[dead] = vectors[choice]
    codebook.cluster_size[dead] = 1.0
    codebook.embed.copy_(codebook.embed_avg / codebook.cluster_size[:, None])
    return len(dead)


def _count_and_sum(
    vectors: torch.Tensor, indices: torch.LongTensor, codebook_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    counts = torch.bincount(indices, minlength=codebook_size).to(vectors.dtype)
    sums = vectors.new_zeros(codebook_size, vectors.shape[1]).index_add_(0, indices, vectors)
    return counts, sums
