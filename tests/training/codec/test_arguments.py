"""Recipes that fit no run are refused."""

import pytest

from tiny_codec_training import tiny_arguments


def test_a_frozen_start_without_a_codec_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`freeze_encoder` needs `init_from`"):
        tiny_arguments(tmp_path, freeze_encoder=True)


def test_descent_and_freeze_must_fit_the_run(tmp_path):
    with pytest.raises(ValueError, match=r"`decay_share` must be above 0 and at most 1, got 1.5"):
        tiny_arguments(tmp_path, decay_share=1.5)
    with pytest.raises(ValueError, match=r"`freeze_step` must come after `num_continuous_steps` \(3\).* got 3"):
        tiny_arguments(tmp_path, freeze_step=3)
