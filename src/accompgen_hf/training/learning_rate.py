"""The learning rate of stages, codec and semantic encoder as a function of the step."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LearningRate:
    """A linear warm-up, a plateau (none by default) and a cosine down at the end.

    Attributes:
        peak (`float`): Learning rate after the warm-up.
        warmup_steps (`int`): Steps of the warm-up; the last of them has `peak`.
        max_steps (`int`): Steps of the run.
        descent_share (`float`): Last share of the steps, over which the rate falls; the cosine begins after the
            warm-up at the earliest. Until it begins, nothing depends on `max_steps`: a run can be made longer by then.
        final_share (`float`): Share of `peak` that is left at the end.
    """

    peak: float
    warmup_steps: int
    max_steps: int
    descent_share: float = 1.0
    final_share: float = 0.0

    def at(self, step: int) -> float:
        """Learning rate of the update that follows `step` finished ones."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        start = max(self.warmup_steps, self.max_steps - self.descent_share * self.max_steps)
        progress = (step - start) / max(1, self.max_steps - start)
        cosine = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return self.peak * (self.final_share + (1 - self.final_share) * cosine)
