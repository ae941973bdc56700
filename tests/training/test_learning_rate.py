"""The learning rate against its closed forms."""

import math

import pytest

from accompgen_hf.training.learning_rate import LearningRate


def test_learning_rate_warms_up_and_falls_like_a_cosine():
    rate = LearningRate(1.0, warmup_steps=10, max_steps=110)
    assert [rate.at(step) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert rate.at(60) == pytest.approx(0.5)
    assert rate.at(109) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert LearningRate(1.0, warmup_steps=0, max_steps=1).at(0) == 1.0


def test_a_plateau_stands_between_warmup_and_descent():
    rate = LearningRate(1.0, warmup_steps=10, max_steps=100, descent_share=0.5)
    rates = [rate.at(step) for step in (0, 9, 40, 49, 75, 99)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 1.0, 0.5, 0.001], abs=1e-3)
    longer = LearningRate(1.0, warmup_steps=10, max_steps=200, descent_share=0.5)
    assert all(rate.at(step) == longer.at(step) for step in range(50))


def test_a_share_of_the_peak_can_be_left():
    rate = LearningRate(2.0, warmup_steps=0, max_steps=100, final_share=0.01)
    assert rate.at(0) == 2.0
    assert rate.at(50) == pytest.approx(2.0 * 0.505)
    assert rate.at(100) == pytest.approx(0.02)
