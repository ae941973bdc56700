"""Result folders of the command line: one per accompaniment, never overwritten, with the settings that made it."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import as_finite, write_audio_blocks
from accompgen_hf.accompgen.lead_sheet_accompgen import goes_on
from accompgen_hf.accompgen.mixing_accompgen import mix_blocks
from accompgen_hf.accompgen.options_accompgen import GENERATION_OPTIONS, is_of_kind
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.app.delivery import Delivery, hash_audio, plan_count_in, read_tags
from accompgen_hf.app.delivery_choices import DEFAULT_FORMAT, FORMATS, MAX_COUNT_IN_BARS
from accompgen_hf.app.kept_codes import CODES_FILE, has_codes, write_codes
from accompgen_hf.app.lead_sheet_files import SHEET_FILES, move_sheet, write_sheet_files
from accompgen_hf.app.picture import draw_picture
from accompgen_hf.files import hash_file, publish_file, replace_patiently

# What a settings file may ask for, with the kind of its value; `null` always means "not set".
SETTINGS_KINDS: dict[str, type] = {
    "vocals": str,
    "model": str,
    "separate": str,
    "separate_preset": str,
    "separate_n_fft": int,
    "separate_gain": float,
    "separate_stem": str,
    "best_of": int,
    "format": str,
    "count_in": int,
    **{option.key: option.kind for option in GENERATION_OPTIONS.values() if option.is_setting},
}
# What a written file also says, and `read_settings` hands on unread.
RECORD_KEYS = ("made_with", "files", "codes", "ranking", "regenerated")

AUDIO_NAMES = ("accompaniment", "mix")  # and the format's ending
_MAX_NAME_BYTES = 120  # file systems end at 255, some tools at less
_FORBIDDEN = set('<>:"/\\|?*')


def result_name(vocals: str | os.PathLike, seed: int) -> str:
    """Folder name `<name>-seed<seed>`, with what no file system takes replaced by `_`."""
    name = "".join("_" if char in _FORBIDDEN or not char.isprintable() else char for char in Path(vocals).stem)
    name = name.encode("utf-8", "replace")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(". ")
    return f"{name or 'vocals'}-seed{seed}"


def take_name(folder_name: str) -> str:
    """Name of another take, before its number: `my-seed7-take` of the folder `my-seed7` or `my-seed7-take-3`."""
    return re.sub(r"-take-\d+$", "", folder_name) + "-take"


def write_result(
    parent: str | os.PathLike,
    settings: Mapping[str, Any],
    vocals: np.ndarray | Recording,
    sampling_rate: int,
    result: Mapping[str, Any],
    made_with: Mapping[str, Any],
    name: str | None = None,
    earlier_sheet: Mapping[str, Any] | None = None,
) -> Path:
    """Write one result into a new folder of `parent`.

    Args:
        settings: Keys of `SETTINGS_KINDS`, with `vocals` and `seed`.
        vocals: float32 of shape `(channels, num_samples)`, or a `Recording`, for the picture.
        sampling_rate (`int`): Rate of `vocals` in Hz.
        result: Result of the pipeline: `audio`, `mix`, `sampling_rate`, `stems` of a model with several parts, codes,
            and `lead_sheet` and `ranking` if there are any.
        made_with: Model and device, added to the record.
        name (`str`, *optional*): Name of the folder; `None` is `<name of the vocals>-seed<seed>`. Where something has
            this name already, a number follows it.
        earlier_sheet (`dict`, *optional*): Lead sheet of the result of which this is another take: its count-in stays
            where something of it does.

    Returns:
        The folder: `accompaniment.wav`, `mix.wav`, the parts such as `drums.wav`, `picture.png`, `codes.safetensors`
        and, last of all, `settings.json`. Its name is the title of lead sheet and picture.

    Raises:
        OSError: If something cannot be written. Nothing is left behind, unless all of it is written and cannot get its
            name: then the message says where it is.
    """
    rate = result["sampling_rate"]
    title = free_name(parent, result_name(settings["vocals"], settings["seed"]) if name is None else name)
    lead_sheet = result.get("lead_sheet")
    num_samples = result["audio"].shape[-1]
    stays = earlier_sheet is not None and goes_on(earlier_sheet, result["regenerated"], num_samples / rate)
    delivery = _plan_delivery(settings, made_with, earlier_sheet if stays else lead_sheet, rate)

    def fill(folder: Path) -> None:
        for sound, audio in zip(AUDIO_NAMES, (result["audio"], result["mix"]), strict=True):
            audio = np.atleast_2d(as_finite(audio, f"`{sound}`"))
            delivery.write(folder, sound, [audio], *audio.shape, has_clicks=sound == "mix")
        for part, stem in result.get("stems", {}).items():
            delivery.write_stem(folder, part, [as_finite(stem, f"`{part}`")[None]], num_samples)
        if delivery.count_in.num_samples:
            voice = vocals if isinstance(vocals, Recording) else Recording(vocals, sampling_rate)
            delivery.write(folder, "vocals", voice.blocks(rate), voice.num_channels, num_samples)
        sounds = vocals, result["audio"], result["mix"]
        rates = (sampling_rate, rate, rate)
        _write_extras(folder, title, delivery, lead_sheet, *sounds, rates)
        if has_codes(result):
            write_codes(folder / CODES_FILE, result)

    if "ranking" in result:
        settings = {**settings, "ranking": {**result["ranking"], "seed": result["seed"]}}
    return write_folder(parent, title, settings, made_with, fill)


def write_part_result(
    parent: str | os.PathLike,
    settings: Mapping[str, Any],
    vocals: Recording,
    part_path: str | os.PathLike,
    made_with: Mapping[str, Any],
    accompaniment_lufs_offset: float = -3.0,
    stem_paths: Mapping[str, Path] | None = None,
    lead_sheet: Mapping[str, Any] | None = None,
    codes: Mapping[str, Any] | None = None,
) -> Path:
    """Do as `write_result` with an accompaniment that is in a file already: mix in blocks, and move the file in.

    Args:
        part_path: File of the accompaniment, on the same disk as `parent`.
        accompaniment_lufs_offset (`float`): The same as in `mix`.
        stem_paths (`dict` of `str` to `Path`, *optional*): Files of the parts by name, on this disk, too.
        lead_sheet (`dict`, *optional*): `lead_sheet` of the stream.
        codes (`dict`, *optional*): The codes, as in a result of the pipeline.
        parent, settings, vocals, made_with: The same as in `write_result`.
    """

    accompaniment = Recording(part_path)
    title = free_name(parent, result_name(settings["vocals"], settings["seed"]))
    delivery = _plan_delivery(settings, made_with, lead_sheet, accompaniment.sampling_rate)

    def fill(folder: Path) -> None:
        rate, num_samples = accompaniment.sampling_rate, accompaniment.num_samples
        plain_mix = folder / ("mix.wav" if delivery.keeps_files else ".mix.wav")
        blocks = mix_blocks(lambda: vocals.blocks(rate), accompaniment.blocks, rate, accompaniment_lufs_offset)
        write_audio_blocks(plain_mix, blocks, rate, vocals.num_channels, num_samples)
        mixed = Recording(plain_mix)
        _write_extras(folder, title, delivery, lead_sheet, vocals, accompaniment, mixed, rate)
        if delivery.count_in.num_samples:
            delivery.write(folder, "vocals", vocals.blocks(rate), vocals.num_channels, num_samples)
        for name, path in (stem_paths or {}).items():
            if delivery.count_in.num_samples:
                delivery.write_stem(folder, name, Recording(path).blocks(), num_samples)
            else:
                publish_file(path, folder / f"{name}.wav")
        if codes is not None:
            write_codes(folder / CODES_FILE, codes)
        if delivery.keeps_files:
            publish_file(part_path, folder / "accompaniment.wav")
        else:
            delivery.write(folder, "mix", mixed.blocks(), mixed.num_channels, num_samples, has_clicks=True)
            plain_mix.unlink()
            delivery.write(folder, "accompaniment", accompaniment.blocks(), 1, num_samples)

    folder = write_folder(parent, title, settings, made_with, fill)
    for path in (part_path, *(stem_paths or {}).values()):
        Path(path).unlink(missing_ok=True)  # where it was copied, not moved
    return folder


def _plan_delivery(
    settings: Mapping[str, Any], made_with: Mapping[str, Any], lead_sheet: Mapping[str, Any] | None, sampling_rate: int
) -> Delivery:
    record = {**settings, "made_with": {**made_with, **library_versions()}}
    try:
        count_in = plan_count_in(lead_sheet, settings.get("count_in", 0), sampling_rate)
    except ValueError as error:  # the accompaniment is finished, and is worth more than its count-in
        warnings.warn(f"There is no count-in ({error})", UserWarning, stacklevel=2)
        count_in = plan_count_in(None, 0, sampling_rate)
    return Delivery(settings, record, result_name(settings["vocals"], settings["seed"]), count_in)


def write_folder(
    parent: str | os.PathLike,
    name: str,
    settings: Mapping[str, Any],
    made_with: Mapping[str, Any],
    fill: Callable[[Path], None],
) -> Path:
    """Make a result folder of `parent` with what `fill(folder)` writes, and the record of how it was made."""
    parent = Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    # Everything is written aside first: a folder that bears a result's name is complete, or was cut off while moving
    # and has no settings.json.
    aside, is_written = Path(tempfile.mkdtemp(prefix=".accompgen-", dir=parent)), False
    try:
        fill(aside)
        is_written = True
        record = {
            **settings,
            "made_with": {**made_with, **library_versions()},
            "files": {file_name: hash_audio(aside / file_name) for file_name in list_audio(aside)},
        }
        if (aside / CODES_FILE).exists():
            record["codes"] = {CODES_FILE: hash_file(aside / CODES_FILE)}
        (aside / "settings.json").write_bytes(encode_record(record))
        return _move_into_new_folder(aside, parent, name)
    except OSError as error:
        if not is_written:
            raise
        kept = aside.with_name(aside.name.lstrip("."))  # so that a person sees it
        with contextlib.suppress(OSError):
            replace_patiently(aside, kept)
        place = kept if kept.exists() else aside
        raise OSError(f"the finished files could not be moved ({error}); they are in {str(place)!r}") from error
    finally:
        if not is_written or not any(aside.glob("*")):
            shutil.rmtree(aside, ignore_errors=True)


def list_audio(folder: Path) -> list[str]:
    """Names of the audio files of a result: accompaniment, mix, and others such as parts, if there are any."""
    names = [path.name for path in folder.iterdir() if path.suffix[1:] in FORMATS and not path.name.startswith(".")]
    return sorted(names, key=lambda name: (Path(name).stem not in AUDIO_NAMES, name))


def audio_files(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the files of accompaniment and mix that a result with these settings has."""
    return tuple(f"{name}.{settings.get('format') or DEFAULT_FORMAT}" for name in AUDIO_NAMES)


def encode_record(record: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. Names of files that are not UTF-8 are escaped: Python reads them back as the same bytes."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text + "\n"
    ).encode()


def check_parent(parent: str | os.PathLike) -> None:
    """See that the folder of the results can be made and written: before the work, not behind it.

    Raises:
        ValueError: If it is a file, or cannot be made or written.
    """
    folder = os.path.abspath(parent)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    try:
        with tempfile.TemporaryFile(prefix=".accompgen-", dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        reason = f"{folder} is a file" if os.path.isfile(folder) else error.strerror or str(error)
        raise ValueError(f"`--output` {os.fspath(parent)!r} cannot be written: {reason}.") from error


def _move_into_new_folder(aside: Path, parent: Path, name: str) -> Path:
    folder = make_new_folder(parent, name)
    moved = []
    try:
        for path in sorted(aside.iterdir(), key=lambda path: path.name == "settings.json"):
            publish_file(path, folder / path.name)
            moved.append(path.name)
    except BaseException:
        for file_name in moved:
            replace_patiently(folder / file_name, aside / file_name)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _write_extras(folder: Path, title: str, delivery: Delivery, sheet: Any, *sounds: Any) -> None:
    """Write lead sheet and picture. The sheet begins with the files, the picture with the vocals."""
    count_in = delivery.count_in
    if sheet is not None:
        moved = move_sheet(sheet, count_in.duration_s) if count_in.num_samples else sheet
        files = [folder / name for name in SHEET_FILES]
        before = count_in.duration_s, count_in.click_times
        _try_to_write(files, "lead sheet", lambda: write_sheet_files(folder, moved, title, *before))
    path = folder / "picture.png"
    _try_to_write([path], "picture", lambda: draw_picture(path, *sounds, title=title, lead_sheet=sheet))


def _try_to_write(paths: Sequence[Path], what: str, write: Callable[[], None]) -> None:
    """Write what belongs to the audio; a failure costs it alone, not the audio that is finished."""
    try:
        write()
    except OSError:  # a full disk spoils the rest, too
        raise
    except Exception as error:
        for path in paths:
            path.unlink(missing_ok=True)
        warnings.warn(f"The {what} could not be made ({error}). The audio is complete.", UserWarning, stacklevel=2)


def free_name(parent: str | os.PathLike, name: str, number: int = 1) -> str:
    """`name`, or `name-2`, `name-3`, ...: the first that nothing in `parent` has; with a `number` of 2 not `name`."""
    while os.path.lexists(Path(parent, found := name if number == 1 else f"{name}-{number}")):
        number += 1
    return found


def make_new_folder(parent: Path, name: str) -> Path:
    """Make a folder of `parent` with the first free name; two processes never share one."""
    while True:
        folder = parent / free_name(parent, name)
        with contextlib.suppress(FileExistsError):  # another process was faster
            folder.mkdir()
            return folder


def library_versions() -> dict[str, str]:
    """List the versions of libraries that can change a token."""
    versions = {"python": platform.python_version()}
    for name in ("accompgen_hf", "torch", "transformers"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a source folder that is not installed
            versions[name] = "unknown"
    return versions


def read_settings(path: str | os.PathLike) -> dict[str, Any]:
    """Read and check a settings file, one that a run has written or one written by hand, or the tags of a take.

    Returns:
        Keys of `SETTINGS_KINDS` that are set; `made_with` and `files` as they stand, where present.

    Raises:
        ValueError: If the file cannot be read, is not such JSON, or a key or type is not among them.
    """
    is_audio = Path(path).suffix[1:].lower() in FORMATS
    tags = read_tags(path) if is_audio else None
    try:
        # Bytes may begin with the mark that Windows programs write.
        settings = json.loads(Path(path).read_bytes() if tags is None else tags)
    except (OSError, ValueError) as error:
        raise ValueError(f"`--settings` {os.fspath(path)!r} cannot be read as JSON ({error}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"`--settings` must hold one JSON object, got {type(settings).__name__}.")
    checked = {}
    for key, value in settings.items():
        if key in RECORD_KEYS:
            if isinstance(value, dict):
                checked[key] = value
            continue
        if key not in SETTINGS_KINDS:
            raise ValueError(f"`--settings` holds the unknown key {key!r}, allowed are {', '.join(SETTINGS_KINDS)}.")
        if value is None:
            continue
        kind = SETTINGS_KINDS[key]
        if not is_of_kind(value, kind):
            expected = "int or float" if kind is float else kind.__name__
            raise ValueError(f"`--settings` key {key!r} must be {expected}, got {value!r}.")
        if key == "format" and value not in FORMATS:
            raise ValueError(f"`--settings` key 'format' must be one of {', '.join(FORMATS)}, got {value!r}.")
        if key == "count_in" and not 0 <= value <= MAX_COUNT_IN_BARS:
            raise ValueError(f"`--settings` key 'count_in' must be from 0 to {MAX_COUNT_IN_BARS}, got {value!r}.")
        checked[key] = value
    return checked
