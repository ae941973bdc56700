"""Renders that grow on disk and survive a kill: NAME.part.wav, and beside it the codes that are final.

Every line of the codes' file is one piece with a checksum; an incomplete last line is dropped. A render that goes on
decodes the known codes again and writes the same bytes. That takes a small part of the time that making them took.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from accompgen_hf.accompgen.audio_accompgen import MAX_WAV_BYTES, erase_write_time, resampled_length
from accompgen_hf.accompgen.fingerprint_accompgen import hash_json, hash_module_state
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES
from accompgen_hf.files import write_text


class Rendered(NamedTuple):
    """What a stream leaves beside its part file.

    Attributes:
        stem_paths (`dict` of `str` to `Path`): Files of the band's parts, 32-bit float; none for a model of one part.
        lead_sheet (`dict`, *optional*): What was heard in it, unless that was refused.
    """

    stem_paths: dict[str, Path]
    lead_sheet: dict[str, Any] | None


class CodeJournal:
    """The codes of an unfinished render, in a file.

    Args:
        path: The file. It is made if it is missing, and made anew if it belongs to other settings.
        fingerprint (`str`): Hash of everything that decides about the codes.

    Attributes:
        known_codes (`dict` of `str` to `torch.LongTensor`): Codes of an earlier run, `(1, T)` or `(1, K, T)`.
    """

    def __init__(self, path: str | os.PathLike, fingerprint: str):
        self.path = Path(path)
        lines = list(self._read_lines(fingerprint))
        self._num_heard: dict[str, int] = {}
        self._heard: dict[str, list[torch.Tensor]] = {}  # everything, for the finished result
        pieces: dict[str, list[torch.Tensor]] = {}
        for line in lines:
            codes = np.frombuffer(base64.b64decode(line["codes"]), "<i2").reshape(line["shape"])
            pieces.setdefault(line["name"], []).append(torch.from_numpy(codes.astype(np.int64)))
        self.known_codes = {name: torch.cat(parts, dim=-1) for name, parts in pieces.items()}
        # The new file lacks the line that was cut off, and it replaces the old one atomically.
        write_text(self.path, "".join(map(_to_line, [{"fingerprint": fingerprint}, *lines])))
        self._file = open(self.path, "a", encoding="ascii")  # noqa: SIM115

    def _read_lines(self, fingerprint: str) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_text("ascii", errors="replace").split("\n")[:-1]
        except FileNotFoundError:
            return
        for number, line in enumerate(lines):
            text, _, checksum = line.rpartition(" ")
            if f"{binascii.crc32(text.encode('ascii', 'replace')):08x}" != checksum:
                return
            content = json.loads(text)
            if number:
                yield content
            elif content != {"fingerprint": fingerprint}:
                return

    def append(self, name: str, codes: torch.LongTensor) -> None:
        """Write the next codes of this name, unless they are known."""
        self._heard.setdefault(name, []).append(codes.to("cpu", torch.int16))
        start = self._num_heard.get(name, 0)
        self._num_heard[name] = start + codes.shape[-1]
        num_known = self.known_codes[name].shape[-1] if name in self.known_codes else 0
        codes = codes[..., max(0, num_known - start) :]
        if codes.shape[-1]:
            values = base64.b64encode(codes.cpu().numpy().astype("<i2").tobytes()).decode("ascii")
            self._file.write(_to_line({"name": name, "shape": list(codes.shape), "codes": values}))
            self._file.flush()

    def all_codes(self) -> dict[str, torch.Tensor]:
        """All codes that were appended, without the batch axis: those of a result once it is finished."""
        return {name: torch.cat(pieces, dim=-1)[0] for name, pieces in self._heard.items()}

    @property
    def is_worth_keeping(self) -> bool:
        """Whether a stage has given codes. The codes of the vocals alone are made again in a moment."""
        return bool({*self.known_codes, *self._num_heard} - set(CODE_NAMES[:1]))

    def close(self) -> None:
        """Close the file; its lines stay."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file, once the render is finished."""
        self.close()
        self.path.unlink()


def _to_line(content: Mapping[str, Any]) -> str:
    text = json.dumps(content)
    return f"{text} {binascii.crc32(text.encode('ascii')):08x}\n"


class GrowingWav:
    """A mono WAV file that is complete, and can be played, after every `append`.

    Args:
        path: The file to write; an existing file is replaced.
        sampling_rate (`int`): Rate in Hz.
        num_samples (`int`): Expected final length. A file beyond 4 GiB becomes RF64.
        subtype (`str`): `"PCM_24"` clips at full scale, `"FLOAT"` does not.
    """

    def __init__(self, path: str | os.PathLike, sampling_rate: int, num_samples: int, subtype: str = "PCM_24"):
        self._soundfile = import_optional("soundfile", "Writing audio files")
        self.path, self._subtype = os.fspath(path), subtype
        file_format = "RF64" if num_samples * 4 > MAX_WAV_BYTES else "WAV"
        with self._soundfile.SoundFile(self.path, "w", sampling_rate, 1, subtype=subtype, format=file_format):
            pass

    def append(self, audio: np.ndarray) -> None:
        """Append mono audio `(num_samples,)`.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            with self._soundfile.SoundFile(self.path, "r+") as file:
                file.seek(0, self._soundfile.SEEK_END)
                file.write(audio if self._subtype == "FLOAT" else np.clip(audio, -1.0, 1.0))
            if self._subtype == "FLOAT":
                erase_write_time(self.path)
        except (RuntimeError, AssertionError) as error:  # soundfile asserts that all frames were written
            raise OSError(f"{self.path!r} could not be written ({error}). Is the disk full?") from error


def render_fingerprint(pipe: Any, settings: Mapping[str, Any], made_with: Mapping[str, Any], vocals: Recording) -> str:
    """Hash everything that decides about a render's codes: settings, libraries, model and the vocals themselves."""
    parts = {"settings": dict(settings), "made_with": dict(made_with), "vocals": vocals.sample_hash()}
    return hash_json({**parts, "model": hash_module_state(pipe.model)})


def open_journal(part_path: str | os.PathLike, fingerprint: str) -> CodeJournal:
    """Open the journal of a part file: the codes of `NAME.part.wav` lie beside it, in `NAME.part.codes`."""
    return CodeJournal(Path(part_path).with_suffix(".codes"), fingerprint)


def stem_path(part_path: str | os.PathLike, name: str) -> Path:
    """Give the file of one part of the band: `NAME.drums.part.wav` beside `NAME.part.wav`."""
    part_path = Path(part_path)
    return part_path.with_name(f"{part_path.name.removesuffix('.part.wav')}.{name}.part.wav")


def render_to_part(
    pipe: Any,
    vocals: Recording,
    part_path: str | os.PathLike,
    journal: CodeJournal,
    progress: Any = None,
    **options: Any,
) -> Rendered:
    """Stream an accompaniment into a part file, and go on where the run that left the journal's codes stopped.

    Args:
        vocals (`Recording`): The recording, which is read in blocks.
        part_path: The file to write; it ends in `.part.wav`.
        journal (`CodeJournal`): The result of `open_journal`. Remove it once the result is complete.
        progress (`Callable`, *optional*): Called with the number of seconds that are written.
        options: Further arguments for `pipe.stream`.

    Returns:
        `Rendered`.
    """
    part_path = Path(part_path)
    wavs: dict[str, GrowingWav] = {}
    for name in pipe.model.config.part_names:  # a stopped run may have asked for more of them
        stem_path(part_path, name).unlink(missing_ok=True)
    try:
        stream = pipe.stream(
            vocals.mono_blocks(vocals.sampling_rate),
            sampling_rate=vocals.sampling_rate,
            vocals_lufs=vocals.mono_loudness(pipe.processor.sampling_rate),
            known_codes=journal.known_codes,
            on_codes=journal.append,
            **options,
        )
        num_samples = resampled_length(vocals.num_samples, vocals.sampling_rate, stream.sampling_rate)
        wav = GrowingWav(part_path, stream.sampling_rate, num_samples)
        for start_s, audio in stream:
            wav.append(audio)
            for name, stem in stream.stems.items():
                if name not in wavs:
                    path = stem_path(part_path, name)
                    wavs[name] = GrowingWav(path, stream.sampling_rate, num_samples, subtype="FLOAT")
                wavs[name].append(stem)
            if progress is not None:
                progress(start_s + len(audio) / stream.sampling_rate)
    except BaseException:
        journal.close()
        if not journal.is_worth_keeping:  # the recording was refused, or the work was stopped at once
            journal.remove()
            for path in (part_path, *(wav.path for wav in wavs.values())):
                Path(path).unlink(missing_ok=True)
        raise
    return Rendered({name: Path(wav.path) for name, wav in wavs.items()}, stream.lead_sheet)
