"""Which clips of an aligned pair are worth learning from, and why the others are not (paper §3.6 and our additions).

The paper drops clips with a silent instrumental and clips whose vocals are more than 5 dB above it. We also drop most
clips without singing, and pairs that do not fit together. A threshold of `None` switches its filter off.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.configuration_accompgen import GRID_RATE
from accompgen_hf.data.tokenization import measure_activity

CLIPS_PER_ROW = 3  # neighbours stay together for random crops, but a row must not outweigh the others by much
_BLEED_RATE, _BLEED_LOWEST_HZ, _BLEED_LAG_S = 8000, 300.0, 0.02
_FLOOR_DB = -120.0
# Measure, lowest edge, highest edge. Values outside are counted in the outermost of 60 bins.
HISTOGRAMS = {
    "instrumental_rms_db": (-60.0, 0.0),
    "vocals_over_instrumental_db": (-40.0, 20.0),
    "vocal_activity": (0.0, 1.0),
    "bleed_correlation": (0.0, 0.6),
}
NUM_BINS = 60


@dataclass(frozen=True)
class ClipFilter:
    """Thresholds; `None` switches a filter off.

    Attributes:
        clip_duration_s (`float`): Duration that is judged at once, a multiple of 40 ms.
        min_instrumental_rms_db (`float`): Level in dBFS below which the instrumental counts as silent.
        max_vocals_over_instrumental_db (`float`): Largest RMS level of the vocals above that of the instrumental.
        min_vocal_activity (`float`): Share of 40-ms frames with voice above -40 dBFS.
        keep_vocalless (`float`): Share of the clips below `min_vocal_activity` that stay, chosen by hash.
        max_duration_mismatch_s (`float`): Largest difference between the two files of a pair. Below it, the longer
            one is cut off.
        max_bleed_correlation (`float`): Highest correlation of vocals and instrumental above 300 Hz within 20 ms.
            Separate recordings of one song stay below 0.06; a voice at -10 dB in the instrumental gives 0.2 to 0.4.

    Raises:
        ValueError: If a duration is off the grid or a share is out of range.
    """

    clip_duration_s: float = 10.0
    min_instrumental_rms_db: float | None = -25.0
    max_vocals_over_instrumental_db: float | None = 5.0
    min_vocal_activity: float | None = 0.25
    keep_vocalless: float = 0.1
    max_duration_mismatch_s: float | None = 0.05
    max_bleed_correlation: float | None = 0.15

    def __post_init__(self):
        frames = self.clip_duration_s * GRID_RATE
        if frames < GRID_RATE or abs(frames - round(frames)) > 1e-6:
            raise ValueError(
                f"`clip_duration_s` must be a multiple of 0.04 s and at least 1 s, got {self.clip_duration_s}."
            )
        for name in ("min_vocal_activity", "keep_vocalless", "max_bleed_correlation"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {value}.")

    @property
    def clip_frames(self) -> int:
        """Length of a clip in 40-ms frames."""
        return round(self.clip_duration_s * GRID_RATE)


@dataclass
class Verdict:
    """What is left of a pair.

    Attributes:
        vocals, instrumental (`np.ndarray` of shape `(num_samples,)`): Waveforms of equal length.
        spans (`list` of `(int, int)`): Rows to keep, in 40-ms frames; an end of -1 is the end of the pair.
        clips (`list` of `dict`): Every clip judged: `track_id`, `start_s`, `duration_s`, `reasons` (empty: kept),
            `values`.
    """

    vocals: np.ndarray
    instrumental: np.ndarray
    spans: list[tuple[int, int]]
    clips: list[dict[str, Any]] = field(default_factory=list)


def filter_pair(
    track_id: str, vocals: np.ndarray, instrumental: np.ndarray, sampling_rate: int, clip_filter: ClipFilter
) -> Verdict:
    """Judge a pair as a whole, then clip by clip.

    Args:
        track_id (`str`): Name of the track, which decides which clips without vocals stay.
        vocals, instrumental (`np.ndarray` of shape `(num_samples,)`): float32 mono.
        sampling_rate (`int`): Rate of both in Hz.
    """
    num_samples = min(len(vocals), len(instrumental))
    mismatch_s = abs(len(vocals) - len(instrumental)) / sampling_rate
    vocals, instrumental = vocals[:num_samples], instrumental[:num_samples]
    limit_s = clip_filter.max_duration_mismatch_s
    whole = {"track_id": track_id, "start_s": 0.0, "duration_s": round(num_samples / sampling_rate, 3)}
    if limit_s is not None and mismatch_s > limit_s:
        values = {"duration_mismatch_s": round(mismatch_s, 4)}
        return Verdict(vocals, instrumental, [], [{**whole, "reasons": ["duration_mismatch"], "values": values}])
    bleed = round(measure_bleed(vocals, instrumental, sampling_rate), 4)
    is_bleeding = clip_filter.max_bleed_correlation is not None and bleed > clip_filter.max_bleed_correlation
    clips, is_kept = [], []
    for start, end in clip_bounds(num_samples, sampling_rate, clip_filter):
        part = slice(
            round(start * sampling_rate / GRID_RATE), None if end < 0 else round(end * sampling_rate / GRID_RATE)
        )
        values = {**measure_clip(vocals[part], instrumental[part], sampling_rate), "bleed_correlation": bleed}
        start_s = start / GRID_RATE
        reasons = ["bleed"] * is_bleeding + judge_clip(values, clip_filter)
        if reasons == ["vocal_activity"] and _draw_share(track_id, start) < clip_filter.keep_vocalless:
            reasons = []
        duration_s = round(len(vocals[part]) / sampling_rate, 3)
        clip = {"track_id": track_id, "start_s": start_s, "duration_s": duration_s}
        clips.append({**clip, "reasons": reasons, "values": values})
        is_kept.append((start, end, not reasons))
    return Verdict(vocals, instrumental, _join_clips(is_kept), clips)


def clip_bounds(num_samples: int, sampling_rate: int, clip_filter: ClipFilter) -> list[tuple[int, int]]:
    """List clips in 40-ms frames. The last (end -1) has half a clip to one and a half, unless it is the only one."""
    length = clip_filter.clip_frames
    num_clips = max(1, round(num_samples / sampling_rate / clip_filter.clip_duration_s))
    return [(k * length, (k + 1) * length if k + 1 < num_clips else -1) for k in range(num_clips)]


def measure_clip(vocals: np.ndarray, instrumental: np.ndarray, sampling_rate: int) -> dict[str, float]:
    """Levels and vocal activity of one clip."""
    levels = [_rms_db(vocals), _rms_db(instrumental)]
    return {
        "instrumental_rms_db": round(levels[1], 2),
        "vocals_over_instrumental_db": round(levels[0] - levels[1], 2),
        "vocal_activity": round(measure_activity(vocals, sampling_rate), 4),
    }


def judge_clip(values: dict[str, float], clip_filter: ClipFilter) -> list[str]:
    """Name the filters that a clip does not pass; a clip with no such name is kept."""
    reasons = []
    limit = clip_filter.min_instrumental_rms_db
    if limit is not None and values["instrumental_rms_db"] < limit:
        reasons.append("silent_instrumental")
    limit = clip_filter.max_vocals_over_instrumental_db
    if limit is not None and values["vocals_over_instrumental_db"] > limit:
        reasons.append("loud_vocals")
    limit = clip_filter.min_vocal_activity
    if limit is not None and values["vocal_activity"] < limit:
        reasons.append("vocal_activity")
    return reasons


def measure_bleed(vocals: np.ndarray, instrumental: np.ndarray, sampling_rate: int) -> float:
    """Highest magnitude of the normalised correlation above 300 Hz, with either up to 20 ms late; 0 for silence.

    Below 300 Hz a bass and a voice on the same notes would look like bleed.
    """
    if min(_rms_db(vocals), _rms_db(instrumental)) < -80:
        return 0.0
    pair = [resample(np.asarray(audio, np.float32), sampling_rate, _BLEED_RATE) for audio in (vocals, instrumental)]
    num_lags = round(_BLEED_LAG_S * _BLEED_RATE)
    size = 1 << (len(pair[0]) + num_lags - 1).bit_length()
    spectra = [np.fft.rfft(audio.astype(np.float64), size) for audio in pair]
    lowest = int(np.ceil(_BLEED_LOWEST_HZ * size / _BLEED_RATE))
    for spectrum in spectra:
        spectrum[:lowest] = 0
    energies = [float(np.square(np.fft.irfft(spectrum, size)).sum()) for spectrum in spectra]
    if min(energies) < 1e-8 * len(pair[0]):  # -80 dBFS
        return 0.0
    correlation = np.fft.irfft(spectra[0] * spectra[1].conj(), size)
    near = np.concatenate([correlation[: num_lags + 1], correlation[-num_lags:]])
    return float(np.abs(near).max() / np.sqrt(energies[0] * energies[1]))


def _rms_db(audio: np.ndarray) -> float:
    power = float(np.square(audio, dtype=np.float64).mean()) if len(audio) else 0.0
    return max(_FLOOR_DB, 10 * np.log10(power)) if power > 0 else _FLOOR_DB


def _draw_share(track_id: str, start: int) -> float:
    """Give the clip's own number in [0, 1), the same in every run."""
    digest = hashlib.sha256(f"vocalless {track_id} {start}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _join_clips(clips: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """Neighbouring kept clips as rows of up to three."""
    spans: list[tuple[int, int]] = []
    num_joined, is_open = 0, False
    for start, end, is_kept in clips:
        if is_kept and is_open and num_joined < CLIPS_PER_ROW:
            spans[-1] = (spans[-1][0], end)
            num_joined += 1
        elif is_kept:
            spans.append((start, end))
            num_joined = 1
        is_open = is_kept
    return spans


def count_clips(clips: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count judged clips: numbers, hours, reasons and histograms, as plain JSON that `add_counts` can sum."""
    counts = empty_counts()
    for clip in clips:
        side = "dropped" if clip["reasons"] else "kept"
        counts["clips"][side] += 1
        counts["seconds"][side] = round(counts["seconds"][side] + clip["duration_s"], 3)
        for reason in clip["reasons"]:
            counts["reasons"][reason] = counts["reasons"].get(reason, 0) + 1
        for name, value in clip["values"].items():
            if name in HISTOGRAMS:
                low, high = HISTOGRAMS[name]
                place = min(NUM_BINS - 1, max(0, int((value - low) / (high - low) * NUM_BINS)))
                counts["histograms"][name][side][place] += 1
    return counts


def empty_counts() -> dict[str, Any]:
    """Counts of no clips."""
    histograms = {name: {"kept": [0] * NUM_BINS, "dropped": [0] * NUM_BINS} for name in HISTOGRAMS}
    return {
        "clips": {"kept": 0, "dropped": 0},
        "seconds": {"kept": 0.0, "dropped": 0.0},
        "reasons": {},
        "histograms": histograms,
    }


def add_counts(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sum what `count_clips` gave for several tracks or shards."""
    total = empty_counts()
    for part in parts:
        for side in ("kept", "dropped"):
            total["clips"][side] += part["clips"][side]
            total["seconds"][side] = round(total["seconds"][side] + part["seconds"][side], 3)
            for name, sides in total["histograms"].items():
                sides[side] = [a + b for a, b in zip(sides[side], part["histograms"][name][side], strict=True)]
        total["reasons"] = dict(sorted((Counter(total["reasons"]) + Counter(part["reasons"])).items()))
    return total


def describe_counts(counts: dict[str, Any]) -> str:
    """Say in one line what was kept, and what was dropped why."""
    hours = {side: seconds / 3600 for side, seconds in counts["seconds"].items()}
    reasons = ", ".join(f"{name} {number}" for name, number in counts["reasons"].items())
    return (
        f"{counts['clips']['kept']} clips kept ({hours['kept']:.2f} h), {counts['clips']['dropped']} dropped "
        f"({hours['dropped']:.2f} h){': ' + reasons if reasons else ''}"
    )
