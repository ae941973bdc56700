"""Token shards on disk: Parquet files that `datasets` opens, and the manifest that says what their tokens mean.

A folder holds `shard-00000.parquet` ..., `manifest.json` (settings, `token_fingerprint`, splits, sha256 of every
shard), `failures.json`, with filters `rejected.jsonl`, `filtering.json` and `filtering.png`, and `.progress/`, from
which a killed preparation goes on. Everything is written to a temporary name, fsynced and renamed: a file that has its
name is whole.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from accompgen_hf.accompgen.parts_accompgen import WHOLE_BAND
from accompgen_hf.files import read_json, write_bytes, write_json

FORMAT_VERSION = 1
MIN_HELD_OUT = 2  # tracks, without which a training cannot say whether a stage listens
PARTS_FORMAT_VERSION = 2  # rows have an axis of parts, or styles
MANIFEST_NAME = "manifest.json"
SHARD_SCHEMA = pa.schema(
    [
        ("track_id", pa.string()),
        ("licence", pa.string()),
        ("split", pa.string()),
        ("start_s", pa.float64()),
        ("vocal_activity", pa.float32()),
        ("vocal_semantic_ids", pa.list_(pa.int16())),
        ("instrumental_semantic_ids", pa.list_(pa.int16())),
        ("codes", pa.list_(pa.list_(pa.int16()))),
    ]
)
_PART_TYPES = {
    "instrumental_semantic_ids": pa.list_(pa.list_(pa.int16())),
    "codes": pa.list_(pa.list_(pa.list_(pa.int16()))),
}
# Pinned, so that the bytes depend on the rows and the Parquet library's version alone.
_PARQUET_OPTIONS = {
    "version": "2.6",
    "data_page_version": "1.0",
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": False,
    "write_statistics": False,
    "store_schema": False,
    "row_group_size": 1024,
}


@dataclass
class TokenRow:
    """A stretch of one track as tokens.

    Attributes:
        track_id (`str`): Names the track in its source.
        licence (`str`): Licence of the recording.
        split (`str`): `"train"`, `"validation"`, or `"test"` where the source says so.
        start_s (`float`): Start in the track in seconds, on the 40-ms grid.
        vocal_activity (`float`): Share of 40-ms frames with voice above -40 dBFS.
        vocal_semantic_ids (`np.ndarray` of shape `(num_frames,)`): int16, 50 Hz.
        instrumental_semantic_ids (`np.ndarray` of shape `(num_frames,)`): int16, 50 Hz.
        codes (`np.ndarray` of shape `(num_codebooks, num_frames)`): int16, 75 Hz.
        style (`str`, *optional*): Style of the track, if it is known.

    With several parts `instrumental_semantic_ids` and `codes` have an axis of parts before the others.
    """

    track_id: str
    licence: str
    split: str
    start_s: float
    vocal_activity: float
    vocal_semantic_ids: np.ndarray
    instrumental_semantic_ids: np.ndarray
    codes: np.ndarray
    style: str | None = None


def shard_schema(has_parts: bool = False, has_styles: bool = False) -> pa.Schema:
    """Columns of a shard: of one part without styles they are those of the first format."""
    fields = [
        pa.field(each.name, _PART_TYPES[each.name]) if has_parts and each.name in _PART_TYPES else each
        for each in SHARD_SCHEMA
    ]
    return pa.schema([*fields, pa.field("style", pa.string())] if has_styles else fields)


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"shard-{index:05d}.parquet"


def write_rows(path: Path, rows: list[TokenRow], schema: pa.Schema = SHARD_SCHEMA) -> str:
    """Write rows as one Parquet file, atomically, and return the sha256 of its bytes.

    Args:
        path (`Path`): File to write.
        rows (`list` of [`TokenRow`]): All of one shape.
        schema (`pa.Schema`): Result of [`shard_schema`].
    """
    columns = {name: [_to_lists(getattr(row, name)) for row in rows] for name in schema.names}
    table = pa.Table.from_pydict(columns, schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_PARQUET_OPTIONS)
    content = sink.getvalue().to_pybytes()
    write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_rows(path: Path, sha256: str | None = None) -> list[TokenRow]:
    """Read a shard back; the arrays are views of its columns.

    Args:
        path (`Path`): A file of `write_rows`.
        sha256 (`str`, *optional*): Hash of its bytes that the manifest states.

    Raises:
        ValueError: If the file is missing, damaged or not of this format.
    """
    return list_rows(read_table(path, sha256))


def read_table(path: Path, sha256: str | None = None) -> pa.Table:
    """Read a shard as one chunk of columns; arguments and errors as in [`read_rows`]."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"Shard {path} cannot be read ({error}). Prepare it again.") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"Shard {path} is damaged: its sha256 is not the manifest's {sha256}. "
            "Delete it with its file in .progress/ and prepare it again."
        )
    try:
        table = pq.read_table(pa.BufferReader(content))
        has_parts = "codes" in table.schema.names and table.schema.field("codes").type == _PART_TYPES["codes"]
        return table.cast(shard_schema(has_parts, "style" in table.schema.names)).combine_chunks()
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise ValueError(f"Shard {path} is damaged or no token shard ({error}). Prepare it again.") from error


def list_rows(table: pa.Table) -> list[TokenRow]:
    """The rows of one chunk of columns; the arrays are views of them."""
    # A single chunk is taken as it is: combining would copy it.
    columns = {name: table[name] for name in SHARD_SCHEMA.names[5:]}
    lists = {name: c.chunk(0) if c.num_chunks == 1 else c.combine_chunks() for name, c in columns.items()}
    plain = {name: table[name].to_pylist() for name in table.schema.names if name not in columns}
    rows = []
    for index in range(table.num_rows):
        arrays = {name: _array_at(column, index) for name, column in lists.items()}
        rows.append(TokenRow(**{name: values[index] for name, values in plain.items()}, **arrays))
    return rows


def _array_at(column: pa.ListArray, index: int) -> np.ndarray:
    """The row's lists as an array: `(T,)`, `(K, T)` or `(P, K, T)`."""
    values, shape, num_lists = column[index].values, [], 1
    while isinstance(values, pa.ListArray):
        shape.append(len(values) // num_lists)
        num_lists = len(values)
        values = values.flatten()
    return values.to_numpy().reshape(*shape, -1)


def _to_lists(value: Any) -> Any:
    """An array as lists of arrays, as Arrow takes them; other values stay."""
    return [_to_lists(each) for each in value] if isinstance(value, np.ndarray) and value.ndim > 1 else value


def assign_split(group: str, validation_share: float) -> str:
    """Put a whole group (track, artist or album) on one side, by the hash of its name alone."""
    return "validation" if _place(group) < validation_share else "train"


def _place(group: str) -> float:
    """Where a group stands between 0 and 1, by the hash of its name."""
    digest = hashlib.sha256(f"split {group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def raise_validation_share(tracks: Sequence[Any], validation_share: float) -> float:
    """The smallest share of at least `validation_share` that holds two tracks out, which a training needs.

    Args:
        tracks (sequence of `Track`): All tracks. Those whose source states a split keep it.
        validation_share (`float`): Share that is asked for; 0 asks for none and stays.

    Raises:
        ValueError: If the share is none, or the tracks or groups are too few to hold two out and to train on another.
    """
    if not 0 <= validation_share <= 1:
        raise ValueError(f"`validation_share` must be in [0, 1], got {validation_share}.")
    stated = Counter(track.split for track in tracks if track.split)
    sizes = Counter(track.group or track.track_id for track in tracks if not track.split)
    if validation_share == 0:
        return 0.0
    share, num_held_out = validation_share, stated["validation"]
    num_trained = stated["train"]
    for group in sorted(sizes, key=_place):
        if _place(group) >= share and num_held_out < MIN_HELD_OUT:
            share = float(np.nextafter(_place(group), 1))
        num_held_out += sizes[group] * (_place(group) < share)
        num_trained += sizes[group] * (_place(group) >= share)
    if num_held_out < MIN_HELD_OUT or num_trained == 0:
        raise ValueError(
            f"`data` must have {MIN_HELD_OUT} tracks to hold out and one more to train on, each in its own group; got "
            f"{len(tracks)} tracks in {len(sizes) + len(stated)} groups. Give more songs, cut them into shorter ones, "
            "use `--split_group track`, or train without validation: `--validation_share 0`, then "
            "`--validation_clips 0`."
        )
    return share


@dataclass
class Manifest:
    """What a folder of shards says about itself.

    Attributes:
        token_fingerprint (`str`): Identity of everything that made the tokens (see `fingerprint_accompgen`).
        settings (`dict`): Recipe and sizes: blocks, noise, level, bandwidth, `num_clusters`, `codebook_size`, ...
        shards (`list` of `dict`): `file`, `sha256`, `num_rows` per shard, in order.
        splits (`dict`): Rows per split.
        num_tracks (`int`): Tracks asked for.
        failed_tracks (`list` of `str`): Tracks that gave no tokens.
        duration_s (`float`): Seconds of audio in all rows.
        hours_by_licence (`dict`): Hours of the rows per licence.
        clips (`dict`): Clips kept and dropped by the filters, and how often for which reason; empty without filters.
        format_version (`int`): Version of this layout.
    """

    token_fingerprint: str
    settings: dict[str, Any]
    shards: list[dict[str, Any]]
    splits: dict[str, int]
    num_tracks: int
    failed_tracks: list[str]
    duration_s: float
    hours_by_licence: dict[str, float] = field(default_factory=dict)
    clips: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def part_names(self) -> tuple[str, ...]:
        """Parts of the rows, in their order."""
        return tuple(self.settings.get("part_names", WHOLE_BAND))

    @property
    def style_names(self) -> tuple[str, ...]:
        """Styles of the rows; none if they were not asked for."""
        return tuple(self.settings.get("style_names", ()))

    def save(self, folder: Path) -> None:
        """Write `manifest.json` into a folder of shards."""
        write_json(Path(folder) / MANIFEST_NAME, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read a folder's manifest.

        Raises:
            ValueError: If there is none (the preparation is not finished) or it is of another version.
        """
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise ValueError(
                f"`data` must be a folder of token shards, but {path} does not exist. Was every `--shard i/n` of "
                "examples/prepare_dataset.py run to its end? A dataset on the Hub is read with `streaming`."
            )
        fields = read_json(path)
        versions = (FORMAT_VERSION, PARTS_FORMAT_VERSION)
        if fields.get("format_version") not in versions:
            raise ValueError(
                f"{path} has `format_version` {fields.get('format_version')}, this code reads "
                f"{' and '.join(map(str, versions))}. Prepare the data again."
            )
        return cls(**fields)


def sum_hours_by_licence(manifests: Sequence[Manifest]) -> dict[str, float]:
    """Hours per licence over several folders of shards."""
    hours: Counter[str] = Counter()
    for manifest in manifests:
        hours.update(manifest.hours_by_licence)
    return {licence: round(hours[licence], 4) for licence in sorted(hours)}
