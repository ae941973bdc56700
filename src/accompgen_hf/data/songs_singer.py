"""The singing voice of procedural songs: glottal pulses and noise through moving formants, phrase by phrase.

The source is a band-limited pulse train in closed form (the Dirichlet kernel of a gliding phase); the vocal tract is a
cascade of resonators whose frequency response changes every 8 ms, applied by overlap-add.
"""

import numpy as np

from accompgen_hf.data.songs_annotation import MelodyNote, SongAnnotation
from accompgen_hf.data.songs_mastering import filter_wave, room_impulse, to_loudness
from accompgen_hf.data.songs_theory import random_stream
from accompgen_hf.data.songs_voices import Singer

_PHRASE, _VOCAL_ROOM, _FLOOR, _ACCENT = 21, 22, 23, 24
_FORMANTS_HZ = {  # the first four, adult male
    "a": (730.0, 1150.0, 2500.0, 3400.0),
    "e": (480.0, 1850.0, 2500.0, 3400.0),
    "i": (290.0, 2200.0, 2950.0, 3600.0),
    "o": (500.0, 850.0, 2500.0, 3300.0),
    "u": (320.0, 800.0, 2300.0, 3200.0),
    "ae": (680.0, 1650.0, 2450.0, 3500.0),
    "uh": (540.0, 1300.0, 2450.0, 3400.0),
}
_BANDWIDTHS_HZ = (80.0, 95.0, 130.0, 180.0)
_HIGH_FORMANTS_HZ = ((4300.0, 260.0), (5400.0, 400.0), (6600.0, 550.0), (7800.0, 700.0), (9200.0, 900.0))
# Formants at a voiced consonant's closure, its voiced level, and seconds it takes.
_VOICED = {
    "m": ((250.0, 1000.0, 2200.0, 3200.0), 0.35, 0.07),
    "n": ((270.0, 1450.0, 2500.0, 3300.0), 0.35, 0.06),
    "l": ((360.0, 1250.0, 2700.0, 3400.0), 0.55, 0.05),
    "r": ((340.0, 1080.0, 1450.0, 3200.0), 0.6, 0.06),
    "w": ((300.0, 620.0, 2150.0, 3200.0), 0.5, 0.06),
    "y": ((270.0, 2150.0, 3000.0, 3600.0), 0.5, 0.06),
    "d": ((250.0, 1700.0, 2600.0, 3400.0), 0.06, 0.05),
    "g": ((250.0, 2100.0, 2400.0, 3400.0), 0.06, 0.05),
    "b": ((250.0, 800.0, 2200.0, 3300.0), 0.06, 0.05),
    "v": ((260.0, 1100.0, 2300.0, 3300.0), 0.3, 0.06),
}
# Noise of a consonant: centre (Hz), width (octaves), level, seconds, and silence before it.
_NOISE = {
    "s": (6500.0, 0.5, 0.30, 0.11, 0.0),
    "sh": (3200.0, 0.6, 0.30, 0.11, 0.0),
    "f": (5000.0, 1.6, 0.08, 0.09, 0.0),
    "v": (4500.0, 1.6, 0.05, 0.06, 0.0),
    "h": (1600.0, 1.3, 0.09, 0.08, 0.0),
    "t": (4500.0, 0.9, 0.35, 0.035, 0.05),
    "k": (2200.0, 0.6, 0.35, 0.035, 0.05),
    "p": (900.0, 1.2, 0.25, 0.03, 0.05),
    "d": (4000.0, 1.0, 0.15, 0.015, 0.0),
    "g": (2000.0, 0.7, 0.15, 0.02, 0.0),
    "b": (700.0, 1.2, 0.12, 0.012, 0.0),
}
_LEAD_S, _TAIL_S, _FRAME_S, _CONTROL_S = 0.55, 0.35, 0.008, 0.004
_BREATH_LEVEL = 0.035


def render_vocals(annotation: SongAnnotation, sampling_rate: int) -> np.ndarray:
    """The vocals of the annotation's window, as its microphone hears them: float32, `round(duration_s * sampling_rate)`.

    Bars without a voice hold the recording's noise floor only.
    """
    singer = annotation.singer
    num_samples = int(round(annotation.duration_s * sampling_rate))
    dry = np.zeros(num_samples, dtype=np.float32)
    vowels = _own_vowels(random_stream(annotation.seed, _ACCENT))
    for index, phrase in enumerate(_phrases(annotation.song_melody)):
        start_s = phrase[0].start_s - _LEAD_S - annotation.start_s
        end_s = phrase[-1].end_s + _TAIL_S - annotation.start_s
        if end_s <= 0.0 or start_s >= annotation.duration_s:
            continue
        wave = _render_phrase(phrase, singer, vowels, random_stream(annotation.seed, _PHRASE, index), sampling_rate)
        first = int(round(start_s * sampling_rate))
        skip, count = max(0, -first), min(len(wave), num_samples - first)
        if count > skip:
            dry[first + skip : first + count] += wave[skip:count]
    rng = random_stream(annotation.seed, _VOCAL_ROOM)
    impulse = room_impulse(rng, singer.room_rt60_s, singer.room_level, sampling_rate)
    vocals = filter_wave(dry, _microphone(singer, sampling_rate), impulse, sampling_rate)
    vocals = to_loudness(vocals, singer.loudness_lufs, sampling_rate, max_gain_db=0.0)
    floor = random_stream(annotation.seed, _FLOOR).standard_normal(num_samples, dtype=np.float32)
    return vocals + np.float32(10.0 ** (singer.noise_dbfs / 20.0)) * np.clip(floor, -4.0, 4.0)


def _own_vowels(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Formants of this singer's vowels: everyone's accent moves them a little."""
    return {
        name: np.array(formants) * (1.0 + 0.05 * rng.uniform(-1.0, 1.0, 4)) for name, formants in _FORMANTS_HZ.items()
    }


def _phrases(melody: tuple[MelodyNote, ...]) -> list[list[MelodyNote]]:
    """Notes between two breaths: a gap of 0.25 s ends a phrase."""
    phrases: list[list[MelodyNote]] = []
    for note in melody:
        if phrases and note.start_s - phrases[-1][-1].end_s < 0.25 and len(phrases[-1]) < 24:
            phrases[-1].append(note)
        else:
            phrases.append([note])
    return phrases


def _microphone(singer: Singer, sampling_rate: int) -> np.ndarray:
    frequencies = np.linspace(0.0, sampling_rate / 2, 1024)
    low = 1.0 / np.sqrt(1.0 + (singer.microphone_low_hz / np.maximum(frequencies, 1.0)) ** 4)
    high = 1.0 / np.sqrt(1.0 + (frequencies / singer.microphone_high_hz) ** 8)
    peak_db = singer.microphone_presence_db * np.exp(
        -0.5 * (np.log2(np.maximum(frequencies, 1.0) / 4000.0) / 0.7) ** 2
    )
    return low * high * 10.0 ** (peak_db / 20.0)


def _render_phrase(
    phrase: list[MelodyNote],
    singer: Singer,
    vowels: dict[str, np.ndarray],
    rng: np.random.Generator,
    sampling_rate: int,
) -> np.ndarray:
    """One phrase with the breath before it, from `_LEAD_S` before its first note to `_TAIL_S` behind its last."""
    origin_s = phrase[0].start_s - _LEAD_S
    duration_s = phrase[-1].end_s + _TAIL_S - origin_s
    time = np.arange(0.0, duration_s + _CONTROL_S, _CONTROL_S)
    pitch = _pitch_curve(phrase, singer, rng, time, origin_s)
    voiced, noise, centre, width, formants = _gesture_curves(phrase, singer, vowels, rng, time, origin_s)
    num_samples = int(duration_s * sampling_rate)
    sample_time = np.arange(num_samples) / sampling_rate

    pitch_hz = 440.0 * 2.0 ** ((np.interp(sample_time, time, pitch) - 69.0) / 12.0)
    phase = np.cumsum(pitch_hz) * (2.0 * np.pi / sampling_rate)
    harmonics = np.floor(0.46 * sampling_rate / pitch_hz)
    half = np.sin(0.5 * phase)
    small = np.abs(half) < 1e-5
    pulses = np.sin((harmonics + 0.5) * phase) / (2.0 * np.where(small, 1.0, half)) - 0.5
    pulses = np.where(small, harmonics, pulses) * np.sqrt(pitch_hz / 200.0) / 14.0
    hiss = rng.standard_normal(num_samples, dtype=np.float32)
    envelope = np.interp(sample_time, time, voiced)
    # Breath escapes while the glottis is open: the noise is loudest once per period.
    aspiration = singer.breathiness * (0.6 + 0.4 * np.cos(phase)) * hiss
    source = (envelope * (pulses + aspiration)).astype(np.float32)
    friction = (np.interp(sample_time, time, noise) * hiss).astype(np.float32)
    frame_pitch_hz = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    return _vocal_tract(source, friction, time, frame_pitch_hz, voiced, formants, centre, width, singer, sampling_rate)


def _pitch_curve(
    phrase: list[MelodyNote], singer: Singer, rng: np.random.Generator, time: np.ndarray, origin_s: float
) -> np.ndarray:
    """MIDI pitch over time: notes out of tune by a little, glides, scoops, vibrato that grows in, slow drift."""
    pitch = np.empty_like(time)
    starts = np.array([note.start_s - origin_s for note in phrase])
    index = np.clip(np.searchsorted(starts, time, side="right") - 1, 0, len(phrase) - 1)
    errors = rng.standard_normal(len(phrase)) * singer.intonation_cents / 100.0
    targets = np.array([note.midi_pitch for note in phrase]) + errors
    pitch[:] = targets[index]
    since = time - starts[index]
    previous = targets[np.maximum(index - 1, 0)]
    scoop = rng.uniform(0.0, 1.0, len(phrase)) ** 2 * singer.scoop_semitones
    legato = np.array([note.is_legato for note in phrase])
    glide_s = singer.portamento_s
    remaining = 1.0 / (1.0 + np.exp(np.clip((since - 0.3 * glide_s) / (0.2 * glide_s), -30.0, 30.0)))
    away = np.where(legato[index] | (index > 0) & (np.abs(previous - pitch) < 5), previous - pitch, -scoop[index])
    away = np.where(legato[index], away, np.where(scoop[index] > 0.5, -scoop[index], 0.6 * away))
    pitch += away * remaining * (since >= 0)
    growth = np.clip((since - singer.vibrato_delay_s) / 0.25, 0.0, 1.0)
    phases = 2 * np.pi * np.cumsum(singer.vibrato_rate_hz * (1.0 + 0.05 * rng.standard_normal(len(time)))) * _CONTROL_S
    pitch += singer.vibrato_semitones * growth * np.sin(phases + rng.uniform(0.0, 2 * np.pi))
    knots = np.arange(0.0, time[-1] + 0.2, 0.1)
    drift = np.interp(time, knots, 0.06 * rng.standard_normal(len(knots)))
    return pitch + drift + 0.012 * rng.standard_normal(len(time))


def _gesture_curves(
    phrase: list[MelodyNote],
    singer: Singer,
    vowels: dict[str, np.ndarray],
    rng: np.random.Generator,
    time: np.ndarray,
    origin_s: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Voiced level, noise level, noise centre (Hz), noise width (octaves), formants (4, Hz) over time."""
    voiced, noise = np.zeros_like(time), np.zeros_like(time)
    centre, width = np.full_like(time, 2000.0), np.full_like(time, 1.5)
    formants = np.zeros((len(time), 4))
    starts = [note.start_s - origin_s for note in phrase]
    previous_end_s = 0.0
    for i, note in enumerate(phrase):
        start_s, end_s = starts[i], note.end_s - origin_s
        goes_on = i + 1 < len(phrase) and phrase[i + 1].is_legato
        vowel = vowels[note.vowel]
        onset = _VOICED.get(note.consonant)
        lead_s = onset[2] if onset else 0.0
        last_s = starts[i + 1] if i + 1 < len(phrase) else time[-1]
        span = (time >= min(start_s - lead_s, start_s)) & (time <= last_s)
        since = time[span] - start_s
        if onset:
            mix = np.clip((since + 0.02) / 0.06, 0.0, 1.0)[:, None]
            formants[span] = np.array(onset[0]) * (1 - mix) + vowel * mix
        else:
            formants[span] = vowel
        attack_s = 0.012 if note.consonant in ("t", "k", "p", "d", "g", "b") else 0.035
        release_s = 0.05 if i + 1 < len(phrase) else 0.12
        rise = np.ones_like(since) if note.is_legato else np.clip(since / attack_s, 0.0, 1.0)
        fall = np.ones_like(since) if goes_on else np.clip((end_s - time[span]) / release_s + 1.0, 0.0, 1.0)
        length = max(end_s - start_s, 1e-3)
        arc = 0.85 + 0.15 * np.sin(np.pi * np.clip(since / length, 0.0, 1.0))
        level = note.loudness * arc * np.sin(0.5 * np.pi * rise) * np.sin(0.5 * np.pi * fall) ** 2
        if onset:
            hum = (since >= -lead_s) & (since < 0.02)
            ramp = np.clip((since[hum] + lead_s) / 0.015, 0.0, 1.0)
            level[hum] = np.maximum(level[hum], note.loudness * onset[1] * ramp * singer.consonant_level)
        voiced[span] = np.where((since < 0) | (span.sum() > 0), np.maximum(level, 0.0), voiced[span])
        if note.consonant in _NOISE:
            _add_noise(noise, centre, width, time, start_s, previous_end_s, note, singer)
        previous_end_s = end_s
    before = time < starts[0] - 0.1
    formants[formants[:, 0] == 0.0] = vowels["uh"]
    if rng.random() < 0.7:  # the singer breathes in
        breath = np.clip((time - starts[0] + 0.42) / 0.12, 0.0, 1.0) * np.clip(
            (starts[0] - 0.06 - time) / 0.1, 0.0, 1.0
        )
        noise = np.maximum(noise, _BREATH_LEVEL * singer.consonant_level * breath)
        centre[before], width[before] = 1900.0 * singer.formant_scale, 1.3
    smooth = np.hanning(9)[1:-1]
    smooth /= smooth.sum()
    for column in range(4):
        formants[:, column] = np.convolve(np.pad(formants[:, column], 3, mode="edge"), smooth, mode="valid")
    return voiced, noise, centre, width, formants


def _add_noise(
    noise: np.ndarray,
    centre: np.ndarray,
    width: np.ndarray,
    time: np.ndarray,
    start_s: float,
    previous_end_s: float,
    note: MelodyNote,
    singer: Singer,
) -> None:
    """Write a consonant's noise just before its vowel, as far as the note before leaves room."""
    centre_hz, octaves, level, length_s, _ = _NOISE[note.consonant]
    length_s = min(length_s, max(0.4 * (start_s - previous_end_s) + 0.05, 0.02))
    span = (time >= start_s - length_s) & (time <= start_s + 0.015)
    shape = np.clip((time[span] - start_s + length_s) / (0.25 * length_s + 0.002), 0.0, 1.0)
    shape = shape * np.clip((start_s + 0.015 - time[span]) / 0.015, 0.0, 1.0)
    noise[span] = np.maximum(noise[span], level * singer.consonant_level * note.loudness * shape)
    centre[span], width[span] = centre_hz * singer.formant_scale**0.5, octaves


def _vocal_tract(
    source: np.ndarray,
    friction: np.ndarray,
    time: np.ndarray,
    pitch_hz: np.ndarray,
    effort: np.ndarray,
    formants: np.ndarray,
    centre: np.ndarray,
    width: np.ndarray,
    singer: Singer,
    sampling_rate: int,
) -> np.ndarray:
    """Overlap-add: frames of the source through the vowel's response, frames of the friction through its band."""
    hop = int(round(_FRAME_S * sampling_rate))
    size = 1 << int(np.ceil(np.log2(5 * hop)))
    num_frames = -(-len(source) // hop) + 1
    frame_time = np.arange(num_frames) * _FRAME_S
    window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32) ** 2
    frequencies = np.fft.rfftfreq(size, 1.0 / sampling_rate)

    pitch = np.interp(frame_time, time, pitch_hz)
    tract = np.stack([np.interp(frame_time, time, formants[:, i]) for i in range(4)], axis=1) * singer.formant_scale
    tract[:, 0] = np.maximum(tract[:, 0], 1.03 * pitch)  # high notes open the jaw until F1 meets the fundamental
    # Louder is brighter: the glottis closes faster.
    corner_hz = singer.brightness_hz * (0.35 + 0.9 * np.interp(frame_time, time, effort))[:, None].astype(np.float32)
    response = _high_formants(frequencies, singer) / (1.0 + 1j * frequencies.astype(np.float32) / corner_hz)
    for i, bandwidth_hz in enumerate(_BANDWIDTHS_HZ):
        centre_hz = tract[:, i : i + 1].astype(np.float32)
        ratio = frequencies[None, :].astype(np.float32) / centre_hz
        response = response / ((1.0 - ratio**2) + 1j * ratio * np.float32(bandwidth_hz) / centre_hz)

    out = np.zeros((num_frames + 1) * hop + size, dtype=np.float32)
    spectrum = np.fft.rfft(_frames(source, hop, num_frames) * window, size, axis=1) * response
    loud = _frames(friction, hop, num_frames)
    rows = np.flatnonzero(np.abs(loud).max(axis=1) > 1e-6)
    if len(rows):
        band_hz = np.interp(frame_time[rows], time, centre)[:, None]
        octaves = np.interp(frame_time[rows], time, width)[:, None]
        band = np.exp(-0.5 * (np.log2(np.maximum(frequencies, 20.0) / band_hz) / (0.6 * octaves)) ** 2)
        spectrum[rows] += np.fft.rfft(loud[rows] * window, size, axis=1) * band.astype(np.float32)
    frames = np.fft.irfft(spectrum, size, axis=1)
    # Every size / hop-th frame at once: frames that do not overlap are one block copy.
    stride = -(-size // hop)
    for offset in range(stride):
        block = frames[offset::stride]
        padded = np.zeros((len(block), stride * hop), dtype=np.float32)
        padded[:, :size] = block
        first = offset * hop
        flat = padded.reshape(-1)[: len(out) - first]
        out[first : first + len(flat)] += flat
    return out[hop : hop + len(source)]


def _frames(wave: np.ndarray, hop: int, num_frames: int) -> np.ndarray:
    padded = np.zeros((num_frames + 1) * hop, dtype=np.float32)
    padded[hop : hop + len(wave)] = wave
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop][:num_frames]


def _high_formants(frequencies: np.ndarray, singer: Singer) -> np.ndarray:
    """Response of the formants above the fourth, which do not move."""
    response = np.ones(len(frequencies), dtype=np.complex128)
    for centre_hz, bandwidth_hz in _HIGH_FORMANTS_HZ:
        ratio = frequencies / (centre_hz * singer.formant_scale)
        response = response / ((1.0 - ratio**2) + 1j * ratio * bandwidth_hz / centre_hz)
    return response.astype(np.complex64)
