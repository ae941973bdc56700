"""The singing voice of procedural songs: glottal pulses and noise through moving formants, phrase by phrase.

The source is a band-limited pulse train in closed form (the Dirichlet kernel of a gliding phase) with breath. What the
singer does to it is a set of slow curves, and `vocal_tract` shapes it.
"""

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.songs.annotation import MelodyNote, SongAnnotation
from accompgen_hf.songs.instruments import shaped_noise
from accompgen_hf.songs.mastering import filter_wave, room_impulse, to_loudness
from accompgen_hf.songs.speech import FRAME_S
from accompgen_hf.songs.theory import random_stream
from accompgen_hf.songs.vocal_tract import Gestures, apply_vocal_tract
from accompgen_hf.songs.voices import Singer
from accompgen_hf.songs.word_singer import sing_words

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
# Noise of a consonant: centre (Hz), width (octaves), level, seconds.
_NOISE = {
    "s": (6500.0, 0.5, 0.30, 0.11),
    "sh": (3200.0, 0.6, 0.30, 0.11),
    "f": (5000.0, 1.6, 0.08, 0.09),
    "v": (4500.0, 1.6, 0.05, 0.06),
    "h": (1600.0, 1.3, 0.09, 0.08),
    "t": (4500.0, 0.9, 0.35, 0.035),
    "k": (2200.0, 0.6, 0.35, 0.035),
    "p": (900.0, 1.2, 0.25, 0.03),
    "d": (4000.0, 1.0, 0.15, 0.015),
    "g": (2000.0, 0.7, 0.15, 0.02),
    "b": (700.0, 1.2, 0.12, 0.012),
}
_LEAD_S, _TAIL_S, _CONTROL_S = 0.55, 0.35, 0.004
_STOPS = ("t", "k", "p", "d", "g", "b")
_BREATH_LEVEL = 0.035


def render_vocals(annotation: SongAnnotation, sampling_rate: int) -> np.ndarray:
    """The vocals of the annotation's window as its microphone hears them: float32, one value per sample.

    Bars without a voice hold the recording's noise floor only.
    """
    singer = annotation.singer
    num_samples = round(annotation.duration_s * sampling_rate)
    dry = np.zeros(num_samples, dtype=np.float32)
    vowels = _own_vowels(random_stream(annotation.seed, _ACCENT))
    for index, phrase in enumerate(_phrases(annotation.song_melody)):
        start_s = phrase[0].start_s - _LEAD_S - annotation.start_s
        end_s = phrase[-1].end_s + _TAIL_S - annotation.start_s
        if end_s <= 0.0 or start_s >= annotation.duration_s:
            continue
        rng = random_stream(annotation.seed, _PHRASE, index)
        tuned = [note._replace(midi_pitch=note.midi_pitch + annotation.tuning_cents / 100.0) for note in phrase]
        if singer.words_voice is None:
            wave = _render_phrase(tuned, singer, vowels, rng, sampling_rate)
        else:
            wave = _render_words(tuned, singer, rng, sampling_rate)
        first = round(start_s * sampling_rate)
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
    notes = [note._replace(start_s=note.start_s - origin_s, end_s=note.end_s - origin_s) for note in phrase]
    duration_s = notes[-1].end_s + _TAIL_S
    gestures = _gestures(notes, singer, vowels, rng, np.arange(0.0, duration_s + _CONTROL_S, _CONTROL_S))
    num_samples = int(duration_s * sampling_rate)
    sample_time = np.arange(num_samples) / sampling_rate

    pitch_hz = 440.0 * 2.0 ** ((np.interp(sample_time, gestures.time, gestures.pitch) - 69.0) / 12.0)
    phase = np.cumsum(pitch_hz) * (2.0 * np.pi / sampling_rate)
    pulses = _pulse_train(phase, np.floor(0.46 * sampling_rate / pitch_hz)) * np.sqrt(pitch_hz / 200.0) / 14.0
    hiss = rng.standard_normal(num_samples, dtype=np.float32)
    # Breath escapes while the glottis is open: the noise is loudest once per period.
    aspiration = singer.breathiness * (0.6 + 0.4 * np.cos(phase)) * hiss
    source = np.interp(sample_time, gestures.time, gestures.voiced) * (pulses + aspiration)
    friction = np.interp(sample_time, gestures.time, gestures.noise) * hiss
    return apply_vocal_tract(source.astype(np.float32), friction.astype(np.float32), gestures, singer, sampling_rate)


def _render_words(
    phrase: list[MelodyNote], singer: Singer, rng: np.random.Generator, sampling_rate: int
) -> np.ndarray:
    """As `_render_phrase`, sung on words."""
    origin_s = phrase[0].start_s - _LEAD_S
    notes = [note._replace(start_s=note.start_s - origin_s, end_s=note.end_s - origin_s) for note in phrase]
    duration_s = notes[-1].end_s + _TAIL_S
    time = np.arange(0.0, duration_s + _CONTROL_S, _CONTROL_S)
    pitch = np.interp(np.arange(0.0, duration_s, FRAME_S), time, _pitch_curve(notes, singer, rng, time))
    wave, rate = sing_words(notes, pitch, singer, rng)
    wave = resample(wave[None], rate, sampling_rate)[0]
    if rng.random() < 0.7:
        breath = shaped_noise(rng, 0.34, 900.0 * singer.formant_scale, 4500.0, 10.0, sampling_rate)
        first = int((_LEAD_S - 0.48) * sampling_rate)
        breath *= (_BREATH_LEVEL * singer.consonant_level * np.hanning(len(breath))).astype(np.float32)
        wave[first : first + len(breath)] += breath
    return wave


def _pulse_train(phase: np.ndarray, num_harmonics: np.ndarray) -> np.ndarray:
    """Sum of cos(k phase) for k up to `num_harmonics`, in closed form: pulses without aliasing."""
    half = np.sin(0.5 * phase)
    is_peak = np.abs(half) < 1e-5
    pulses = np.sin((num_harmonics + 0.5) * phase) / (2.0 * np.where(is_peak, 1.0, half)) - 0.5
    return np.where(is_peak, num_harmonics, pulses)


def _pitch_curve(notes: list[MelodyNote], singer: Singer, rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """MIDI pitch over time: notes out of tune by a little, glides, scoops, vibrato that grows in, slow drift."""
    starts = np.array([note.start_s for note in notes])
    index = np.clip(np.searchsorted(starts, time, side="right") - 1, 0, len(notes) - 1)
    errors = rng.standard_normal(len(notes)) * singer.intonation_cents / 100.0
    targets = np.array([note.midi_pitch for note in notes]) + errors
    pitch, since = targets[index], time - starts[index]
    previous = targets[np.maximum(index - 1, 0)]
    scoop = rng.uniform(0.0, 1.0, len(notes)) ** 2 * singer.scoop_semitones
    is_legato = np.array([note.is_legato for note in notes])[index]
    glide_s = singer.portamento_s
    remaining = 1.0 / (1.0 + np.exp(np.clip((since - 0.3 * glide_s) / (0.2 * glide_s), -30.0, 30.0)))
    # A legato note starts where the last one was; another one part of the way from there, or below itself (a scoop).
    is_near = (index > 0) & (np.abs(previous - pitch) < 5)
    away = np.where(is_near, 0.6 * (previous - pitch), -0.6 * scoop[index])
    away = np.where(scoop[index] > 0.5, -scoop[index], away)
    away = np.where(is_legato, previous - pitch, away)
    pitch += away * remaining * (since >= 0)
    growth = np.clip((since - singer.vibrato_delay_s) / 0.25, 0.0, 1.0)
    rate_hz = singer.vibrato_rate_hz * (1.0 + 0.05 * rng.standard_normal(len(time)))
    phases = 2 * np.pi * np.cumsum(rate_hz) * _CONTROL_S
    pitch += singer.vibrato_semitones * growth * np.sin(phases + rng.uniform(0.0, 2 * np.pi))
    knots = np.arange(0.0, time[-1] + 0.2, 0.1)
    drift = np.interp(time, knots, 0.06 * rng.standard_normal(len(knots)))
    return pitch + drift + 0.012 * rng.standard_normal(len(time))


def _gestures(
    notes: list[MelodyNote],
    singer: Singer,
    vowels: dict[str, np.ndarray],
    rng: np.random.Generator,
    time: np.ndarray,
) -> Gestures:
    """Everything the singer does in a phrase; note times count from the start of `time`."""
    gestures = Gestures(
        time=time,
        pitch=_pitch_curve(notes, singer, rng, time),
        voiced=np.zeros_like(time),
        noise=np.zeros_like(time),
        centre_hz=np.full_like(time, 2000.0),
        octaves=np.full_like(time, 1.5),
        formants_hz=np.zeros((len(time), 4)),
    )
    gestures.formants_hz[:] = vowels["uh"]
    previous_end_s = 0.0
    for i, note in enumerate(notes):
        following = notes[i + 1] if i + 1 < len(notes) else None
        lead_s = _VOICED[note.consonant][2] if note.consonant in _VOICED else 0.0
        last_s = time[-1] if following is None else following.start_s
        span = (time >= note.start_s - lead_s) & (time <= last_s)
        gestures.formants_hz[span] = _note_formants(note, vowels[note.vowel], time[span] - note.start_s)
        gestures.voiced[span] = _note_level(note, following, singer, time[span] - note.start_s)
        if note.consonant in _NOISE:
            _add_noise(gestures, note, previous_end_s, singer)
        previous_end_s = note.end_s
    if rng.random() < 0.7:
        _add_breath(gestures, notes[0].start_s, singer)
    weights = np.hanning(9)[1:-1] / np.hanning(9).sum()
    for column in gestures.formants_hz.T:
        column[:] = np.convolve(np.pad(column, 3, mode="edge"), weights, mode="valid")
    return gestures


def _note_formants(note: MelodyNote, vowel: np.ndarray, since: np.ndarray) -> np.ndarray:
    """The vowel's formants, reached from the consonant's within 60 ms; `since` is seconds from the note's start."""
    if note.consonant not in _VOICED:
        return np.broadcast_to(vowel, (len(since), 4))
    share = np.clip((since + 0.02) / 0.06, 0.0, 1.0)[:, None]
    return np.array(_VOICED[note.consonant][0]) * (1.0 - share) + vowel * share


def _note_level(note: MelodyNote, following: MelodyNote | None, singer: Singer, since: np.ndarray) -> np.ndarray:
    """Level of the glottal source: attack, an arc, release, and the hum of a voiced consonant before it."""
    attack_s = 0.012 if note.consonant in _STOPS else 0.035
    release_s = 0.12 if following is None else 0.05
    length_s = max(note.end_s - note.start_s, 1e-3)
    rise = np.ones_like(since) if note.is_legato else np.clip(since / attack_s, 0.0, 1.0)
    if following is not None and following.is_legato:
        fall = np.ones_like(since)
    else:
        fall = np.clip((length_s - since) / release_s + 1.0, 0.0, 1.0)
    arc = 0.85 + 0.15 * np.sin(np.pi * np.clip(since / length_s, 0.0, 1.0))
    level = note.loudness * arc * np.sin(0.5 * np.pi * rise) * np.sin(0.5 * np.pi * fall) ** 2
    if note.consonant in _VOICED:
        _, share, lead_s = _VOICED[note.consonant]
        is_hum = (since >= -lead_s) & (since < 0.02)
        ramp = np.clip((since[is_hum] + lead_s) / 0.015, 0.0, 1.0)
        level[is_hum] = np.maximum(level[is_hum], note.loudness * share * ramp * singer.consonant_level)
    return level


def _add_noise(gestures: Gestures, note: MelodyNote, previous_end_s: float, singer: Singer) -> None:
    """Write a consonant's noise just before its vowel, as far as the note before leaves room."""
    centre_hz, octaves, level, length_s = _NOISE[note.consonant]
    length_s = min(length_s, max(0.4 * (note.start_s - previous_end_s) + 0.05, 0.02))
    since = gestures.time - note.start_s
    span = (since >= -length_s) & (since <= 0.015)
    rise = np.clip((since[span] + length_s) / (0.25 * length_s + 0.002), 0.0, 1.0)
    shape = rise * np.clip((0.015 - since[span]) / 0.015, 0.0, 1.0)
    strength = level * singer.consonant_level * note.loudness
    gestures.noise[span] = np.maximum(gestures.noise[span], strength * shape)
    gestures.centre_hz[span], gestures.octaves[span] = centre_hz * singer.formant_scale**0.5, octaves


def _add_breath(gestures: Gestures, start_s: float, singer: Singer) -> None:
    """The singer breathes in before the phrase's first note."""
    since = gestures.time - start_s
    breath = np.clip((since + 0.42) / 0.12, 0.0, 1.0) * np.clip((-0.06 - since) / 0.1, 0.0, 1.0)
    np.maximum(gestures.noise, _BREATH_LEVEL * singer.consonant_level * breath, out=gestures.noise)
    before = since < -0.1
    gestures.centre_hz[before], gestures.octaves[before] = 1900.0 * singer.formant_scale, 1.3
