"""Guidance, codebook mask and keyed choice: values by hand, frequencies, and independence of everything else."""

from types import SimpleNamespace

import pytest
import torch

from accompgen_hf.accompgen.logits_accompgen import (
    AccompGenCodebookLogitsProcessor,
    AccompGenGuidanceLogitsProcessor,
    AccompGenKeyedChoiceLogitsProcessor,
    inverse_cdf_choice,
)
from accompgen_hf.accompgen.seeds_accompgen import draw_uniforms

TARGET = SimpleNamespace(offset=5, num_codebooks=2, codebook_size=3)
NO_IDS = torch.zeros(1, 0, dtype=torch.long)


def prompt_of(length: int, batch_size: int = 1) -> torch.Tensor:
    return torch.zeros(batch_size, length, dtype=torch.long)


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(0.0, [1.0, 2.0]), (1.0, [3.0, -1.0]), (3.0, [7.0, -7.0]), (0.5, [2.0, 0.5]), (-1.0, [-1.0, 5.0])],
)
def test_guidance_is_equation_5_for_every_scale(scale, expected):
    conditional, unconditional = torch.tensor([[3.0, -1.0]]), torch.tensor([[1.0, 2.0]])
    scores = AccompGenGuidanceLogitsProcessor(scale)(NO_IDS, torch.cat([conditional, unconditional]))
    assert scores.tolist() == [expected]


def test_guidance_keeps_masked_ids_finite():
    lowest = torch.finfo(torch.float32).min
    scores = AccompGenGuidanceLogitsProcessor(3.0)(NO_IDS, torch.tensor([[lowest, 1.0], [lowest, 0.0]]))
    assert scores.tolist() == [[lowest, 3.0]]


def test_a_slot_takes_codes_of_its_own_codebook_only():
    processor = AccompGenCodebookLogitsProcessor(TARGET, torch.tensor([0, 3]), prompt_length=4)
    allowed = [
        [(scores > -torch.inf).nonzero()[:, 0].tolist() for scores in processor(prompt_of(length), torch.ones(2, 12))]
        for length in (4, 5, 6)
    ]
    first, second = [5, 6, 7], [8, 9, 10]  # offset 5, two codebooks of three codes
    assert allowed == [[first, second], [second, first], [first, second]]


def test_choice_is_the_first_code_whose_cumulative_probability_exceeds_the_number():
    scores = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    numbers = {0.0: 0, 0.49: 0, 0.51: 1, 0.74: 1, 0.76: 2, 1 - 2**-24: 2}
    assert {u: int(inverse_cdf_choice(scores, torch.tensor([u]))) for u in numbers} == numbers


def test_choice_never_takes_a_masked_code():
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]]).expand(1001, -1)
    uniforms = torch.cat([torch.linspace(0, 1 - 2**-24, 1000), torch.tensor([1 - 2**-24])])
    assert set(inverse_cdf_choice(scores, uniforms).tolist()) == {1, 3}
    half = scores.half()
    assert set(inverse_cdf_choice(half, uniforms).tolist()) == {1, 3}


def test_choices_follow_the_probabilities():
    probabilities = torch.tensor([0.05, 0.4, 0.15, 0.3, 0.1])
    uniforms = draw_uniforms([3], "coarse_codes", [0.0], 20_000)[0]
    chosen = inverse_cdf_choice(probabilities.log().expand(20_000, -1), uniforms)
    shares = torch.bincount(chosen, minlength=5) / 20_000
    torch.testing.assert_close(shares, probabilities, atol=0.012, rtol=0)  # over three standard deviations


def test_the_chosen_id_alone_stays_finite():
    uniforms = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    processor = AccompGenKeyedChoiceLogitsProcessor(uniforms, prompt_length=7)
    scores = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    assert processor(prompt_of(7), scores).tolist() == [[-torch.inf, 0.0], [0.0, -torch.inf]]
    assert processor(prompt_of(8), scores).tolist() == [[0.0, -torch.inf], [-torch.inf, 0.0]]
