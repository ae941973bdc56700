"""Public corpora as recordings: FMA (paper §4.1), MUSDB18 and MUSDB18-HQ, and whatever `datasets` opens."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accompgen_hf.accompgen.audio_accompgen import load_audio
from accompgen_hf.accompgen.optional_accompgen import import_optional
from accompgen_hf.accompgen.parts_accompgen import to_name
from accompgen_hf.data.sources import (
    UNKNOWN_LICENCE,
    PartStems,
    SourceRecording,
    file_loader,
    mix_loader,
    part_sum_loader,
    stems_loader,
)

STEM_STREAMS = ("mix", "drums", "bass", "other", "vocals")  # their order in a MUSDB18 file
MUSDB18_LICENCE = "MUSDB18: academic use"
_FMA_SPLITS = {"training": "train", "validation": "validation", "test": "test"}


def fma_recordings(folder: str | os.PathLike, metadata: str | os.PathLike | None = None) -> list[SourceRecording]:
    """List FMA's clips, `000/000002.mp3` below `folder`.

    Args:
        folder (`str`): FMA's folder, such as `fma_large`.
        metadata (`str`, *optional*):
            FMA's `tracks.csv`: licence, artist, album, split, and `genre_top` as the style. Without it, `tracks.csv`
            in the folder or in `fma_metadata` beside it is taken if it is there; else licences are unknown and the
            split is by hash.

    Raises:
        ValueError: If there are no such clips, or `metadata` is not FMA's table.
    """
    folder = Path(folder)
    paths = sorted(path for path in folder.glob("[0-9][0-9][0-9]/*.mp3") if path.stem.isdecimal())
    if not paths:
        raise ValueError(
            f"`data` {folder} holds no FMA clips (000/000002.mp3, ...). Give the folder fma_large itself."
        )
    if metadata is None:
        usual = (folder / "tracks.csv", folder.parent / "fma_metadata" / "tracks.csv")
        metadata = next((path for path in usual if path.is_file()), None)
    table = {} if metadata is None else _read_fma_table(Path(metadata))
    recordings = []
    for path in paths:
        fields = table.get(int(path.stem), {})
        load_mix = file_loader(path)
        recordings.append(SourceRecording(f"fma-{int(path.stem):06d}", load_mix, files=(path,), **fields))
    return recordings


def _read_fma_table(path: Path) -> dict[int, dict[str, str | None]]:
    """FMA's table has three lines of header: groups, names, and the name of the first column."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        columns = list(zip(next(rows, []), next(rows, []), strict=False))
        wanted = {
            "licence": ("track", "license"),
            "artist": ("artist", "id"),
            "album": ("album", "id"),
            "split": ("set", "split"),
        }
        optional = {"style": ("track", "genre_top")}
        missing = [" ".join(column) for column in wanted.values() if column not in columns]
        if missing:
            raise ValueError(f"`metadata` {path} is not FMA's tracks.csv: it lacks {', '.join(missing)}.")
        wanted |= {name: column for name, column in optional.items() if column in columns}
        places = {name: columns.index(column) for name, column in wanted.items()}
        next(rows, None)
        return {int(row[0]): _fma_fields(row, places) for row in rows if row}


def _fma_fields(row: list[str], places: dict[str, int]) -> dict[str, str | None]:
    values = {name: row[place].strip() for name, place in places.items()}
    return {
        "licence": values["licence"] or UNKNOWN_LICENCE,
        "artist": values["artist"] or None,
        "album": values["album"] or None,
        "split": _FMA_SPLITS.get(values["split"]),
        "style": to_name(values.get("style", "")) or None,
    }


def musdb18_recordings(folder: str | os.PathLike) -> list[SourceRecording]:
    """List MUSDB18's STEM files, `train/` and `test/` or anywhere below `folder`; read through PyAV.

    The instrumental is the sum of drums, bass and other. What lies in `test` gets the split `"test"`.

    Raises:
        ValueError: If there is no `.stem.mp4`.
    """
    folder = Path(folder)
    paths = sorted(folder.rglob("*.stem.mp4"))
    if not paths:
        raise ValueError(f"`data` {folder} holds no MUSDB18 STEM files (*.stem.mp4).")
    return [_musdb_recording(folder, path, path.name.removesuffix(".stem.mp4"), (path,)) for path in paths]


def musdb18hq_recordings(folder: str | os.PathLike) -> list[SourceRecording]:
    """List MUSDB18-HQ's folders, each with mixture.wav, drums.wav, bass.wav, other.wav and vocals.wav.

    Raises:
        ValueError: If there is no such folder, or one lacks a file.
    """
    folder = Path(folder)
    songs = sorted(path.parent for path in folder.rglob("mixture.wav"))
    if not songs:
        raise ValueError(f"`data` {folder} holds no MUSDB18-HQ folders (mixture.wav, drums.wav, ...).")
    recordings = []
    for song in songs:
        names = ("mixture", *STEM_STREAMS[1:])
        missing = [f"{name}.wav" for name in names if not (song / f"{name}.wav").is_file()]
        if missing:
            raise ValueError(f"`data` {song} lacks {', '.join(missing)}. Unpack MUSDB18-HQ again.")
        recordings.append(_musdb_recording(folder, song, song.name, tuple(song / f"{name}.wav" for name in names)))
    return recordings


def _musdb_recording(folder: Path, path: Path, name: str, files: tuple[Path, ...]) -> SourceRecording:
    def load_mix() -> tuple[np.ndarray, int]:
        if len(files) > 1:
            return load_audio(files[0])
        (mix,), sampling_rate = read_stem_file(path, ("mix",))
        return mix, sampling_rate

    def load_parts() -> PartStems:
        if len(files) > 1:
            stems = [load_audio(file) for file in files[1:]]
            (drums, bass, other, vocals), sampling_rate = [audio for audio, _ in stems], stems[0][1]
        else:
            (drums, bass, other, vocals), sampling_rate = read_stem_file(path, STEM_STREAMS[1:])
        return vocals, {"drums": drums, "bass": bass, "other": other}, sampling_rate

    artist = name.split(" - ")[0] if " - " in name else None
    split = "test" if "test" in path.relative_to(folder.parent).parts[:-1] else None
    fields = {"licence": MUSDB18_LICENCE, "artist": artist, "split": split, "files": files}
    return SourceRecording(f"musdb18-{name}", load_mix, part_sum_loader(load_parts), load_parts=load_parts, **fields)


def read_stem_file(path: str | os.PathLike, stems: Sequence[str] = STEM_STREAMS) -> tuple[tuple[np.ndarray, ...], int]:
    """Decode streams of a STEM file.

    Args:
        path (`str`): An mp4 with five audio streams: mix, drums, bass, other, vocals.
        stems (sequence of `str`): Names of the stems.

    Returns:
        float32 arrays `(channels, num_samples)` of equal length, in the order of `stems`, and their rate in Hz.

    Raises:
        ValueError: If the file cannot be read, has other streams, or ends at different instants by more than 50 ms.
        ImportError: If PyAV is missing.
    """
    av = import_optional("av", "Reading STEM files", ".[media]")
    try:
        with av.open(str(path), mode="r", format="mov") as container:
            streams = list(container.streams.audio)
            if len(streams) != len(STEM_STREAMS):
                raise ValueError(
                    f"`data` {path} must have {len(STEM_STREAMS)} audio streams ({', '.join(STEM_STREAMS)}), "
                    f"got {len(streams)}. Is it a STEM file?"
                )
            wanted = [streams[STEM_STREAMS.index(stem)] for stem in stems]
            sampling_rate = wanted[0].codec_context.sample_rate
            decoded = _decode_streams(av, container, wanted, sampling_rate)
    except av.FFmpegError as error:
        raise ValueError(f"`data` {path} is damaged or no STEM file: {error}.") from error
    lengths = [audio.shape[1] for audio in decoded]
    if max(lengths) - min(lengths) > 0.05 * sampling_rate or min(lengths) == 0:
        raise ValueError(f"`data` {path} is cut off: its streams hold {lengths} samples.")
    return tuple(audio[:, : min(lengths)] for audio in decoded), sampling_rate


def _decode_streams(av: Any, container: Any, streams: list[Any], sampling_rate: int) -> list[np.ndarray]:
    blocks: dict[int, list[np.ndarray]] = {stream.index: [] for stream in streams}
    resamplers = {
        stream.index: av.AudioResampler(format="fltp", layout="stereo", rate=sampling_rate) for stream in streams
    }
    for packet in container.demux(streams):
        for frame in packet.decode():
            for part in resamplers[packet.stream.index].resample(frame):
                blocks[packet.stream.index].append(part.to_ndarray())
    empty = np.zeros((2, 0), np.float32)
    return [np.concatenate([empty, *blocks[stream.index]], axis=1) for stream in streams]


def dataset_recordings(
    dataset: Any,
    audio_columns: Sequence[str] | None = None,
    split: str = "train",
    licence: str = UNKNOWN_LICENCE,
    id_column: str | None = None,
) -> list[SourceRecording]:
    """List the rows of a dataset with an audio column.

    Args:
        dataset (`str` or `datasets.Dataset`):
            A Hub id, a folder that `datasets` loads or has saved, or the dataset itself.
        audio_columns (sequence of `str`, *optional*): One column of whole songs, or two: vocals and instrumental. By
            default `vocals` and `instrumental` where both are there, else the only audio column.
        split (`str`): Split of the dataset; its name has nothing to do with ours.
        licence (`str`): Licence of rows without a column `licence` or `license`. `artist`, `album` and `style` are
            also read.
        id_column (`str`, *optional*): Column with the tracks' names. If `None`, tracks are numbered.

    Raises:
        ValueError: If the columns are missing or hold no audio.
    """
    datasets = import_optional("datasets", "Reading datasets", ".[train]")
    if not isinstance(dataset, datasets.Dataset):
        dataset = _load_dataset(datasets, str(dataset), split)
    audio_columns = _choose_columns(datasets, dataset, audio_columns)
    for column in (id_column, *audio_columns):
        if column is not None and column not in dataset.column_names:
            raise ValueError(f"`data` has no column {column!r}, but {', '.join(dataset.column_names)}.")
    for column in audio_columns:
        # Decoding by `datasets` itself would need FFmpeg.
        dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    plain = dataset.select_columns([name for name in dataset.column_names if name not in audio_columns])
    recordings = []
    for index in range(len(dataset)):
        row = plain[index] if plain.column_names else {}
        name = f"{index:08d}" if id_column is None else str(row[id_column])
        fields = {field: None if row.get(field) is None else str(row[field]) for field in ("artist", "album", "style")}
        fields["style"] = to_name(fields["style"] or "") or None
        stated = row.get("licence") or row.get("license") or licence
        loaders = [_row_loader(dataset, index, column) for column in audio_columns]
        recordings.append(_dataset_recording(name, loaders, licence=str(stated), **fields))
    return recordings


def _load_dataset(datasets: Any, name: str, split: str) -> Any:
    if (Path(name) / "dataset_info.json").is_file():
        return datasets.load_from_disk(name)
    if (Path(name) / "dataset_dict.json").is_file():
        return datasets.load_from_disk(name)[split]
    return datasets.load_dataset(name, split=split)


def _choose_columns(datasets: Any, dataset: Any, audio_columns: Sequence[str] | None) -> Sequence[str]:
    found = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Audio)]
    if audio_columns is None:
        audio_columns = ["vocals", "instrumental"] if {"vocals", "instrumental"} <= set(found) else found
        if audio_columns != ["vocals", "instrumental"] and len(found) != 1:
            raise ValueError(f"`audio_columns` must be given: `data` has {len(found)} audio columns ({found}).")
    if len(audio_columns) not in (1, 2):
        raise ValueError(
            f"`audio_columns` must be one column of songs, or vocals and instrumental, got {audio_columns}."
        )
    return audio_columns


def _row_loader(dataset: Any, index: int, column: str) -> Callable[[], tuple[np.ndarray, int]]:
    return lambda: load_audio(dataset[index][column])


def _dataset_recording(
    name: str, loaders: list[Callable[[], tuple[np.ndarray, int]]], **fields: Any
) -> SourceRecording:
    if len(loaders) == 1:
        return SourceRecording(name, loaders[0], **fields)
    load_stems = stems_loader(*loaders)
    return SourceRecording(name, mix_loader(load_stems), load_stems, **fields)
