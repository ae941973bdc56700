"""Notes through a General MIDI SoundFont: `tinysoundfont` (MIT) plays, and this module says what is missing.

`pip install --no-deps tinysoundfont` is enough: its dependency pyaudio plays to loudspeakers and is not needed.
"""

import importlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import resample
from accompgen_hf.accompgen.whole_files_accompgen import hash_file

DEFAULT_SOUNDFONT = "/usr/share/sounds/sf2/FluidR3_GM.sf2"
_DRUM_BANK, _DRUM_CHANNEL = 128, 9
_LOWEST_RENDER_RATE = 44100  # the samples' own rate: the player only interpolates, below it they would alias
_NUMPY_HINT = 'or use `renderer="numpy"`, which needs neither'


class KeyStroke(NamedTuple):
    """One key: seconds from the start of the sound (they may be negative), MIDI key and velocity."""

    start_s: float
    end_s: float
    key: int
    velocity: int


def find_soundfont(soundfont: str | os.PathLike | None = None) -> Path:
    """The SoundFont to play with.

    Args:
        soundfont (`str`, *optional*): A `.sf2` file. `None` means FluidR3 GM where Debian installs it.

    Raises:
        ValueError: If there is no such file.
    """
    path = Path(DEFAULT_SOUNDFONT if soundfont is None else soundfont)
    if not path.is_file():
        raise ValueError(
            f"`soundfont` {path} is not a file. Install FluidR3 GM (`apt install fluid-soundfont-gm`), give any "
            f"General MIDI bank by `soundfont=FILE` (on the command line `--soundfont FILE`), {_NUMPY_HINT}."
        )
    return path


def soundfont_sha256(soundfont: str | os.PathLike | None = None) -> str:
    """SHA-256 of the SoundFont's content, for manifests: another bank makes other songs."""
    path = find_soundfont(soundfont)
    return _hash_file(str(path), path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _hash_file(path: str, size: int, mtime_ns: int) -> str:
    return hash_file(path)


def import_tinysoundfont() -> Any:
    """Return the module `tinysoundfont`.

    Raises:
        ImportError: If it is missing; says how to install it, and what does without.
    """
    try:
        return importlib.import_module("tinysoundfont")
    except Exception as error:  # a broken shared library raises OSError
        raise ImportError(
            f'`renderer="soundfont"` needs tinysoundfont ({error}). Run `pip install --no-deps tinysoundfont` (its '
            "dependency pyaudio is not needed and often does not build) and install a SoundFont "
            f"(`apt install fluid-soundfont-gm`, or `soundfont=FILE`, `--soundfont FILE`), {_NUMPY_HINT}."
        ) from error


class SoundFontPlayer:
    """A synthesizer with one SoundFont. Open it by [`SoundFontPlayer.open`], which keeps the last one.

    Args:
        path (`Path`): A `.sf2` file.
        sampling_rate (`int`): Rate of the result of `play` in Hz.

    Raises:
        ImportError: If `tinysoundfont` is missing.
        ValueError: If the file is not a SoundFont.
    """

    def __init__(self, path: Path, sampling_rate: int):
        tinysoundfont = import_tinysoundfont()
        self.path, self.sampling_rate = path, sampling_rate
        self.render_rate = sampling_rate * -(-_LOWEST_RENDER_RATE // sampling_rate)
        self._synth = tinysoundfont.Synth(samplerate=self.render_rate, gain=-6)
        try:
            self._bank = self._synth.sfload(str(path))
        except RuntimeError as error:
            raise ValueError(f"`soundfont` {path} cannot be read as a SoundFont (.sf2): {error}.") from error

    @classmethod
    def open(cls, soundfont: str | os.PathLike | None, sampling_rate: int) -> "SoundFontPlayer":
        """The player of a SoundFont; loading takes half a second, so the last one is kept."""
        import_tinysoundfont()
        path = find_soundfont(soundfont)
        return _open_player(path, sampling_rate, path.stat().st_mtime_ns)

    def choose(self, rng: np.random.Generator, programs: Sequence[int], is_drums: bool = False) -> int:
        """Draw one of the programs (with `is_drums`, kits) that the SoundFont has.

        Raises:
            ValueError: If it has none of them.
        """
        bank = _DRUM_BANK if is_drums else 0
        found = [program for program in programs if self._synth.sfpreset_name(self._bank, bank, program) is not None]
        if not found:
            raise ValueError(
                f"`soundfont` {self.path} has none of the {'drum kits' if is_drums else 'programs'} "
                f"{sorted(set(programs))}: a General MIDI bank is needed."
            )
        return int(found[int(rng.integers(len(found)))])

    def play(
        self,
        program: int,
        strokes: Sequence[KeyStroke],
        num_samples: int,
        is_drums: bool = False,
        tuning_cents: float = 0.0,
    ) -> np.ndarray:
        """Play keys on one program.

        Args:
            program (`int`): General MIDI program, or with `is_drums` the kit.
            strokes (sequence of `KeyStroke`): Strokes in any order. Those before 0 are also played and ring on.
            num_samples (`int`): Number of samples from 0 on, at `sampling_rate`.
            is_drums (`bool`): Whether the program is a drum kit.
            tuning_cents (`float`): Tuning above A = 440 Hz, in cents.

        Returns:
            Mono, float32 `(num_samples,)`.
        """
        channel = _DRUM_CHANNEL if is_drums else 0
        self._silence()
        self._synth.program_select(channel, self._bank, _DRUM_BANK if is_drums else 0, program, is_drums)
        self._synth.set_tuning(channel, tuning_cents / 100.0)
        first_s = min([0.0, *(stroke.start_s for stroke in strokes)])
        events = [
            (round((time_s - first_s) * self.render_rate), is_on, stroke.key, stroke.velocity)
            for stroke in strokes
            for time_s, is_on in ((stroke.start_s, True), (max(stroke.end_s, stroke.start_s + 0.02), False))
        ]
        skipped = round(-first_s * self.render_rate)
        total = skipped + round(num_samples * self.render_rate / self.sampling_rate)
        blocks, position = [], 0
        for place, is_on, key, velocity in sorted(events):  # a key that is struck again is lifted first
            if place >= total:
                break
            if place > position:
                blocks.append(self._generate(place - position))
                position = place
            if is_on:
                self._synth.noteon(channel, key, velocity)
            else:
                self._synth.noteoff(channel, key)
        blocks.append(self._generate(total - position))
        wave = np.concatenate(blocks)[skipped:]
        return resample(wave[None], self.render_rate, self.sampling_rate)[0][:num_samples]

    def _silence(self) -> None:
        """Let nothing of the last sound be heard in the next: a voice that is cut fades for some milliseconds."""
        self._synth.sounds_off()
        self._generate(int(0.05 * self.render_rate))

    def _generate(self, num_samples: int) -> np.ndarray:
        stereo = np.frombuffer(self._synth.generate_simple(num_samples), dtype=np.float32)
        return stereo.reshape(-1, 2).mean(axis=1)


@lru_cache(maxsize=2)
def _open_player(path: Path, sampling_rate: int, mtime_ns: int) -> SoundFontPlayer:
    return SoundFontPlayer(path, sampling_rate)
