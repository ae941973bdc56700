"""Start a stage's tables from the codec and the semantic encoder: codebook vectors and centroids, rotated.

EnCodec's codebooks are residual: a frame is the sum of one vector per codebook. A stage that starts with random tables
learns the place of every single code from the few times it is seen; with the codec's geometry it knows from the first
step which codes sound alike, and the sum of a frame's embeddings is the frame. In the same way centroids say which
semantic ids mean alike (ours, not the paper's; measured in docs/measured/second_edition.md).
"""

import torch
from transformers import EncodecModel

from accompgen_hf.accompgen.configuration_accompgen import SEMANTIC_NAMES, Segment
from accompgen_hf.accompgen.modeling_accompgen_stages import AccompGenStageForCausalLM

EMBEDDING_RMS = 0.2  # of an embedding's elements over the first four codebooks; large beside a step of the optimiser
HEAD_NORM = 0.5  # mean norm of a head's rows; the first logits are then about 0.5 nats apart
FIRST_CODEBOOK = {"coarse_codes": 0, "fine_codes": 4}  # of the codec's, per segment


@torch.no_grad()
def start_tables_from_codec(stage: AccompGenStageForCausalLM, codec: EncodecModel, seed: int) -> None:
    """Replace the random tables of a new stage, in place; tables of semantic ids stay as they are.

    Args:
        stage (`AccompGenStageForCausalLM`): A coarse or fine stage, or one of SingSong's.
        codec (`EncodecModel`): The codec whose codes the stage is to learn.
        seed (`int`): Seed of the rotation that turns codebook vectors into embeddings, the same for all tables.

    Raises:
        ValueError: If the stage has no code tables, or they do not fit the codec's codebooks.
    """
    config = stage.config
    codebooks = torch.stack([layer.codebook.embed for layer in codec.quantizer.layers]).float()  # (K, codes, width)
    segments = [segment for segment in config.segments if segment.name in FIRST_CODEBOOK]
    if not segments:
        raise ValueError(
            f"`init_codes_from` is for the coarse and the fine stage; a {config.model_type} has no codes of the codec."
        )
    num_needed = max(FIRST_CODEBOOK[segment.name] + segment.num_codebooks for segment in segments)
    if num_needed > len(codebooks) or any(segment.codebook_size != codebooks.shape[1] for segment in segments):
        raise ValueError(
            f"`init_codes_from` must be a codec of at least {num_needed} codebooks with {segments[0].codebook_size} "
            f"codes, got {len(codebooks)} with {codebooks.shape[1]}. Take the codec that made the tokens."
        )
    turned = codebooks @ _rotation(codebooks.shape[2], config.hidden_size, seed)  # (K, codes, hidden_size)
    scale = EMBEDDING_RMS / turned[:4].pow(2).mean().sqrt()
    for segment in segments:
        first = FIRST_CODEBOOK[segment.name]
        rows = slice(segment.offset, segment.offset + segment.num_codebooks * segment.codebook_size)
        vectors = turned[first : first + segment.num_codebooks] * scale
        stage.get_input_embeddings().weight[rows] = vectors.flatten(0, 1)
    first = FIRST_CODEBOOK[config.target_segment.name]
    for head, vectors in zip(_heads(stage, config.target_segment), turned[first:], strict=False):
        head.copy_(vectors * (HEAD_NORM / vectors.norm(dim=1).mean()))


@torch.no_grad()
def start_tables_from_centroids(stage: AccompGenStageForCausalLM, centroids: torch.Tensor, seed: int) -> None:
    """Replace the embeddings of semantic ids, and the head of those that the stage writes, in place; no other table.

    Args:
        stage (`AccompGenStageForCausalLM`): Any stage, or one of SingSong's.
        centroids (`torch.FloatTensor` of shape `(num_clusters, width)`):
            Centroids of the semantic encoder whose ids the stage is to read.
        seed (`int`): Seed of the rotation, the same for all tables.

    Raises:
        ValueError: If there are not as many centroids as the stage has ids.
    """
    config = stage.config
    segments = [segment for segment in config.segments if segment.name in SEMANTIC_NAMES]
    if any(segment.codebook_size != len(centroids) for segment in segments):
        raise ValueError(
            f"`init_ids_from` must have {segments[0].codebook_size} centroids, one per semantic id, "
            f"got {len(centroids)}."
        )
    around = centroids.float() - centroids.float().mean(0)
    turned = around @ _rotation(around.shape[1], config.hidden_size, seed)  # (num_clusters, hidden_size)
    for segment in segments:
        rows = slice(segment.offset, segment.offset + segment.num_ids)
        scaled = turned * (EMBEDDING_RMS / turned.pow(2).mean().sqrt())
        stage.get_input_embeddings().weight[rows] = scaled.repeat(segment.num_codebooks, 1)  # of every part alike
    for segment in segments:
        if segment in config.target_segments:
            for head in _heads(stage, segment):  # one for each part
                head.copy_(turned * (HEAD_NORM / turned.norm(dim=1).mean()))


def _heads(stage: AccompGenStageForCausalLM, segment: Segment) -> list[torch.Tensor]:
    """Weights of a stream's heads, one per codebook; SingSong has all of them in one matrix."""
    if hasattr(stage, "heads"):
        return [head.weight for head in stage.heads]
    rows = slice(segment.offset, segment.offset + segment.num_ids)
    return list(stage.lm_head.weight[rows].split(segment.codebook_size))


def _rotation(width: int, hidden_size: int, seed: int) -> torch.Tensor:
    """Matrix (width, hidden_size) that keeps angles as far as `hidden_size` allows."""
    random = torch.randn(hidden_size, width, generator=torch.Generator().manual_seed(seed))
    if hidden_size < width:
        return torch.linalg.qr(random.T)[0]
    return torch.linalg.qr(random)[0].T
