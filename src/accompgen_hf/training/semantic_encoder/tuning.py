"""Centroids that keep what a band needs: encoder and centroids tuned together, the targets read from the ids alone.

k-means keeps what varies most in the features, and where the beat falls varies little beside pitch and timbre. So from
k-means on, every frame is replaced by its centroid before the heads read the targets off it. What the heads miss moves
the frame (straight through), and the centroid follows its frames, as in a VQ-VAE (van den Oord et al. 2017, Eq. 3).

Before there are centroids, the features themselves are tuned the same way: nothing is hidden, and chord and beat weigh
most. They learn several times faster than through centroids, which cannot follow features that move so far.

Letters: B batch, T50 semantic frames, K centroids.
"""

import numpy as np
import torch
from torch import nn

from accompgen_hf.training.semantic_encoder.model import HubertForMaskedPrediction
from accompgen_hf.training.semantic_encoder.pool import SongPool
from accompgen_hf.training.semantic_encoder.run import SemanticEncoderArguments, SemanticEncoderTrainer
from accompgen_hf.training.semantic_encoder.targets import NO_TARGET, SemanticTargets

COMMITMENT_WEIGHT = 0.25
FAMILY_WEIGHTS = {"timbre": 0.1, "pitch": 0.3, "harmony": 0.3, "chord": 2.0, "beat": 2.5}


class SemanticTuner(SemanticEncoderTrainer):
    """Goes on from a trained encoder, and the centroids fitted to it if there are any; every frame is heard.

    Args:
        arguments (`SemanticEncoderArguments`): Arguments of this run.
        pool, held_out_pool (`SongPool`), targets (`SemanticTargets`): Clips and targets of the masked prediction.
        trained (`HubertForMaskedPrediction`): The encoder with its heads.
        centroids (`np.ndarray` of shape `(K, hidden_size)`, *optional*): Centroids to start from. `None` reads the
            targets from the features themselves.
        commitment_weight (`float`): Weight of the distance that holds features near their centroids.
    """

    def __init__(
        self,
        arguments: SemanticEncoderArguments,
        pool: SongPool,
        held_out_pool: SongPool,
        targets: SemanticTargets,
        trained: HubertForMaskedPrediction,
        centroids: np.ndarray | None,
        commitment_weight: float = COMMITMENT_WEIGHT,
    ):
        super().__init__(arguments, pool, held_out_pool, targets)
        self.commitment_weight = commitment_weight
        self.model.load_state_dict(trained.state_dict())
        if centroids is None:
            return
        self.model.centroids = nn.Parameter(torch.from_numpy(np.array(centroids, np.float32)))
        self.optimizer.add_param_group({"params": [self.model.centroids], "weight_decay": 0.0, "is_matrix": False})

    def compute_loss(self, batch: tuple) -> tuple[torch.Tensor, dict[str, float]]:
        """Weighted cross-entropies read from the centroids, if there are any, and the distance of frames to them."""
        input_values, targets, is_masked = batch
        features = self.model.hubert(input_values, mask_time_indices=torch.zeros_like(is_masked)).last_hidden_state
        if not hasattr(self.model, "centroids"):
            return self._read(features, targets, features.new_zeros(()), {})
        with torch.no_grad():
            frames = features.flatten(0, 1)  # (B T50, hidden)
            ids = (self.model.centroids.square().sum(1) - 2 * frames @ self.model.centroids.T).argmin(1)
        nearest = self.model.centroids[ids].view_as(features)
        distance = nn.functional.mse_loss(features.detach(), nearest)
        commitment = nn.functional.mse_loss(features, nearest.detach())
        quantized = features + (nearest - features).detach()
        return self._read(
            quantized, targets, distance + self.commitment_weight * commitment, {"distance": distance.item()}
        )

    def _read(
        self, features: torch.Tensor, targets: dict[str, torch.Tensor], loss: torch.Tensor, metrics: dict[str, float]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Add the cross-entropies of the targets that are read from features (B, T50, hidden)."""
        for name, logits in self.model.read_targets(features).items():
            told = targets[name] != NO_TARGET
            cross_entropy = nn.functional.cross_entropy(logits[told], targets[name][told])
            loss = loss + self.arguments.family_weights[name] * cross_entropy
            metrics[f"{name}_heard_loss"] = cross_entropy.item()
            metrics[f"{name}_heard_accuracy"] = (logits.argmax(-1) == targets[name])[told].float().mean().item()
        return loss, {"loss": loss.item(), **metrics}

    @property
    def centroids(self) -> np.ndarray:
        """`(K, hidden_size)` float32."""
        return self.model.centroids.detach().numpy().copy()
