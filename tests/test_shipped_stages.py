"""The stages that the package carries for the next default: whole, small, and they play the ids of their encoder."""

from pathlib import Path

import pytest
import torch

import accompgen_hf
from accompgen_hf import (
    AccompGenCoarseForCausalLM,
    AccompGenCodec,
    AccompGenFineForCausalLM,
    AccompGenSemanticForCausalLM,
)
from accompgen_hf.accompgen.codec_accompgen import decode_in_blocks
from accompgen_hf.accompgen.manifest_accompgen import verify_manifest

ASSETS = Path(accompgen_hf.__file__).parent / "assets"
CLASSES = {
    "semantic": AccompGenSemanticForCausalLM,
    "coarse": AccompGenCoarseForCausalLM,
    "fine": AccompGenFineForCausalLM,
}


@pytest.mark.parametrize("stage", CLASSES)
def test_each_is_whole_and_small(stage):
    folder = ASSETS / "stages-studio" / stage
    assert verify_manifest(folder) == []
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 9_000_000


def test_they_turn_a_voice_into_codes_of_three_parts_that_the_codec_decodes():
    semantic, coarse, fine = (
        model_class.from_pretrained(ASSETS / "stages-studio" / stage).eval() for stage, model_class in CLASSES.items()
    )
    assert semantic.config.token_fingerprint == coarse.config.token_fingerprint == fine.config.token_fingerprint
    assert semantic.generation_config.evidence_scale == 3
    assert list(coarse.config.part_names) == ["drums", "bass", "other"]
    num_rows = len(coarse.config.part_names)
    ids = torch.randint(coarse.config.num_clusters, (num_rows, 50), generator=torch.Generator().manual_seed(0))
    parts = list(coarse.config.part_names)
    plan = semantic.generate_codes(vocal_semantic_ids=ids[:1], seed=0)[0]  # (P, T)
    coarse_codes = coarse.generate_codes(
        vocal_semantic_ids=ids[:1].expand(num_rows, -1),
        instrumental_semantic_ids=plan,
        part=parts,
        style="waltz",
        seed=0,
    )
    fine_codes = fine.generate_codes(coarse_codes=coarse_codes, part=parts, style="waltz", seed=0)
    assert coarse_codes.shape == fine_codes.shape == (num_rows, 4, 75)
    codec = AccompGenCodec.from_pretrained(ASSETS / "codec-fourier").eval()
    audio = decode_in_blocks(codec, torch.cat([coarse_codes, fine_codes], dim=1))
    assert audio.shape == (num_rows, 24_000)
    assert (audio.abs().amax(dim=-1) > 1e-3).all()
