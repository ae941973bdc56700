"""Where songs come from, before and after separation: recordings, folders of songs, ready pairs.

A source gives a list of [`SourceRecording`]: nothing is decoded until it is asked for. `make_tracks` turns recordings
into the [`Track`]s that preparation tokenizes, with a separator where the source has no stems. FMA, MUSDB18 and
`datasets` are in corpora.py, procedural songs in song_source.py.
"""

import csv
import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import fold_to_mono, load_audio, resample
from accompgen_hf.accompgen.audio_files_accompgen import AUDIO_SUFFIXES, list_audio_files
from accompgen_hf.accompgen.parts_accompgen import to_name
from accompgen_hf.data.separation import Separator
from accompgen_hf.files import write_csv
from accompgen_hf.songs.band import PARTS

UNKNOWN_LICENCE = "unknown"
TABLE_NAME = "tracks.csv"
TABLE_COLUMNS = ("licence", "artist", "album", "split", "style")

Stems = tuple[np.ndarray, np.ndarray, int]  # vocals, instrumental, their sampling rate
PartStems = tuple[np.ndarray, dict[str, np.ndarray], int]  # vocals, the band's `PARTS` by name, their sampling rate


@dataclass(frozen=True)
class Track:
    """One aligned pair to tokenize.

    Attributes:
        track_id (`str`): Unique, and stable between runs.
        licence (`str`): Licence of the recording.
        load (`callable`): Function that gives vocals and instrumental, float32 `(num_samples,)`, and their rate.
        group (`str`, *optional*): Group that stays on one side of a split (artist, album). `None` means the track.
        split (`str`, *optional*): `"train"`, `"validation"` or `"test"`, where the source itself says so.
        load_parts (`callable`, *optional*): Function that gives vocals, a dictionary of drums, bass and other, and
            their rate, if parts were asked for.
        style (`str`, *optional*): Name of the style, if styles were asked for.
    """

    track_id: str
    licence: str
    load: Callable[[], Stems]
    group: str | None = None
    split: str | None = None
    load_parts: Callable[[], PartStems] | None = None
    style: str | None = None


@dataclass(frozen=True)
class SourceRecording:
    """One song of a source; audio is `(channels, num_samples)` at its own rate.

    Attributes:
        track_id (`str`): Unique in the source, and stable between runs.
        load_mix (`callable`): Function that gives the whole song and its sampling rate.
        load_stems (`callable`, *optional*): Function that gives vocals, instrumental and their rate, if the source has
            them. The lengths may differ: filtering decides about it.
        licence, artist, album (`str`, *optional*): Values that the source states.
        split (`str`, *optional*): `"train"`, `"validation"` or `"test"`, as the source says.
        files (tuple of `Path`): Files that it is read from; equal content is found by them.
        load_parts (`callable`, *optional*): Function that gives vocals, a dictionary of drums, bass and other, and
            their rate, if the source has them. The instrumental is the sum of the three.
        style (`str`, *optional*): Name of the style, if the source states one.
    """

    track_id: str
    load_mix: Callable[[], tuple[np.ndarray, int]]
    load_stems: Callable[[], Stems] | None = None
    licence: str = UNKNOWN_LICENCE
    artist: str | None = None
    album: str | None = None
    split: str | None = None
    files: tuple[Path, ...] = ()
    load_parts: Callable[[], PartStems] | None = None
    style: str | None = None


def folder_recordings(folder: str | os.PathLike, licence: str = UNKNOWN_LICENCE) -> list[SourceRecording]:
    """List a folder of whole songs, searched in depth.

    `artist/album/song` and `artist/song` give artist and album; a `tracks.csv` in the folder (`track_id` = path below
    the folder, then any of licence, artist, album, split, style) overrides both, and `licence`.

    Raises:
        ValueError: If there is no audio, or the table is not one.
    """
    folder = Path(folder)
    table = read_track_table(folder)
    recordings = []
    for path in list_audio(folder):
        relative = path.relative_to(folder)
        names = relative.parts[:-1]
        fields = {"licence": licence, "artist": names[0] if names else None}
        fields["album"] = "/".join(names[:2]) if len(names) > 1 else None
        fields.update(table.get(relative.as_posix(), {}))
        recordings.append(SourceRecording(relative.as_posix(), file_loader(path), files=(path,), **fields))
    return recordings


def pair_recordings(folder: str | os.PathLike, licence: str = UNKNOWN_LICENCE) -> list[SourceRecording]:
    """List ready pairs: `vocals/` and `instrumental/` with equal names, or one folder per track with both files.

    In a track's folder the files are called `vocals` and `instrumental` (or `accompaniment`, `no_vocals`), with any
    audio ending. `drums`, `bass` and `other` may be there beside the instrumental or in its place, which then is their
    sum. Track ids are the common names; see [`folder_recordings`] for `tracks.csv`.

    Raises:
        ValueError: If there is no pair, a half is missing, or there are two files for one half.
    """
    folder = Path(folder)
    table = read_track_table(folder)
    halves = _pairs_by_kind(folder) if (folder / "vocals").is_dir() else _pairs_by_track(folder)
    wrong = [(name, kinds) for name, kinds in sorted(halves.items()) if not _is_pair(kinds)]
    if wrong:
        name, kinds = wrong[0]
        raise ValueError(
            f"`data` {folder} must have one vocals and one instrumental file per track; {name!r} has "
            f"{', '.join(kinds) or 'none'} ({len(wrong)} such tracks). Add or remove files. Drums, bass and other "
            "together are an instrumental, too."
        )
    if not halves:
        raise ValueError(
            f"`data` {folder} must hold vocals/ and instrumental/ with equal names, or one folder per track with "
            "both; no pair was found."
        )
    recordings = []
    for name in sorted(halves):
        files, fields = halves[name], {"licence": licence, **table.get(name, {})}
        load = {kind: file_loader(path) for kind, path in files.items()}
        load_parts = parts_loader(load["vocals"], load) if set(PARTS) <= set(files) else None
        if "instrumental" in files:
            load_stems = stems_loader(load["vocals"], load["instrumental"])
        else:
            load_stems = part_sum_loader(load_parts)
        mix = mix_loader(load_stems)
        paths = tuple(files.values())
        recordings.append(SourceRecording(name, mix, load_stems, files=paths, load_parts=load_parts, **fields))
    return recordings


def _is_pair(kinds: Iterable[str]) -> bool:
    has_band = "instrumental" in kinds or set(PARTS) <= set(kinds)
    return "vocals" in kinds and has_band and not any(kind.startswith("two ") for kind in kinds)


def _pairs_by_kind(folder: Path) -> dict[str, dict[str, Path]]:
    halves: dict[str, dict[str, Path]] = {}
    parts = PARTS if all((folder / part).is_dir() for part in PARTS) else ()
    whole = () if parts and not (folder / "instrumental").is_dir() else ("instrumental",)
    for kind in ("vocals", *whole, *parts):
        for path in list_audio(folder / kind):
            name = path.relative_to(folder / kind).with_suffix("").as_posix()
            kinds = halves.setdefault(name, {})
            kinds[kind if kind not in kinds else f"two {kind}"] = path
    return halves


def _pairs_by_track(folder: Path) -> dict[str, dict[str, Path]]:
    kind_of = {"vocals": "vocals", "instrumental": "instrumental"}
    kind_of |= {"accompaniment": "instrumental", "no_vocals": "instrumental", **{part: part for part in PARTS}}
    halves: dict[str, dict[str, Path]] = {}
    for path in list_audio(folder):
        kind = kind_of.get(path.stem.lower())
        if kind is not None and path.parent != folder:
            kinds = halves.setdefault(path.parent.relative_to(folder).as_posix(), {})
            kinds[kind if kind not in kinds else f"two {kind}"] = path
    return halves


def list_audio(folder: str | os.PathLike) -> list[Path]:
    """Audio files below a folder, hidden ones left out, sorted.

    Raises:
        ValueError: If the folder does not exist or holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"`data` {folder} is not a folder. Check the path.")
    found = list_audio_files(folder)
    if not found:
        raise ValueError(f"`data` {folder} holds no audio ({', '.join(AUDIO_SUFFIXES)}).")
    return found


def read_track_table(folder: str | os.PathLike) -> dict[str, dict[str, str]]:
    """Read a folder's optional `tracks.csv`: track id to the fields that it states.

    Raises:
        ValueError: If it has no column `track_id`, or states a split that does not exist.
    """
    path = Path(folder) / TABLE_NAME
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if rows and "track_id" not in rows[0]:
        raise ValueError(f"{path} must have a column `track_id`, got {', '.join(map(str, rows[0]))}.")
    table = {row["track_id"]: {name: row[name] for name in TABLE_COLUMNS if row.get(name)} for row in rows}
    for fields in table.values():
        if "style" in fields:
            fields["style"] = to_name(fields["style"]) or None
    for track_id, fields in table.items():
        if fields.get("split", "train") not in ("train", "validation", "test"):
            raise ValueError(
                f"{path}: `split` must be train, validation or test, got {fields['split']!r} ({track_id})."
            )
    return table


def write_track_table(folder: str | os.PathLike, recordings: Iterable[SourceRecording]) -> None:
    """Write into `tracks.csv` what the source said about each recording; lines about others stay."""
    table = read_track_table(folder)
    for recording in recordings:
        table[recording.track_id] = {name: getattr(recording, name) or "" for name in TABLE_COLUMNS}
    rows = [
        [track_id, *(fields.get(name, "") for name in TABLE_COLUMNS)] for track_id, fields in sorted(table.items())
    ]
    write_csv(Path(folder) / TABLE_NAME, [["track_id", *TABLE_COLUMNS], *rows])


def pair_paths(
    folder: str | os.PathLike, track_id: str, kinds: Sequence[str] = ("vocals", "instrumental")
) -> tuple[Path, ...]:
    """Where the vocals and the instrumental of a track lie in a folder of ready pairs, or other `kinds`.

    Raises:
        ValueError: If the id would lead out of the folder.
    """
    if not track_id or Path(track_id).is_absolute() or ".." in Path(track_id).parts:
        raise ValueError(f"`track_id` must be a name or a path below the folder, got {track_id!r}.")
    return tuple(Path(folder) / kind / f"{track_id}.flac" for kind in kinds)


def filter_licences(
    recordings: Sequence[SourceRecording], allow_licenses: Sequence[str] | None
) -> list[SourceRecording]:
    """Keep recordings whose licence matches one of the patterns (`*` and `?`, capitals do not matter).

    Raises:
        ValueError: If none is left.
    """
    if allow_licenses is None:
        return list(recordings)
    patterns = [pattern.lower() for pattern in allow_licenses]
    kept = [
        recording
        for recording in recordings
        if any(fnmatch.fnmatchcase(recording.licence.lower(), pattern) for pattern in patterns)
    ]
    if not kept:
        found = sorted({recording.licence for recording in recordings})
        raise ValueError(f"`allow_licenses` {' '.join(allow_licenses)} leaves nothing; there are: {', '.join(found)}.")
    return kept


def make_tracks(
    recordings: Sequence[SourceRecording],
    separator: Separator | None = None,
    split_group: str = "track",
    parts: bool = False,
    styles: bool = False,
) -> list[Track]:
    """Turn recordings into tracks to tokenize, mono, separated where asked.

    Args:
        recordings (sequence of [`SourceRecording`]): Recordings of one source.
        separator ([`Separator`], *optional*): Splits every whole song, also those of a source that has stems: the
            separated vocals are then the data. Without it the source's own stems are.
        split_group (`str`): `"track"`, `"artist"` or `"album"`: what stays on one side of the split.
        parts (`bool`): Give every track `load_parts`: drums, bass and other beside the vocals.
        styles (`bool`): Give every track its style, where the source states one.

    Raises:
        ValueError: If a song has no stems and there is no separator, `split_group` is none of the three, or `parts` or
            `styles` are asked for where the source or the separator has none.
    """
    if split_group not in ("track", "artist", "album"):
        raise ValueError(f"`split_group` must be 'track', 'artist' or 'album', got {split_group!r}.")
    whole = [recording.track_id for recording in recordings if recording.load_stems is None]
    if separator is None and whole:
        raise ValueError(
            f"`separate` is needed: {len(whole)} of {len(recordings)} recordings are whole songs, the first is "
            f"{whole[0]!r}. Give an .onnx file of MDX-Net or a demucs model, or a source of pairs."
        )
    if parts:
        require_parts(recordings, separator)
    if styles and not any(recording.style for recording in recordings):
        raise ValueError(
            f"`styles` are stated by procedural songs, by FMA's column `genre_top` and by a column `style` of "
            f"{TABLE_NAME} or a dataset; none of these {len(recordings)} recordings states one. Leave `styles` out."
        )
    tracks = []
    for recording in recordings:
        name = None if split_group == "track" else getattr(recording, split_group)
        group = recording.track_id if name is None else f"{split_group} {name}"
        load = _track_loader(recording, separator)
        load_parts = _parts_loader(recording, separator) if parts else None
        style = recording.style if styles else None
        tracks.append(Track(recording.track_id, recording.licence, load, group, recording.split, load_parts, style))
    return tracks


def require_parts(recordings: Sequence[SourceRecording], separator: Separator | None) -> None:
    """Make sure that every recording has drums, bass and other, or gets them from the separator.

    Raises:
        ValueError: If a recording has none and there is no separator, or it does not separate into parts.
    """
    lacking = [recording.track_id for recording in recordings if recording.load_parts is None]
    if separator is None and lacking:
        raise ValueError(
            "`parts` (drums, bass and other) are there in procedural songs, MUSDB18, MUSDB18-HQ and pairs with a file "
            f"of each; {len(lacking)} of {len(recordings)} recordings have none, the first is {lacking[0]!r}. demucs "
            "separates into parts."
        )
    if separator is not None and not hasattr(separator, "separate_parts"):
        raise ValueError(
            f"`parts` (drums, bass and other) need a separator of four stems such as htdemucs, got "
            f"{type(separator).__name__}."
        )


def separate_recording(recording: SourceRecording, separator: Separator | None) -> Stems:
    """Vocals and instrumental `(channels, num_samples)` of one recording, through the separator if there is one."""
    if separator is None:
        return recording.load_stems()
    return separator.separate(*recording.load_mix())


def separate_parts(recording: SourceRecording, separator: Separator | None) -> PartStems:
    """Vocals and parts `(channels, num_samples)` of one recording, through the separator if there is one."""
    if separator is None:
        return recording.load_parts()
    return separator.separate_parts(*recording.load_mix())


def _parts_loader(recording: SourceRecording, separator: Separator | None) -> Callable[[], PartStems]:
    def load() -> PartStems:
        vocals, parts, sampling_rate = separate_parts(recording, separator)
        return fold_to_mono(vocals), {name: fold_to_mono(part) for name, part in parts.items()}, sampling_rate

    return load


def _track_loader(recording: SourceRecording, separator: Separator | None) -> Callable[[], Stems]:
    def load() -> Stems:
        vocals, instrumental, sampling_rate = separate_recording(recording, separator)
        return fold_to_mono(vocals), fold_to_mono(instrumental), sampling_rate

    return load


def file_loader(path: Path) -> Callable[[], tuple[np.ndarray, int]]:
    """Read one file when called."""
    return lambda: load_audio(path)


def stems_loader(load_vocals: Callable, load_instrumental: Callable) -> Callable[[], Stems]:
    """Join two loaders of (audio, sampling rate) into one of stems, at the vocals' rate."""

    def load() -> Stems:
        vocals, sampling_rate = load_vocals()
        instrumental, instrumental_rate = load_instrumental()
        return vocals, resample(instrumental, instrumental_rate, sampling_rate), sampling_rate

    return load


def parts_loader(load_vocals: Callable, load_part: Mapping[str, Callable]) -> Callable[[], PartStems]:
    """Join loaders of (audio, sampling rate), of the band's parts by name, into one of parts, at the vocals' rate."""

    def load() -> PartStems:
        vocals, sampling_rate = load_vocals()
        return vocals, {name: resample(*load_part[name](), sampling_rate) for name in PARTS}, sampling_rate

    return load


def part_sum_loader(load_parts: Callable[[], PartStems]) -> Callable[[], Stems]:
    """Stems of a source that has parts alone: the instrumental is their sum, as long as the shortest."""

    def load() -> Stems:
        vocals, parts, sampling_rate = load_parts()
        num_samples = min(part.shape[1] for part in parts.values())
        # One of them may be mono: broadcasting puts it in the middle.
        return vocals, sum(part[:, :num_samples] for part in parts.values()), sampling_rate

    return load


def mix_loader(load_stems: Callable[[], Stems]) -> Callable[[], tuple[np.ndarray, int]]:
    """The whole song of a source that has stems alone."""

    def load() -> tuple[np.ndarray, int]:
        vocals, instrumental, sampling_rate = load_stems()
        num_samples = min(vocals.shape[-1], instrumental.shape[-1])
        # One of the two may be mono: broadcasting puts it in the middle.
        return vocals[:, :num_samples] + instrumental[:, :num_samples], sampling_rate

    return load
