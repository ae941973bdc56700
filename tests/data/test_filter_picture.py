"""The histograms of a preparation are a picture, written whole."""

import numpy as np
import pytest

from accompgen_hf.data.filter_picture import draw_histograms
from accompgen_hf.data.filtering import ClipFilter, count_clips, filter_pair


def test_histograms_are_drawn_of_kept_and_dropped_clips(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    noise = np.random.default_rng(0).standard_normal((2, 24_000 * 20)).astype(np.float32)
    clip_filter = ClipFilter()
    verdict = filter_pair("track", 0.1 * noise[0], 0.1 * noise[1], 24_000, clip_filter)
    draw_histograms(tmp_path / "filtering.png", count_clips(verdict.clips), clip_filter)
    picture = image.imread(tmp_path / "filtering.png")
    assert picture.shape[:2] == (650, 1000)
    assert picture[..., :3].std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["filtering.png"]
