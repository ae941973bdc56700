"""Another take of a span of a result, in a folder beside the old one: what the command and the page call."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accompgen_hf.accompgen.options_accompgen import FORWARD, GENERATION_OPTIONS, POSTPROCESS
from accompgen_hf.accompgen.recordings_accompgen import Recording
from accompgen_hf.accompgen.seeds_accompgen import draw_seed
from accompgen_hf.app.kept_codes import CODES_FILE, read_codes
from accompgen_hf.app.lead_sheet_files import read_sheet
from accompgen_hf.app.open_pipeline import describe_model, open_separator
from accompgen_hf.app.result_folders import RECORD_KEYS, free_name, read_settings, take_name, write_result
from accompgen_hf.files import hash_file

# Settings of a result that the pipeline takes under their own names.
PIPELINE_SETTINGS = [
    option.name
    for option in GENERATION_OPTIONS.values()
    if option.is_setting and option.key == option.name and option.step in (FORWARD, POSTPROCESS)
]


def regenerate_result(
    pipe: Any,
    folder: str | os.PathLike,
    start_s: float | None,
    end_s: float | None,
    *,
    parts: Sequence[str] | None = None,
    chords: Sequence[Any] | None = None,
    seed: int | None = None,
    snap: bool = True,
    vocals: str | os.PathLike | Recording | None = None,
    parent: str | os.PathLike | None = None,
    callback: Callable[[str, float], Any] | None = None,
    show_progress: bool | None = False,
) -> Path:
    """Make a span of a result anew, and write the new take into a folder of its own.

    Args:
        pipe (`VocalAccompanimentPipeline`): The pipeline of the model that made the result.
        folder: The result folder.
        start_s, end_s (`float`, *optional*): Span in seconds of the folder's files, their count-in included; `None` is
            the end of the recording. Without `start_s` a longer recording is continued from where the result ends.
        parts (sequence of `str`, *optional*): Parts that are made anew; `None` is all of them.
        chords (sequence, *optional*): Chords to play, as a call of the pipeline takes them, in seconds of the vocals.
            `None` takes those that the result was told, if any.
        seed (`int`, *optional*): Seed of the span. `None` draws one, and takes the result's own to continue.
        snap (`bool`): Move start and end to the nearest beats.
        vocals (path or `Recording`, *optional*): The vocals; `None` reads the file that the result names.
        parent (*optional*): Where the new folder stands; `None` is beside the old one.
        callback (`Callable`, *optional*): As in a call of the pipeline.
        show_progress (`bool`, *optional*): As in a call of the pipeline.

    Returns:
        The new folder, whose count-in is the old one unless all of the music is made anew. Its `settings.json` says
        under `regenerated` from what, and which span, after snapping.

    Raises:
        ValueError: If the folder is no whole result, its vocals are gone, its codes are another model's, or the span
            lies outside.
    """
    folder = Path(folder)
    settings = read_settings(folder / "settings.json")
    if chords is not None:
        settings["chords"] = [list(chord) for chord in chords]
    known, count_in_s = read_known(folder)
    expected = settings.get("codes", {}).get(CODES_FILE)
    if expected is not None and hash_file(folder / CODES_FILE) != expected:
        raise ValueError(f"{str(folder / CODES_FILE)!r} is not the file that was written: it is damaged or exchanged.")
    if not isinstance(vocals, Recording):
        settings["vocals"] = settings.get("vocals", "") if vocals is None else os.path.abspath(vocals)
        vocals = open_vocals(settings, str(pipe.device))
    if seed is None and start_s is not None:
        seed = draw_seed()
    span = None if start_s is None else (start_s, end_s)
    if span is not None and count_in_s:
        span = behind_count_in(span, count_in_s, vocals.num_samples / vocals.sampling_rate)
    result = pipe(
        {"array": vocals.read(), "sampling_rate": vocals.sampling_rate},
        seed=seed,
        known_codes=known,
        regenerate=span,
        snap=snap,
        return_codes=True,
        callback=callback,
        show_progress=show_progress,
        output_sampling_rate=settings.get("sampling_rate", "input"),
        **{name: settings[name] for name in PIPELINE_SETTINGS if name in settings},
        **({} if parts is None else {"regenerate_parts": list(parts)}),
    )
    if "regenerated" not in result:
        raise ValueError(
            "`start_s` is needed: the vocals are no longer than the result, so there is nothing to continue."
        )
    kept = settings_of_take(settings, folder.name, result, count_in_s, parts)
    made_with = describe_model(pipe)
    parent = folder.parent if parent is None else parent
    name = free_name(parent, take_name(folder.name), 2)
    return write_result(parent, kept, vocals, vocals.sampling_rate, result, made_with, name, known.get("lead_sheet"))


def settings_of_take(
    settings: Mapping[str, Any],
    earlier_name: str,
    result: Mapping[str, Any],
    count_in_s: float,
    parts: Sequence[str] | None,
) -> dict[str, Any]:
    """`settings.json` of a take of which a span is new: that of the earlier take, with what was made anew.

    Args:
        settings: Those of the earlier take.
        earlier_name (`str`): Its name.
        result: What the pipeline gave, with `seed` and `regenerated`.
        count_in_s (`float`): Seconds of clicks before the music of the files.
        parts: The parts that were made anew; `None` is all of them.
    """
    kept = {key: value for key, value in settings.items() if key not in (*RECORD_KEYS, "best_of")}
    start_s, end_s = (round(edge_s + count_in_s, 6) for edge_s in result["regenerated"])
    changed = {"from": earlier_name, "start_s": start_s, "end_s": end_s}
    changed |= {} if parts is None else {"parts": list(parts)}
    return {**kept, "seed": result["seed"], "regenerated": changed}


def behind_count_in(
    span: tuple[float, float | None], count_in_s: float, duration_s: float
) -> tuple[float, float | None]:
    """Turn seconds of a result's files into seconds of its music; what lies in the count-in is left out.

    Args:
        span: Start and end in seconds of the files; an end of `None` is that of the music.
        count_in_s (`float`): Seconds of clicks before the music.
        duration_s (`float`): Seconds of music behind them.

    Raises:
        ValueError: If the span lies in the count-in, or behind the music.
    """
    start_s, end_s = span
    last_s = count_in_s + duration_s
    if start_s >= last_s or (end_s is not None and not count_in_s < end_s <= last_s + 0.02):
        raise ValueError(
            f"`start_s` and `end_s` count from the start of the files: there the music is from {count_in_s:.2f} s, "
            f"behind the count-in, to {last_s:.2f} s. Got {start_s:g} to {'the end' if end_s is None else end_s}."
        )
    return max(0.0, start_s - count_in_s), None if end_s is None else end_s - count_in_s


def read_known(folder: str | os.PathLike) -> tuple[dict[str, Any], float]:
    """Codes and lead sheet of a result folder, as `known_codes` of the pipeline, and the seconds of its count-in.

    Raises:
        ValueError: If there are no codes, or one of the files is damaged.
    """
    sheet, count_in_s = read_sheet(folder)
    return {**read_codes(folder), **({} if sheet is None else {"lead_sheet": sheet})}, count_in_s


def open_vocals(settings: dict[str, Any], device: str) -> Recording:
    """The vocals that a result names, taken out of the song again where they were; `device` does that.

    Raises:
        ValueError: If the file is not there any more.
    """
    path = settings.get("vocals", "")
    if not os.path.exists(path):
        raise ValueError(f"the vocals {path!r} are not there any more. Say where they are with `--vocals`.")
    vocals = Recording(path, allow_truncated=bool(settings.get("allow_truncated")))
    if "separate" in settings:
        separated, _, rate = open_separator(settings, device).separate(vocals.read(), vocals.sampling_rate)
        return Recording(separated, rate)
    return vocals


__all__ = [
    "PIPELINE_SETTINGS",
    "behind_count_in",
    "open_vocals",
    "read_known",
    "regenerate_result",
    "settings_of_take",
]
