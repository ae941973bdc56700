"""Sizes of an encoder in training that a test can afford."""

from accompgen_hf.training.semantic_model import SMALL_HUBERT

TINY_HUBERT = {
    **SMALL_HUBERT,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [120, 16, 16],
    "conv_kernel": [256, 4, 4],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
