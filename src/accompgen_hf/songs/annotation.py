"""The annotation of a procedural song (key, beats, chords, melody, sections), in any key and at any tempo.

An annotation holds the timeline of the whole song and a window on it. Its properties (`chords`, `melody`,
`beat_times`, ...) are relative to the window's start and cut at its edges; `song_*` is the whole timeline.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

from accompgen_hf.accompgen.harmony_accompgen import PITCH_CLASS_NAMES
from accompgen_hf.songs.theory import CHORD_INTERVALS, SCALES
from accompgen_hf.songs.voices import Singer


class Chord(NamedTuple):
    """One chord: start and end in seconds, root pitch class (0 = C), quality (a key of `CHORD_INTERVALS`)."""

    start_s: float
    end_s: float
    root: int
    quality: str

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Pitch classes of the chord, root first."""
        return tuple((self.root + interval) % 12 for interval in CHORD_INTERVALS[self.quality])

    @property
    def name(self) -> str:
        """Short name as printed on a lead sheet."""
        return PITCH_CLASS_NAMES[self.root] + {"maj": "", "min": "m", "min7": "m7"}.get(self.quality, self.quality)


class MelodyNote(NamedTuple):
    """One sung note: seconds, MIDI pitch, syllable, loudness in [0, 1]; a legato note glides on from the last one."""

    start_s: float
    end_s: float
    midi_pitch: int
    consonant: str
    vowel: str
    loudness: float
    is_legato: bool


class Section(NamedTuple):
    """One section: seconds and a name (intro, verse, chorus, bridge, break, outro)."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True)
class SongAnnotation:
    """A song before it sounds. `synthesize_song` turns it into audio; the same annotation gives the same audio.

    Attributes:
        seed (`int`): Seed the song was composed from; it also fixes the band's instruments and all human error.
        tonic (`int`): Pitch class of the key (0 = C).
        mode (`str`): "major" or "minor".
        tempo_bpm (`float`): Beats (quarter notes) per minute, constant through the song.
        meter (`int`): Beats per bar, 3 or 4.
        swing (`float`): Place of the off-beat eighth in its beat; 0.5 is straight.
        style (`str`): A key of `styles.STYLES`.
        singer (`Singer`): The voice and how it was recorded.
        song_duration_s (`float`): Length of the whole song with its last chord ringing out.
        song_chords, song_melody, song_sections (`tuple`): The whole song, in seconds from its first downbeat.
        start_s, duration_s (`float`): The window of the song that is heard.
        tuning_cents (`float`): Tuning of the whole song above A = 440 Hz, in cents.
        song_intensities (`tuple`): How intensely the band plays each section of an arranged song; else empty.
    """

    seed: int
    tonic: int
    mode: str
    tempo_bpm: float
    meter: int
    swing: float
    style: str
    singer: Singer
    song_duration_s: float
    song_chords: tuple[Chord, ...]
    song_melody: tuple[MelodyNote, ...]
    song_sections: tuple[Section, ...]
    start_s: float
    duration_s: float
    tuning_cents: float = 0.0
    song_intensities: tuple[float, ...] = ()

    @property
    def beat_s(self) -> float:
        """Length of one beat."""
        return 60.0 / self.tempo_bpm

    @property
    def key_name(self) -> str:
        """Key in words, for example "Eb minor"."""
        return f"{PITCH_CLASS_NAMES[self.tonic]} {self.mode}"

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes of the key (natural minor in minor), tonic first."""
        return tuple((self.tonic + interval) % 12 for interval in SCALES[self.mode])

    @property
    def beat_times(self) -> np.ndarray:
        """Beats inside the window, seconds, float64."""
        return self._grid(self.beat_s)

    @property
    def downbeat_times(self) -> np.ndarray:
        """First beats of bars inside the window, seconds, float64."""
        return self._grid(self.beat_s * self.meter)

    @property
    def chords(self) -> tuple[Chord, ...]:
        """Chords inside the window."""
        return self._cut(self.song_chords)

    @property
    def melody(self) -> tuple[MelodyNote, ...]:
        """Sung notes inside the window."""
        return self._cut(self.song_melody)

    @property
    def sections(self) -> tuple[Section, ...]:
        """Sections inside the window."""
        return self._cut(self.song_sections)

    def _grid(self, step_s: float) -> np.ndarray:
        last_s = min(self.start_s + self.duration_s, self.song_sections[-1].end_s) - 1e-6
        first = int(np.ceil((self.start_s - 1e-6) / step_s))
        return np.arange(first, int(np.floor(last_s / step_s)) + 1) * step_s - self.start_s

    def _cut(self, events: tuple) -> tuple:
        kept = []
        for event in events:
            start_s, end_s = event.start_s - self.start_s, event.end_s - self.start_s
            if end_s > 1e-6 and start_s < self.duration_s - 1e-6:
                kept.append(event._replace(start_s=max(start_s, 0.0), end_s=min(end_s, self.duration_s)))
        return tuple(kept)

    def window(self, start_s: float, duration_s: float) -> "SongAnnotation":
        """The same song heard from `start_s` (song time) for `duration_s` seconds.

        Raises:
            ValueError: If the window does not lie inside the song.
        """
        if not (duration_s > 0 and start_s >= 0 and start_s + duration_s <= self.song_duration_s + 1e-6):
            raise ValueError(
                f"`start_s` and `duration_s` must give a window inside the song's {self.song_duration_s:.2f} s, "
                f"got {start_s} and {duration_s}."
            )
        return replace(self, start_s=float(start_s), duration_s=float(duration_s))

    def transposed(self, semitones: int) -> "SongAnnotation":
        """The same song in another key: melody, chords and the singer's range move, formants stay.

        Raises:
            ValueError: If `semitones` is not a whole number in [-12, 12].
        """
        if int(semitones) != semitones or not -12 <= semitones <= 12:
            raise ValueError(f"`semitones` must be a whole number in [-12, 12], got {semitones}.")
        semitones = int(semitones)
        singer = replace(
            self.singer,
            lowest_pitch=self.singer.lowest_pitch + semitones,
            highest_pitch=self.singer.highest_pitch + semitones,
        )
        chords = tuple(chord._replace(root=(chord.root + semitones) % 12) for chord in self.song_chords)
        melody = tuple(note._replace(midi_pitch=note.midi_pitch + semitones) for note in self.song_melody)
        tonic = (self.tonic + semitones) % 12
        return replace(self, tonic=tonic, singer=singer, song_chords=chords, song_melody=melody)

    def at_tempo(self, factor: float) -> "SongAnnotation":
        """The same song played `factor` times as fast, pitches unchanged.

        The window starts at the same place in the music. An excerpt keeps its length in seconds; a window over the
        whole song stays one.

        Raises:
            ValueError: If `factor` is outside [0.5, 2].
        """
        if not 0.5 <= factor <= 2.0:
            raise ValueError(f"`factor` must be between 0.5 and 2, got {factor}. 1.1 is ten per cent faster.")

        def scaled(events: tuple) -> tuple:
            return tuple(e._replace(start_s=e.start_s / factor, end_s=e.end_s / factor) for e in events)

        song_duration_s = self.song_duration_s / factor
        is_whole = self.start_s == 0.0 and abs(self.duration_s - self.song_duration_s) < 1e-6
        duration_s = song_duration_s if is_whole else min(self.duration_s, song_duration_s)
        return replace(
            self,
            tempo_bpm=self.tempo_bpm * factor,
            song_duration_s=song_duration_s,
            song_chords=scaled(self.song_chords),
            song_melody=scaled(self.song_melody),
            song_sections=scaled(self.song_sections),
            start_s=min(self.start_s / factor, song_duration_s - duration_s),
            duration_s=duration_s,
        )

    def to_dict(self) -> dict:
        """The window as plain lists, numbers and strings, for a manifest or a JSON file."""
        return {
            "seed": self.seed,
            "tonic": self.tonic,
            "mode": self.mode,
            "tempo_bpm": self.tempo_bpm,
            "meter": self.meter,
            "swing": self.swing,
            "style": self.style,
            "start_s": self.start_s,
            "duration_s": self.duration_s,
            "tuning_cents": self.tuning_cents,
            "singer": asdict(self.singer),
            "beat_times": self.beat_times.tolist(),
            "downbeat_times": self.downbeat_times.tolist(),
            "chords": [list(chord) for chord in self.chords],
            "melody": [list(note) for note in self.melody],
            "sections": [list(section) for section in self.sections],
        }
