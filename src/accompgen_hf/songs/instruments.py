"""Instruments of procedural songs: tones as sums of damped partials, drums as shaped noise and falling sines.

Every pitched tone is a sum of exponentially damped sinusoids: strings, reeds, pipes and bars differ in where the
partials lie, how fast they die and how they begin. Such a sum is one small matrix product, which makes it fast.
"""

from dataclasses import dataclass

import numpy as np

from accompgen_hf.songs.theory import random_stream


@dataclass(frozen=True)
class Tone:
    """One pitched instrument.

    Attributes:
        slope (`float`): Partial k has amplitude k ** -slope.
        decay_s (`float`): Time constant of the fundamental at A3 (220 Hz); infinite for sustained tones.
        damping (`float`): Additional decay of high partials, per kHz.
        cutoff_hz (`float`): Frequency from which the body or filter takes partials away.
        attack_s, release_s (`float`): Envelope.
        detune_cents (`tuple[float, ...]`): Copies of every partial.
        inharmonicity (`float`): Stiffness of the string.
        pluck (`float`): Place of the pluck on the string (0 to 0.5); 0 for none.
        partials (`tuple[tuple[float, float, float], ...]`): Ratio, amplitude and decay factor of single partials, in
            place of a harmonic series.
        tremolo_hz (`float`): Rate of a slow change of loudness, 0 for none.
        strike (`float`): Noise of the hammer, pick or breath as the note begins.
    """

    slope: float = 1.0
    decay_s: float = np.inf
    damping: float = 0.0
    cutoff_hz: float = 5000.0
    attack_s: float = 0.003
    release_s: float = 0.08
    detune_cents: tuple[float, ...] = (0.0,)
    inharmonicity: float = 0.0
    pluck: float = 0.0
    partials: tuple[tuple[float, float, float], ...] = ()
    tremolo_hz: float = 0.0
    strike: float = 0.0


_DRAWBARS = (
    (0.5, 0.7, 1),
    (1.0, 1.0, 1),
    (1.5, 0.5, 1),
    (2.0, 0.7, 1),
    (3.0, 0.35, 1),
    (4.0, 0.3, 1),
    (6.0, 0.12, 1),
    (8.0, 0.15, 1),
)
_TINE = ((1.0, 1.0, 1.0), (2.0, 0.25, 1.5), (3.0, 0.1, 2.0), (4.0, 0.12, 2.5), (7.1, 0.14, 14.0))
_BARS = ((1.0, 1.0, 1.0), (4.0, 0.3, 3.0), (10.0, 0.08, 12.0))
_BELL = ((1.0, 1.0, 1.0), (2.0, 0.6, 1.3), (3.01, 0.35, 2.0), (4.2, 0.25, 3.0), (5.4, 0.2, 5.0))

TONES: dict[str, Tone] = {
    "piano": Tone(1.15, 1.3, 1.2, 3200.0, 0.003, 0.12, (-0.7, 0.8), 0.0004, 0.12, strike=0.25),
    "electric_piano": Tone(1.0, 1.4, 0.5, 6000.0, 0.003, 0.1, (-1.5, 1.5), partials=_TINE, tremolo_hz=4.5, strike=0.1),
    "nylon_guitar": Tone(1.2, 0.6, 2.2, 2600.0, 0.003, 0.08, (0.0,), 0.00005, 0.22, strike=0.3),
    "steel_guitar": Tone(0.85, 0.9, 1.3, 4500.0, 0.002, 0.08, (-0.6, 0.7), 0.0001, 0.14, strike=0.5),
    "clean_guitar": Tone(0.9, 0.9, 0.9, 3800.0, 0.002, 0.05, (-2.5, 2.5), 0.00008, 0.18, strike=0.35),
    "drive_guitar": Tone(0.9, 2.2, 0.4, 2800.0, 0.004, 0.06, (-3.0, 3.0), 0.00005, 0.16),
    "lead_guitar": Tone(0.8, 3.0, 0.3, 3000.0, 0.006, 0.08, (-2.0, 2.0), 0.0, 0.2),
    "harp": Tone(1.3, 1.0, 1.0, 3500.0, 0.002, 0.5, (0.0,), 0.0, 0.3, strike=0.2),
    "pizzicato": Tone(1.2, 0.22, 2.5, 3000.0, 0.003, 0.1, (-4.0, 3.0), 0.0, 0.2, strike=0.4),
    "organ": Tone(1.0, np.inf, 0.0, 7000.0, 0.008, 0.03, (-1.0, 1.5), partials=_DRAWBARS, tremolo_hz=6.2),
    "accordion": Tone(0.75, np.inf, 0.0, 4000.0, 0.04, 0.06, (0.0, 9.0)),
    "strings": Tone(0.95, np.inf, 0.0, 3200.0, 0.12, 0.22, (-9.0, -2.0, 4.0, 11.0)),
    "cello": Tone(0.9, np.inf, 0.0, 2200.0, 0.07, 0.15, (-3.0, 3.5)),
    "pad": Tone(1.3, np.inf, 0.0, 2200.0, 0.2, 0.35, (-12.0, 0.0, 10.0), tremolo_hz=0.4),
    "brass": Tone(0.7, np.inf, 0.0, 2600.0, 0.035, 0.06, (-5.0, 6.0)),
    "flute": Tone(1.9, np.inf, 0.0, 2500.0, 0.05, 0.08, (0.0,), tremolo_hz=5.2, strike=0.25),
    "saw_pluck": Tone(0.9, 0.35, 2.0, 6000.0, 0.002, 0.08, (-8.0, 0.0, 8.0)),
    "saw_lead": Tone(0.9, np.inf, 0.0, 4500.0, 0.01, 0.06, (-7.0, 7.0)),
    "bell": Tone(1.0, 0.9, 0.4, 9000.0, 0.002, 0.3, partials=_BELL, strike=0.2),
    "vibraphone": Tone(1.0, 1.8, 0.2, 9000.0, 0.002, 0.25, partials=_BARS, tremolo_hz=5.0, strike=0.3),
    "electric_bass": Tone(1.0, 1.1, 2.5, 1100.0, 0.005, 0.05, (0.0,), 0.0001, 0.2, strike=0.2),
    "picked_bass": Tone(0.85, 1.0, 1.8, 1900.0, 0.003, 0.05, (0.0,), 0.0001, 0.1, strike=0.6),
    "upright_bass": Tone(1.1, 0.6, 3.5, 900.0, 0.009, 0.07, (0.0,), 0.0, 0.25, strike=0.25),
    "synth_bass": Tone(0.9, 0.8, 3.0, 1500.0, 0.003, 0.04, (-4.0, 4.0)),
    "sub_bass": Tone(1.3, 2.5, 4.0, 600.0, 0.008, 0.05, (0.0,)),
    "tuba": Tone(1.1, np.inf, 0.0, 700.0, 0.04, 0.07, (0.0,)),
}
_BLOCK = 256
_STRIKE_S = 0.02


def damped_partials(
    frequencies: np.ndarray, decays: np.ndarray, amplitudes: np.ndarray, num_samples: int, sampling_rate: int
) -> np.ndarray:
    """Sum of `amplitude * sin(2 pi f t) * exp(-decay t)` (Hz, 1/s), float32 of `num_samples`.

    z ** (256 a + b) = z ** (256 a) * z ** b: all samples of all partials are one matrix product.
    """
    rates = (2j * np.pi * frequencies - decays) / sampling_rate
    coarse = (
        np.exp(rates[None, :] * (_BLOCK * np.arange(-(-num_samples // _BLOCK)))[:, None]) * amplitudes
    )  # (blocks, P)
    fine = np.exp(rates[:, None] * np.arange(_BLOCK))  # (P, 256)
    left = np.concatenate([coarse.real, coarse.imag], axis=1)  # (blocks, 2 P)
    right = np.concatenate([fine.imag, fine.real], axis=0)  # (2 P, 256)
    # Another machine or thread count sums in another order: rounding far above float64's error hides it.
    return (np.round((left @ right) * 2.0**20) * 2.0**-20).reshape(-1)[:num_samples].astype(np.float32)


def render_tone(tone: Tone, pitch: float, duration_s: float, brightness: float, sampling_rate: int) -> np.ndarray:
    """One note with its attack, RMS about 1, held on for the length of its release: float32.

    Args:
        tone (`Tone`): The instrument.
        pitch (`float`): MIDI pitch.
        duration_s (`float`): Until the key is lifted.
        brightness (`float`): Scale of the cutoff; hard notes and bright instruments are above 1.
        sampling_rate (`int`): Rate in Hz.
    """
    fundamental = 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)
    highest = min(0.45 * sampling_rate, 9000.0)
    if tone.partials:
        ratios, amplitudes, factors = (
            np.array(column, dtype=np.float64) for column in zip(*tone.partials, strict=True)
        )
    else:
        ratios = np.arange(1, max(2, min(48, int(highest / fundamental)) + 1), dtype=np.float64)
        amplitudes = ratios**-tone.slope
        if tone.pluck:
            amplitudes = amplitudes * np.abs(np.sin(np.pi * ratios * tone.pluck)) / np.sin(np.pi * tone.pluck)
        factors = np.ones_like(ratios)
    frequencies = fundamental * ratios * np.sqrt(1.0 + tone.inharmonicity * ratios**2)
    amplitudes = amplitudes / np.sqrt(1.0 + (frequencies / (tone.cutoff_hz * brightness)) ** 4)
    decays = factors / tone.decay_s * (fundamental / 220.0) ** 0.5 * (1.0 + tone.damping * frequencies / 1000.0)
    kept = frequencies < highest
    frequencies, amplitudes, decays = frequencies[kept], amplitudes[kept], decays[kept]
    detune = 2.0 ** (np.array(tone.detune_cents) / 1200.0)
    copies = len(detune)
    # Phases spread over the partials keep the crest factor low.
    phases = np.exp(
        2j * np.pi * np.outer(np.arange(copies) * 0.37, np.ones(len(frequencies)))
        + 1j * np.arange(len(frequencies)) ** 2
    )
    num_samples = round((duration_s + tone.release_s) * sampling_rate)
    wave = damped_partials(
        (frequencies[None, :] * detune[:, None]).reshape(-1),
        np.tile(decays, copies),
        (phases * amplitudes).reshape(-1) / np.sqrt(copies),
        num_samples,
        sampling_rate,
    )
    wave *= np.float32(1.0 / np.sqrt(0.5 * np.sum(amplitudes**2) + 1e-9))
    if tone.strike:
        noise = shaped_noise(
            random_stream(int(pitch), 0), _STRIKE_S, 0.5 * fundamental, 4500.0 * brightness, 0.004, sampling_rate
        )
        count = min(len(noise), num_samples)
        wave[:count] += np.float32(tone.strike) * noise[:count]
    num_attack = min(max(1, int(tone.attack_s * sampling_rate)), num_samples)
    wave[:num_attack] *= (0.5 - 0.5 * np.cos(np.pi * np.arange(num_attack) / num_attack)).astype(np.float32)
    if tone.tremolo_hz:
        time = np.arange(num_samples, dtype=np.float32) / np.float32(sampling_rate)
        wave *= 1.0 + np.float32(0.18) * np.sin(np.float32(2 * np.pi * tone.tremolo_hz) * time)
    return wave


def shaped_noise(
    rng: np.random.Generator, duration_s: float, low_hz: float, high_hz: float, decay_s: float, sampling_rate: int
) -> np.ndarray:
    """White noise between two frequencies (soft edges) dying with `decay_s`, RMS about 1 at the start, float32."""
    num_samples = int(duration_s * sampling_rate)
    spectrum = np.fft.rfft(rng.standard_normal(num_samples).astype(np.float32))
    frequencies = np.fft.rfftfreq(num_samples, 1.0 / sampling_rate)
    band = 1.0 / np.sqrt((1.0 + (low_hz / np.maximum(frequencies, 1.0)) ** 6) * (1.0 + (frequencies / high_hz) ** 6))
    noise = np.fft.irfft(spectrum * band.astype(np.float32), num_samples)
    noise /= np.sqrt(np.mean(noise**2)) + 1e-9
    return (noise * np.exp(-np.arange(num_samples) / (decay_s * sampling_rate))).astype(np.float32)


def falling_sine(
    start_hz: float, end_hz: float, fall_s: float, decay_s: float, duration_s: float, sampling_rate: int
) -> np.ndarray:
    """A sine whose frequency falls exponentially from `start_hz` to `end_hz` while it dies: the body of a drum."""
    time = np.arange(int(duration_s * sampling_rate)) / sampling_rate
    phase = 2 * np.pi * (end_hz * time + (start_hz - end_hz) * fall_s * (1.0 - np.exp(-time / fall_s)))
    return (np.sin(phase) * np.exp(-time / decay_s)).astype(np.float32)


def _layered(*parts: np.ndarray) -> np.ndarray:
    total = np.zeros(max(len(part) for part in parts), dtype=np.float32)
    for part in parts:
        total[: len(part)] += part
    return total


def render_drum(name: str, kit: str, rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """One stroke of a drum, loudness comparable to a tone's; every song's kit is drawn a little differently."""
    size = float(rng.uniform(0.85, 1.18))
    is_electronic, is_soft = kit == "electronic", kit in ("soft", "orchestra")
    sr = sampling_rate
    if name == "kick":
        decay_s = (0.16 if is_soft else 0.13 if not is_electronic else 0.2) * size
        body = 1.7 * falling_sine(170.0 / size, 52.0 / size, 0.02, decay_s, 0.5, sr)
        return _layered(body, (0.12 if is_soft else 0.5) * shaped_noise(rng, 0.03, 1500.0, 5000.0, 0.006, sr))
    if name == "snare":
        body = 0.8 * falling_sine(260.0 / size, 185.0 / size, 0.02, 0.07, 0.3, sr)
        return _layered(body, (0.5 if is_soft else 0.9) * shaped_noise(rng, 0.35, 900.0, 9000.0, 0.09 * size, sr))
    if name == "rim":
        return _layered(
            0.8 * falling_sine(1750.0 / size, 1650.0 / size, 0.01, 0.015, 0.08, sr),
            0.5 * shaped_noise(rng, 0.05, 1200.0, 6000.0, 0.01, sr),
        )
    if name == "clap":
        burst = shaped_noise(rng, 0.3, 800.0, 5000.0, 0.09 * size, sr)
        clap = _layered(burst, np.zeros(int(0.35 * sr), np.float32))
        for delay_s in (0.011, 0.023):
            delay = int(delay_s * sr)
            clap[delay : delay + len(burst)] += 0.8 * burst
        return 0.6 * clap
    if name.startswith("tom"):
        pitch_hz = {"tom_high": 190.0, "tom_mid": 140.0, "tom_low": 95.0}[name] / size
        return _layered(
            1.5 * falling_sine(1.4 * pitch_hz, pitch_hz, 0.04, 0.16, 0.6, sr),
            0.25 * shaped_noise(rng, 0.05, 600.0, 4000.0, 0.015, sr),
        )
    low_hz, high_hz, decay_s, level = {
        "hat": (6500.0, 11000.0, 0.03, 0.32),
        "open_hat": (6000.0, 11000.0, 0.16, 0.32),
        "ride": (5000.0, 10500.0, 0.3, 0.2),
        "crash": (3500.0, 10500.0, 0.7, 0.5),
        "shaker": (5500.0, 10000.0, 0.035, 0.28),
        "tambourine": (6500.0, 11000.0, 0.08, 0.34),
        "brush": (1500.0, 7000.0, 0.09, 0.35),
    }[name]
    top_hz = min(high_hz, 0.47 * sr)
    noise = level * shaped_noise(
        rng, min(5.0 * decay_s, 1.8), min(low_hz * size, 0.3 * sr), top_hz, decay_s * size, sr
    )
    if name in ("shaker", "brush", "tambourine"):
        rise = min(len(noise), int(0.012 * sr))
        noise[:rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
    if name == "ride":
        ping = 0.05 * falling_sine(3150.0 * size, 3150.0 * size, 0.01, 0.12, 0.4, sr)
        noise = _layered(noise, ping)
    return noise
