"""`evaluate` module: Fréchet audio distance; the numbers are those of `accompgen_hf.evaluation.metrics.frechet`."""

import datasets
import numpy as np

import evaluate

_DESCRIPTION = "Fréchet audio distance between windows of two sets of recordings, in float64, and its extrapolation."
_CITATION = "Kilgour et al. 2019, Fréchet Audio Distance; Gui et al. 2024, Adapting Frechet Audio Distance."
_INPUTS = """
Args:
    predictions (list of lists of floats): Embeddings `(num_windows, dimensions)` of the set to be judged.
    references (list of lists of floats): Embeddings of the reference set; as many windows or not.
    seed (int): Seed of the extrapolation's subsets.
Returns:
    fad, fad_infinity (None below 30 windows), num_windows, num_reference_windows, dimensions, projected_from,
    explained_variance.
"""


class FrechetAudioDistance(evaluate.Metric):
    """Distance of `predictions` from `references`; see the card beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        windows = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": windows, "references": windows}),
        )

    def compute(self, *, predictions, references, seed: int = 0) -> dict:
        """The two sets may have different numbers of windows, so nothing is collected row by row."""
        from accompgen_hf.evaluation.metrics.frechet import frechet_audio_distance

        return frechet_audio_distance(np.asarray(references), np.asarray(predictions), seed)

    def _compute(self, predictions, references, seed: int = 0) -> dict:
        return self.compute(predictions=predictions, references=references, seed=seed)
