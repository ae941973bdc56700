"""Singers of procedural songs: what makes one voice, its room and its microphone differ from another's."""

from dataclasses import dataclass, replace

import numpy as np

_VOICES = {  # lowest and highest comfortable pitch, formant scale
    "bass": (40, 59, 0.95),
    "baritone": (44, 63, 1.0),
    "tenor": (48, 67, 1.04),
    "alto": (53, 72, 1.12),
    "mezzo": (56, 75, 1.16),
    "soprano": (60, 79, 1.2),
}


@dataclass(frozen=True)
class Singer:
    """What makes one voice, its room and its microphone differ from another's.

    Attributes:
        voice (`str`): Voice type, bass to soprano.
        lowest_pitch (`int`), highest_pitch (`int`): Range in MIDI pitch.
        formant_scale (`float`): Formant frequencies relative to an adult male's: shorter vocal tracts are above 1.
        brightness_hz (`float`): Corner of the glottal source's spectral slope.
        breathiness (`float`): Aspiration noise relative to the voiced source.
        vibrato_rate_hz, vibrato_semitones, vibrato_delay_s (`float`): Vibrato and how late in a note it starts.
        portamento_s (`float`), scoop_semitones (`float`): Glide between legato notes, and into a note from below.
        intonation_cents (`float`), timing_s (`float`): Standard deviations of the human errors.
        articulation (`float`): Part of a note's length that sounds.
        consonant_level (`float`): Loudness of consonants.
        loudness_lufs (`float`): Integrated loudness of the vocals.
        room_rt60_s, room_level (`float`): Decay time and level of the room.
        microphone_low_hz, microphone_high_hz, microphone_presence_db (`float`): Its band and its peak near 4 kHz.
        noise_dbfs (`float`): Level of the recording's noise floor.
        rubato (`float`): Standard deviation of the singer's pace against the band's, a share of it.
        dynamics_db (`float`): Standard deviation of the loudness of phrases.
        words_voice (`str`, *optional*): Voice of the speech synthesizer that sings words; by default vowels are sung.
    """

    voice: str
    lowest_pitch: int
    highest_pitch: int
    formant_scale: float
    brightness_hz: float
    breathiness: float
    vibrato_rate_hz: float
    vibrato_semitones: float
    vibrato_delay_s: float
    portamento_s: float
    scoop_semitones: float
    intonation_cents: float
    timing_s: float
    articulation: float
    consonant_level: float
    loudness_lufs: float
    room_rt60_s: float
    room_level: float
    microphone_low_hz: float
    microphone_high_hz: float
    microphone_presence_db: float
    noise_dbfs: float
    rubato: float = 0.0
    dynamics_db: float = 0.0
    words_voice: str | None = None


def draw_singer(rng: np.random.Generator) -> Singer:
    """Draw a voice, its habits, its room and its microphone."""
    voice = str(rng.choice(list(_VOICES)))
    lowest_pitch, highest_pitch, formant_scale = _VOICES[voice]
    shift = int(rng.integers(-2, 3))
    is_dry = rng.random() < 0.3
    return Singer(
        voice=voice,
        lowest_pitch=lowest_pitch + shift,
        highest_pitch=highest_pitch + shift,
        formant_scale=formant_scale * float(rng.uniform(0.93, 1.07)),
        brightness_hz=float(np.exp(rng.uniform(np.log(250.0), np.log(1400.0)))),
        breathiness=float(np.exp(rng.uniform(np.log(0.01), np.log(0.2)))),
        vibrato_rate_hz=float(rng.uniform(4.6, 6.8)),
        vibrato_semitones=float(rng.uniform(0.02, 0.55)),
        vibrato_delay_s=float(rng.uniform(0.12, 0.4)),
        portamento_s=float(rng.uniform(0.03, 0.12)),
        scoop_semitones=float(rng.uniform(0.0, 1.4)),
        intonation_cents=float(rng.uniform(3.0, 22.0)),
        timing_s=float(rng.uniform(0.003, 0.018)),
        articulation=float(rng.uniform(0.84, 1.0)),
        consonant_level=float(rng.uniform(0.5, 1.3)),
        loudness_lufs=float(rng.uniform(-25.0, -16.0)),
        room_rt60_s=0.15 if is_dry else float(rng.uniform(0.2, 1.4)),
        room_level=0.03 if is_dry else float(rng.uniform(0.05, 0.35)),
        microphone_low_hz=float(rng.uniform(50.0, 160.0)),
        microphone_high_hz=float(rng.uniform(7000.0, 16000.0)),
        microphone_presence_db=float(rng.uniform(-2.0, 6.0)),
        noise_dbfs=float(rng.uniform(-82.0, -54.0)),
    )


def loosen_singer(rng: np.random.Generator, singer: Singer) -> Singer:
    """The same singer, free of the band's clock and with phrases of different loudness."""
    return replace(singer, rubato=float(rng.uniform(0.0, 0.06)), dynamics_db=float(rng.uniform(0.5, 3.5)))


def give_words(rng: np.random.Generator, singer: Singer) -> Singer:
    """Give the singer a voice that speaks: men's voices serve women, too, with formants moved up.

    Vibrato, scoops and errors stay within half a semitone, so that the words can be understood.
    """
    is_low = singer.voice in ("bass", "baritone", "tenor")
    shares = {"awb": 0.4, "rms": 0.4, "kal16": 0.2} if is_low else {"slt": 0.6, "awb": 0.15, "rms": 0.15, "kal16": 0.1}
    return replace(
        singer,
        words_voice=str(rng.choice(list(shares), p=list(shares.values()))),
        vibrato_semitones=min(singer.vibrato_semitones, float(rng.uniform(0.02, 0.3))),
        scoop_semitones=0.5 * singer.scoop_semitones,
        intonation_cents=min(singer.intonation_cents, 12.0),
    )
