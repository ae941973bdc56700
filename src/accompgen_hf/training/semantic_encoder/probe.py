"""What semantic ids know about the music: mutual information and the best guess from one id alone.

A band can only follow what the ids carry. The guess is a table, learned on some clips and scored on others: for every
id the value it goes with most often. No context is used, so a stage that reads a sequence of ids can do better.
"""

from dataclasses import asdict, dataclass

import numpy as np

from accompgen_hf.training.semantic_encoder.pool import number_chords

LABELS = {
    "vocals": ("is_voiced", "pitch_class", "is_onset", "chord", "beat_phase"),
    "instrumental": ("chord_root", "chord", "is_beat", "beat_phase"),
    "drums": ("is_beat", "beat_phase"),
    "bass": ("chord_root", "is_beat", "beat_phase"),
    "other": ("chord_root", "chord", "is_beat", "beat_phase"),
}


@dataclass
class ProbeResult:
    """One label read from one kind of ids.

    Attributes:
        accuracy (`float`): Share of held-out frames guessed right.
        chance (`float`): Share of the most frequent value.
        information_bits (`float`): Mutual information of id and value on the held-out frames, with the bias of a
            finite sample removed to first order (Miller-Madow).
        entropy_bits (`float`): Entropy of the value: the most that ids could tell.
        area_under_curve (`float`, *optional*): Area under the curve of a yes-or-no label. Frames are ranked by the
            label's share among frames of the same id.
    """

    accuracy: float
    chance: float
    information_bits: float
    entropy_bits: float
    area_under_curve: float | None = None


def derive_labels(kind: str, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn the frame labels of a pool into what is probed; -1 marks frames that do not count."""
    shared = {
        "chord": number_chords(labels, -1),
        "beat_phase": labels["beat_phase"].astype(np.int64),
    }
    if kind == "vocals":
        pitches = labels["midi_pitch"].astype(np.int64)
        return {
            "is_voiced": (pitches >= 0).astype(np.int64),
            "pitch_class": np.where(pitches >= 0, pitches % 12, -1),
            "is_onset": labels["is_onset"].astype(np.int64),
            **shared,
        }
    if kind in LABELS:
        roots = labels["chord_root"].astype(np.int64)
        return {"chord_root": roots, "is_beat": labels["is_beat"].astype(np.int64), **shared}
    raise ValueError(f"`kind` must be one of {', '.join(LABELS)}, got {kind!r}.")


def probe_label(
    train_ids: np.ndarray, train_values: np.ndarray, held_out_ids: np.ndarray, held_out_values: np.ndarray
) -> ProbeResult:
    """Learn the table on the one set of frames and score it on the other; values of -1 are left out."""
    num_ids = int(max(train_ids.max(), held_out_ids.max())) + 1
    num_values = int(max(train_values.max(), held_out_values.max())) + 1
    train = _count(train_ids, train_values, num_ids, num_values)
    held_out = _count(held_out_ids, held_out_values, num_ids, num_values)
    total = held_out.sum()
    # An id never seen in training gets the most frequent value.
    guesses = (train + 1e-6 * train.sum(0)).argmax(1)
    accuracy = held_out[np.arange(num_ids), guesses].sum() / total
    joint = held_out / total
    entropies = [_entropy(joint.sum(0)), _entropy(joint.sum(1)), _entropy(joint.ravel())]
    surplus = (joint > 0).sum() - (joint.sum(0) > 0).sum() - (joint.sum(1) > 0).sum() + 1
    information = entropies[0] + entropies[1] - entropies[2] - surplus / (2 * np.log(2) * total)
    area = None
    if num_values == 2:
        scores = (train[:, 1] + train[:, 1].sum() / train.sum()) / (train.sum(1) + 1)
        area = _area_under_curve(scores, held_out)
    return ProbeResult(
        accuracy=float(accuracy),
        chance=float(held_out[:, train.sum(0).argmax()].sum() / total),
        information_bits=float(max(information, 0.0)),
        entropy_bits=float(entropies[0]),
        area_under_curve=area,
    )


def probe_kind(
    kind: str,
    train_ids: np.ndarray,
    train_labels: dict[str, np.ndarray],
    held_out_ids: np.ndarray,
    held_out_labels: dict[str, np.ndarray],
) -> dict[str, dict]:
    """Probe every label of `LABELS[kind]`; ids and labels have shape `(num_clips, num_frames)`."""
    train, held_out = derive_labels(kind, train_labels), derive_labels(kind, held_out_labels)
    return {
        name: asdict(probe_label(train_ids.ravel(), train[name].ravel(), held_out_ids.ravel(), held_out[name].ravel()))
        for name in LABELS[kind]
    }


def _count(ids: np.ndarray, values: np.ndarray, num_ids: int, num_values: int) -> np.ndarray:
    counts = np.zeros((num_ids, num_values))
    np.add.at(counts, (ids[values >= 0], values[values >= 0]), 1)
    return counts


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _area_under_curve(scores: np.ndarray, counts: np.ndarray) -> float:
    """Chance that a frame with the label ranks above one without; ids of equal score count half."""
    values, groups = np.unique(scores, return_inverse=True)
    negatives, positives = (np.bincount(groups, weights=counts[:, i], minlength=len(values)) for i in (0, 1))
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / max(positives.sum() * negatives.sum(), 1.0))
