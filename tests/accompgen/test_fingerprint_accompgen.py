"""The fingerprint moves with every part and setting that changes tokens, and with nothing else."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from accompgen_hf.accompgen.fingerprint_accompgen import check_token_fingerprints, compute_token_fingerprint


class Part(nn.Module):
    def __init__(self, value: float, **changed):
        super().__init__()
        settings = {"layer": 9, "do_normalize": True, "block_duration_s": 10.0, "block_hop_s": 8.0, **changed}
        self.config = SimpleNamespace(**settings)
        self.linear = nn.Linear(3, 2)
        nn.init.constant_(self.linear.weight, value)
        nn.init.constant_(self.linear.bias, value)
        self.register_buffer("centroids", torch.full((4, 2), value))
        self.register_buffer("cluster_size", torch.zeros(4))


def test_every_part_and_setting_moves_the_fingerprint():
    base = compute_token_fingerprint(Part(0.5), Part(0.25))
    assert len(base) == 64
    assert base == compute_token_fingerprint(Part(0.5), Part(0.25))
    other_centroids = Part(0.5)
    other_centroids.centroids[0, 0] = 0.75
    variants = [
        compute_token_fingerprint(other_centroids, Part(0.25)),
        compute_token_fingerprint(Part(0.5), Part(0.3)),
        compute_token_fingerprint(Part(0.25), Part(0.5)),
        compute_token_fingerprint(Part(0.5, layer=8), Part(0.25)),
        compute_token_fingerprint(Part(0.5, do_normalize=False), Part(0.25)),
        compute_token_fingerprint(Part(0.5, block_duration_s=8.0), Part(0.25)),
        compute_token_fingerprint(Part(0.5, block_hop_s=6.0), Part(0.25)),
    ]
    changed = {
        "bandwidth": 3.0,
        "noise_std": 0.0,
        "vocal_target_lufs": None,
        "codec_block_duration_s": 8.0,
        "codec_context_duration_s": 1.0,
    }
    for name, value in changed.items():
        variants.append(compute_token_fingerprint(Part(0.5), Part(0.25), **{name: value}))
    assert len({base, *variants}) == 1 + len(variants)


def test_storage_dtype_and_training_statistics_do_not_matter():
    base = compute_token_fingerprint(Part(0.5), Part(0.25))
    trained = Part(0.25)
    trained.cluster_size += 5
    assert compute_token_fingerprint(Part(0.5).half(), trained, noise_std=1e-2) == base
    assert compute_token_fingerprint(Part(0.1).half(), trained) != compute_token_fingerprint(Part(0.1), trained)


def test_different_fingerprints_are_refused_naming_both_sides():
    check_token_fingerprints("a", "a", "shards x", "stage y")
    check_token_fingerprints(None, "a", "shards x", "stage y")
    with pytest.raises(ValueError, match="`token_fingerprint` of shards x is a, that of stage y is b"):
        check_token_fingerprints("a", "b", "shards x", "stage y")
