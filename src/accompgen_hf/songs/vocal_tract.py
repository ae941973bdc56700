"""The vocal tract of procedural singers: a cascade of resonators that moves every 8 ms, applied by overlap-add."""

from typing import NamedTuple

import numpy as np

from accompgen_hf.songs.voices import Singer

_BANDWIDTHS_HZ = (80.0, 95.0, 130.0, 180.0)
_HIGH_FORMANTS_HZ = ((4300.0, 260.0), (5400.0, 400.0), (6600.0, 550.0), (7800.0, 700.0), (9200.0, 900.0))
_FRAME_S = 0.008


class Gestures(NamedTuple):
    """What a singer does during a phrase, as curves over `time` (seconds, arrays of one length).

    `pitch` is MIDI pitch; `voiced` and `noise` are levels of the glottal source and of the consonants' noise;
    `centre_hz` and `octaves` are that noise's place and width; `formants_hz` has four columns.
    """

    time: np.ndarray
    pitch: np.ndarray
    voiced: np.ndarray
    noise: np.ndarray
    centre_hz: np.ndarray
    octaves: np.ndarray
    formants_hz: np.ndarray

    @property
    def pitch_hz(self) -> np.ndarray:
        """Fundamental frequency."""
        return 440.0 * 2.0 ** ((self.pitch - 69.0) / 12.0)


def apply_vocal_tract(
    source: np.ndarray, friction: np.ndarray, gestures: Gestures, singer: Singer, sampling_rate: int
) -> np.ndarray:
    """Send the glottal source through the vowels' resonances and the friction noise through its bands; same length."""
    hop = int(np.rint(_FRAME_S * sampling_rate))
    size = 1 << int(np.ceil(np.log2(5 * hop)))
    num_frames = -(-len(source) // hop) + 1
    frame_time = np.arange(num_frames) * hop / sampling_rate
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32) ** 2
    frequencies = np.fft.rfftfreq(size, 1.0 / sampling_rate)

    response = _tract_response(frequencies, frame_time, gestures, singer)
    spectrum = np.fft.rfft(_frames(source, hop, num_frames) * window, size, axis=1) * response  # (frames, bins)
    noise_frames = _frames(friction, hop, num_frames)
    rows = np.flatnonzero(np.abs(noise_frames).max(axis=1) > 1e-6)
    if len(rows):
        centre_hz = np.interp(frame_time[rows], gestures.time, gestures.centre_hz)[:, None]
        octaves = np.interp(frame_time[rows], gestures.time, gestures.octaves)[:, None]
        band = np.exp(-0.5 * (np.log2(np.maximum(frequencies, 20.0) / centre_hz) / (0.6 * octaves)) ** 2)
        spectrum[rows] += np.fft.rfft(noise_frames[rows] * window, size, axis=1) * band.astype(np.float32)
    return _overlap_add(np.fft.irfft(spectrum, size, axis=1), hop)[hop : hop + len(source)]


def _tract_response(frequencies: np.ndarray, frame_time: np.ndarray, gestures: Gestures, singer: Singer) -> np.ndarray:
    """Complex response (frames, bins): glottal slope, four moving formants, and the higher ones that stay."""
    pitch_hz = np.interp(frame_time, gestures.time, gestures.pitch_hz)
    effort = np.interp(frame_time, gestures.time, gestures.voiced)
    formants_hz = [np.interp(frame_time, gestures.time, gestures.formants_hz[:, i]) for i in range(4)]
    formants_hz = np.stack(formants_hz, axis=1) * singer.formant_scale
    formants_hz[:, 0] = np.maximum(
        formants_hz[:, 0], 1.03 * pitch_hz
    )  # on high notes the jaw opens: F1 follows the pitch
    # Louder is brighter: the glottis closes faster.
    corner_hz = singer.brightness_hz * (0.35 + 0.9 * effort)[:, None].astype(np.float32)
    response = _high_formants(frequencies, singer) / (1.0 + 1j * frequencies.astype(np.float32) / corner_hz)
    for i, bandwidth_hz in enumerate(_BANDWIDTHS_HZ):
        centre_hz = formants_hz[:, i : i + 1].astype(np.float32)
        ratio = frequencies[None, :].astype(np.float32) / centre_hz
        response = response / ((1.0 - ratio**2) + 1j * ratio * np.float32(bandwidth_hz) / centre_hz)
    return response


def _high_formants(frequencies: np.ndarray, singer: Singer) -> np.ndarray:
    response = np.ones(len(frequencies), dtype=np.complex128)
    for centre_hz, bandwidth_hz in _HIGH_FORMANTS_HZ:
        ratio = frequencies / (centre_hz * singer.formant_scale)
        response = response / ((1.0 - ratio**2) + 1j * ratio * bandwidth_hz / centre_hz)
    return response.astype(np.complex64)


def _frames(wave: np.ndarray, hop: int, num_frames: int) -> np.ndarray:
    """Frames of two hops, the first centred on sample 0."""
    padded = np.zeros((num_frames + 1) * hop, dtype=np.float32)
    padded[hop : hop + len(wave)] = wave
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop][:num_frames]


def _overlap_add(frames: np.ndarray, hop: int) -> np.ndarray:
    num_frames, size = frames.shape
    wave = np.zeros((num_frames + 1) * hop + size, dtype=np.float32)
    stride = -(-size // hop)
    for offset in range(stride):  # every stride-th frame: they do not overlap, so they are one block
        block = frames[offset::stride]
        spaced = np.zeros((len(block), stride * hop), dtype=np.float32)
        spaced[:, :size] = block
        first = offset * hop
        flat = spaced.reshape(-1)[: len(wave) - first]
        wave[first : first + len(flat)] += flat
    return wave
