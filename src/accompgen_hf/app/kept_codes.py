"""The codes of a result, kept beside its audio, so that a span of it can be made anew."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from accompgen_hf.accompgen.stage_chain_accompgen import CODE_NAMES

CODES_FILE = "codes.safetensors"


def has_codes(result: Mapping[str, Any]) -> bool:
    """Whether a result of the pipeline was made with `return_codes=True`."""
    return any(name in result for name in CODE_NAMES)


def write_codes(path: str | os.PathLike, result: Mapping[str, Any]) -> None:
    """Write the codes of a result of the pipeline, made with `return_codes=True`.

    Args:
        path: The file.
        result: The result, with `seed`, `token_fingerprint` and codes by the names in `CODE_NAMES`.

    Raises:
        ValueError: If there are no codes.
        OSError: If the file cannot be written.
    """
    if not has_codes(result):
        raise ValueError("`result` must have codes: call the pipeline with `return_codes=True`.")
    codes = {name: result[name].to("cpu", torch.int16).contiguous() for name in CODE_NAMES if name in result}
    origin = {name: result.get(name) for name in ("seed", "token_fingerprint")}
    Path(path).write_bytes(save(codes, {"origin": json.dumps(origin, sort_keys=True)}))


def read_codes(folder: str | os.PathLike) -> dict[str, Any]:
    """The codes of a result folder, as `known_codes` of the pipeline: int64 tensors, `seed`, `token_fingerprint`.

    Raises:
        ValueError: If the folder has no such file, or it is damaged.
    """
    path = Path(folder) / CODES_FILE
    if not path.is_file():
        raise ValueError(
            f"{os.fspath(folder)!r} has no {CODES_FILE}: it is no result folder, or one of an earlier version. Make "
            "it again with `accompgen generate --settings`."
        )
    try:
        with safe_open(path, "pt") as file:
            codes = {name: file.get_tensor(name).long() for name in file.keys() if name in CODE_NAMES}  # noqa: SIM118
            origin = json.loads((file.metadata() or {})["origin"])
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{str(path)!r} cannot be read ({error}): the file is damaged.") from error
    return {**codes, **origin}


__all__ = ["CODES_FILE", "has_codes", "read_codes", "write_codes"]
