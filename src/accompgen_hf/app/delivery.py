"""How the files of a result are handed over: their format, the settings in their tags, and a count-in before them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import write_audio_blocks
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.delivery_choices import DEFAULT_FORMAT
from accompgen_hf.app.lead_sheet_files import beat_step_s
from accompgen_hf.files import hash_file

SUBTYPES = {"wav": "PCM_24", "flac": "PCM_24", "mp3": "MPEG_LAYER_III", "ogg": "VORBIS"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_CLICK_S, _CLICK_LEVEL, _BAR_HZ, _BEAT_HZ = 0.03, 0.25, 1600.0, 1000.0
_NEAR_S = 0.005  # a beat that is so near to the start is the start


class CountIn(NamedTuple):
    """What precedes the audio.

    Attributes:
        num_samples (`int`), sampling_rate (`int`): Its length, and the rate in Hz.
        click_times (`tuple` of `float`): Seconds of its clicks; the first is at 0.
        meter (`int`): Every so many clicks a bar begins.
    """

    num_samples: int
    sampling_rate: int
    click_times: tuple[float, ...] = ()
    meter: int = 4

    @property
    def duration_s(self) -> float:
        """Seconds by which everything is later."""
        return self.num_samples / self.sampling_rate

    def silence(self, num_channels: int) -> np.ndarray:
        """float32 `(num_channels, num_samples)`."""
        return np.zeros((num_channels, self.num_samples), np.float32)

    def clicks(self, num_channels: int) -> np.ndarray:
        """float32 `(num_channels, num_samples)`: short tones, higher at the beginning of a bar."""
        audio = np.zeros(self.num_samples, np.float32)
        time = np.arange(round(_CLICK_S * self.sampling_rate)) / self.sampling_rate
        for index, start_s in enumerate(self.click_times):
            hertz = _BEAT_HZ if index % self.meter else _BAR_HZ
            click = _CLICK_LEVEL * np.sin(2 * np.pi * hertz * time) * np.exp(-time / 0.006)
            first = round(start_s * self.sampling_rate)
            audio[first : first + len(click)] += click[: self.num_samples - first]
        return np.tile(audio, (num_channels, 1))


def plan_count_in(sheet: Mapping[str, Any] | None, num_bars: int, sampling_rate: int) -> CountIn:
    """Bars of clicks in the tempo of the accompaniment, in even steps that go on to its first beat.

    Where the audio begins within a bar, or before its first beat, the clicks go on until it begins.

    Args:
        sheet (`dict`, *optional*): A `result["lead_sheet"]`.
        num_bars (`int`): Whole bars of clicks.
        sampling_rate (`int`): Rate of the files in Hz.

    Raises:
        ValueError: If bars are asked for and no beat was heard.
    """
    if num_bars == 0:
        return CountIn(0, sampling_rate)
    if sheet is None or not sheet["beat_times"]:
        raise ValueError("`count_in` must be 0 here: no beat was heard in the accompaniment.")
    step_s, meter, first_s = beat_step_s(dict(sheet)), sheet["meter"], sheet["beat_times"][0]
    num_beats = -sheet["beat_times"].index(sheet["downbeat_times"][0]) % meter  # of its bar before the first beat
    while num_beats * step_s < first_s - _NEAR_S:  # the audio begins in a bar before that
        num_beats += meter
    num_samples = round(((num_bars * meter + num_beats) * step_s - first_s) * sampling_rate)
    times = np.arange(0.0, num_samples / sampling_rate - _NEAR_S, step_s)
    return CountIn(num_samples, sampling_rate, tuple(map(float, times)), meter)


class Delivery:
    """Writes the audio files of one result.

    Args:
        settings: Settings of the result; `format` and `count_in` may be among them.
        record: What the tags hold: the settings and what they were made with. Without `format` in the settings
            there are no tags.
        count_in (`CountIn`): What precedes every file.
    """

    def __init__(self, settings: Mapping[str, Any], record: Mapping[str, Any], title: str, count_in: CountIn):
        self.count_in = count_in
        self.suffix = f".{settings.get('format', DEFAULT_FORMAT)}"
        self._tags = make_tags(record, title) if "format" in settings else {}

    @property
    def keeps_files(self) -> bool:
        """Whether a 24-bit WAV file can be handed over as it is."""
        return self.suffix == ".wav" and not self._tags and self.count_in.num_samples == 0

    def write(
        self,
        folder: Path,
        name: str,
        blocks: Iterable[np.ndarray],
        num_channels: int,
        num_samples: int,
        has_clicks: bool = False,
    ) -> Path:
        """Write one file of the result's format.

        Args:
            folder (`Path`), name (`str`): Where, and what it is called without its ending.
            blocks (iterable of `np.ndarray`): Consecutive blocks `(num_channels, num_samples)`.
            num_channels (`int`), num_samples (`int`): Shape of all blocks together.
            has_clicks (`bool`): Whether the count-in is heard, or silence of its length.
        """
        path = folder / f"{name}{self.suffix}"
        self._write(path, blocks, num_channels, num_samples, has_clicks, SUBTYPES[self.suffix[1:]], self._tags)
        return path

    def write_stem(self, folder: Path, name: str, blocks: Iterable[np.ndarray], num_samples: int) -> Path:
        """Write one part of the band, in 32-bit float WAV: a part alone may pass full scale where the sum does not."""
        path = folder / f"{name}.wav"
        self._write(path, blocks, 1, num_samples, False, "FLOAT", {})
        return path

    def _write(
        self,
        path: Path,
        blocks: Iterable[np.ndarray],
        num_channels: int,
        num_samples: int,
        has_clicks: bool,
        subtype: str,
        tags: Mapping[str, str],
    ) -> None:
        count_in = self.count_in
        if count_in.num_samples:
            before = count_in.clicks(num_channels) if has_clicks else count_in.silence(num_channels)
            blocks = chain([before], blocks)
        total = count_in.num_samples + num_samples
        write_audio_blocks(path, blocks, count_in.sampling_rate, num_channels, total, subtype, tags)


def make_tags(record: Mapping[str, Any], title: str) -> dict[str, str]:
    """Tags by their names in soundfile: title, program, and the settings as JSON in the comment.

    ASCII alone: what others are in an MP3 depends on who reads them.
    """
    return {
        "title": title.encode("ascii", "replace").decode("ascii"),
        "software": "accompgen_hf",
        "comment": json.dumps(record, ensure_ascii=True, allow_nan=False),
    }


def read_tags(path: str | Path) -> bytes:
    """The settings in a file's tags, as JSON.

    Raises:
        ValueError: If the file cannot be read, or has none.
    """
    soundfile = import_optional("soundfile", "Reading audio files")
    try:
        with soundfile.SoundFile(path) as file:
            comment = file.comment
    except (RuntimeError, OSError) as error:
        raise ValueError(f"`--settings` {str(path)!r} cannot be read ({error}).") from error
    if not comment.startswith("{"):
        raise ValueError(
            f"`--settings` {str(path)!r} has no settings in its tags: give a file that was made with `--format`, or "
            "the settings.json of its folder."
        )
    return comment.encode()


def check_format(file_format: str, sampling_rate: int, num_channels: int) -> None:
    """See that a format takes a recording, before the work.

    Raises:
        ValueError: If it does not; the message says what to do.
    """
    if file_format == "mp3" and sampling_rate not in _MP3_RATES:
        raise ValueError(
            f"`--format mp3` takes {', '.join(map(str, _MP3_RATES))} Hz, got {sampling_rate}: add `--rate 48000`."
        )
    most = {"mp3": 2, "flac": 8}.get(file_format)
    if most is not None and num_channels > most:
        raise ValueError(
            f"`--format {file_format}` takes at most {most} channels, got {num_channels}: use wav or ogg."
        )


def blocks_of(audio: np.ndarray | Recording, sampling_rate: int) -> Iterator[np.ndarray]:
    """Consecutive blocks `(channels, num_samples)` of a recording at this rate, or of an array that has it."""
    if isinstance(audio, Recording):
        yield from audio.blocks(sampling_rate)
    else:
        yield np.atleast_2d(audio)


def hash_audio(path: Path) -> str:
    """Hash that the same audio has again: of the file, or of its samples for Ogg, whose serial numbers are drawn."""
    return Recording(path).sample_hash() if path.suffix == ".ogg" else hash_file(path)
