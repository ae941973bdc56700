"""Does an accompaniment move when the singer does: to another key, to another tempo.

The same song sung three semitones higher should be accompanied three semitones higher, and sung faster, faster.
"""

import math

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASSES, chroma
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.evaluation.metrics.embedder_interface import check_mono, check_pair

TEMPO_TOLERANCE = 0.03


def chroma_rotation(before: np.ndarray, after: np.ndarray, sampling_rate: int) -> int:
    """By how many semitones the pitch classes of `before` must be turned to fit `after` best, instant by instant.

    Args:
        before, after (`np.ndarray` of shape `(num_samples,)`): Mono, of equal length and the same time.
        sampling_rate (`int`): Rate of both in Hz.

    Returns:
        `int` in [0, 12): 3 for three semitones up, 8 for four down.

    Raises:
        ValueError: If they are not mono, of different length, or hold NaN or infinity.
    """
    after, before = check_pair(after, before)
    sides = [chroma(side, sampling_rate) for side in (before, after)]  # (12, num_frames)
    first, second = (side - side.mean(axis=0) for side in sides)
    fits = [float(np.sum(np.roll(first, step, axis=0) * second)) for step in range(PITCH_CLASSES)]
    return int(np.argmax(fits))


def tempo_error(heard_bpm: float, asked_bpm: float) -> float | None:
    """How far a tempo is off, as a share, octaves folded: 240 or 60 beats per minute for 120 are right.

    Returns:
        `float` from 0 to about 0.41, or `None` where no tempo was heard.

    Raises:
        ValueError: If `asked_bpm` is not positive.
    """
    if asked_bpm <= 0:
        raise ValueError(f"`asked_bpm` must be positive, got {asked_bpm}.")
    if heard_bpm <= 0:
        return None
    octaves = math.log2(heard_bpm / asked_bpm)
    return 2.0 ** abs(octaves - round(octaves)) - 1.0


def shift_recording(audio: np.ndarray, sampling_rate: int, semitones: float = 0.0, speed: float = 1.0) -> np.ndarray:
    """A recording in another key (formants move with it) or at another speed, by FFmpeg's `asetrate` and `atempo`.

    Args:
        audio (`np.ndarray` of shape `(num_samples,)`): Mono.
        sampling_rate (`int`): Rate in Hz.
        semitones (`float`): Semitones up, in [-12, 12].
        speed (`float`): Factor of the speed, in [0.5, 2].

    Returns:
        float32 `(num_samples / speed,)`, rounded.

    Raises:
        ValueError: If audio or a number is refused.
        ImportError: If PyAV is missing.
    """
    audio = check_mono(audio, "`audio`")
    if not -12 <= semitones <= 12 or not 0.5 <= speed <= 2.0:
        raise ValueError(f"`semitones` must be in [-12, 12] and `speed` in [0.5, 2], got {semitones} and {speed}.")
    av = import_optional("av", "Shifting a recording", ".[media]")
    ratio = 2.0 ** (semitones / 12)
    graph = av.filter.Graph()
    source = graph.add_abuffer(format="flt", sample_rate=sampling_rate, layout="mono", time_base=f"1/{sampling_rate}")
    steps = [source, graph.add("asetrate", str(round(sampling_rate * ratio)))]
    # atempo takes factors from 0.5 to 2: two of them cover all.
    steps += [graph.add("atempo", f"{factor:.6f}") for factor in (math.sqrt(speed / ratio),) * 2]
    steps += [graph.add("aresample", str(sampling_rate)), graph.add("abuffersink")]
    graph.link_nodes(*steps).configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio, np.float32)[None], format="flt", layout="mono")
    frame.sample_rate = sampling_rate
    graph.push(frame)
    graph.push(None)
    pieces = []
    while True:
        try:
            pieces.append(graph.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            break
    shifted = np.concatenate(pieces).astype(np.float32)
    num_samples = round(len(audio) / speed)
    return np.pad(shifted[:num_samples], (0, max(0, num_samples - len(shifted))))
