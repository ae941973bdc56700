"""`evaluate` module: accompaniment prompt adherence; as in `accompgen_hf.evaluation.metrics.prompt_adherence`."""

import datasets
import numpy as np

import evaluate

_DESCRIPTION = "Does an accompaniment belong to the voice it was made for: 1 like real pairs, 0 like exchanged ones."
_CITATION = "Grachten and Nistal 2025, Accompaniment Prompt Adherence."
_INPUTS = """
Args:
    predictions (list of lists of floats): Embeddings `(num_windows, dimensions)` of the candidate's pairs.
    references (list of lists of floats): Embeddings of real pairs of other songs.
    deranged (list of lists of floats): Embeddings of those songs with their instrumentals exchanged.
Returns:
    apa, to_real, to_deranged, real_to_deranged, num_windows, num_reference_windows, dimensions, projected_from.
"""


class AccompanimentPromptAdherence(evaluate.Metric):
    """APA of `predictions`; see the card beside this file."""

    def _info(self) -> evaluate.MetricInfo:
        windows = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": windows, "references": windows}),
        )

    def compute(self, *, predictions, references, deranged) -> dict:
        """The sets may have different numbers of windows, so nothing is collected row by row."""
        from accompgen_hf.evaluation.metrics.prompt_adherence import accompaniment_prompt_adherence

        sets = (np.asarray(windows) for windows in (references, deranged, predictions))
        return accompaniment_prompt_adherence(*sets).to_dict()

    def _compute(self, predictions, references, deranged) -> dict:
        return self.compute(predictions=predictions, references=references, deranged=deranged)
