"""The windows of one stage over recordings that may still be arriving: which can run, what they need, in batches.

Windows start a hop apart. Each continues the codes that the window before it has given for their overlap, and no code
changes later. The last window moves left to end with the recording; without overlap it is the remainder.
A window therefore runs as soon as its own time range is known, or the recording is known to end inside it. A recording
holds no more than its next window can need. A stage with a listener hears more of the voice than a window's
conditioning, before and behind it, and waits for that. Everything is counted in steps of 40 ms, where a frame of each
stream begins.

Letters: B recordings, K codebooks, T frames.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from .codebooks_accompgen import build_stage_inputs, ids_to_codes
from .configuration_accompgen import GRID_RATE, SEMANTIC_NAMES, Segment
from .regeneration_accompgen import Span, frames_per_step, join_forced
from .seeds_accompgen import draw_uniforms
from .told_song_accompgen import NOTHING_TOLD, ToldSong
from .window_listening_accompgen import listen_to_windows

DEFAULT_WINDOW_BATCH_SIZE = 16


class WindowPlan:
    """Where the windows of a recording start and end, in steps from its start.

    Args:
        config: Config with the windows' `clip_duration_s` and their `window_overlap_s`.
    """

    def __init__(self, config: Any):
        self.window_steps = round(config.clip_duration_s * GRID_RATE)
        self.overlap_steps = round(config.window_overlap_s * GRID_RATE)
        self.hop_steps = self.window_steps - self.overlap_steps
        self.next_start = 0
        self.planned_end = 0  # of the newest window

    def next_window(self, num_arrived: int, is_finished: bool) -> tuple[int, int] | None:
        """Plan the next window.

        Args:
            num_arrived (`int`): Steps of the recording that are known.
            is_finished (`bool`): Whether these are all of them.

        Returns:
            Start and end, which never passes the recording. `None` if the arrived steps do not decide about them yet,
            or if there is no other window.
        """
        if self.planned_end >= num_arrived:
            return None
        start, end = self.next_start, self.next_start + self.window_steps
        if end > num_arrived:
            if not is_finished:
                return None
            end = num_arrived
            start = max(0, end - self.window_steps) if self.overlap_steps else start
        self.next_start, self.planned_end = self.next_start + self.hop_steps, end
        return start, end

    def plan_all(self, num_steps: int) -> list[tuple[int, int]]:
        """Plan all windows of a whole recording."""
        return list(iter(partial(self.next_window, num_steps, is_finished=True), None))


@dataclass(frozen=True)
class PlayedPart:
    """A part of a recording, which runs as a recording of its own in the stages whose rows are one part.

    Attributes:
        name (`str`): Its name.
        index (`int`): Its place among all parts of the model.
        row (`int`): Its place among the parts that are asked for.
        num_rows (`int`): How many are asked for.
    """

    name: str
    index: int
    row: int = 0
    num_rows: int = 1


def played_parts(config: Any, part: str | list[str] | None, num_items: int) -> list[PlayedPart | None]:
    """The part of every item of a stage's batch; `None` where a row is the whole band.

    Args:
        config (`AccompGenStageConfig`): Config of the stage.
        part (`str` or `list` of `str`, *optional*): One part for all items, or one for each.

    Raises:
        ValueError: If there are no parts to choose from, one is missing or unknown, or the list has another length.
    """
    if not config.num_part_rows:
        if part is not None:
            raise ValueError(f"`part` must be left out: a row of this stage is no single part; got {part!r}.")
        return [None] * num_items
    names = [part] * num_items if part is None or isinstance(part, str) else part
    if len(names) != num_items or not set(names) <= set(config.part_names):
        raise ValueError(
            f"`part` must be one of {', '.join(config.part_names)}, or a list of {num_items} of them, got {part!r}."
        )
    return [PlayedPart(name, config.part_names.index(name)) for name in names]


@dataclass(eq=False)
class StageWindow:
    """One window of one recording, ready to run.

    Attributes:
        recording (`WindowedRecording`): The recording that takes its codes.
        start, end (`int`): Steps from the recording's start; `end` never passes the recording, nor the span that is
            made anew.
        num_kept (`int`): Steps at its start that have their codes already.
        conditioning (`dict` of `str` to `torch.LongTensor`): `(1, T)` or `(1, K, T)`, filled up with silence.
        prefix (`torch.LongTensor`): The codes of its first `num_kept` steps.
        forced (`torch.LongTensor`, *optional*): Codes that are given behind them, -1 where there is a choice.
        voice (`torch.LongTensor`, *optional*): Ids `(T,)` of the voice around its new codes, if it is listened to.
        num_before (`int`): Steps of these before the first new codes.
    """

    recording: "WindowedRecording"
    start: int
    end: int
    num_kept: int
    conditioning: dict[str, torch.LongTensor]
    prefix: torch.LongTensor
    forced: torch.LongTensor | None = None
    voice: torch.LongTensor | None = None
    num_before: int = 0


class WindowedRecording:
    """One recording in one stage: `append` what has arrived, run the windows of `pop_windows`, `take` the result.

    Args:
        config (`AccompGenStageConfig`): Config of the stage.
        seed (`int`): Seed of the recording.
        known (`torch.LongTensor`, *optional*): The first target codes, `(1, T)` or `(1, K, T)`, from an earlier run
            with the same settings. Windows that lie in them do not run again.
        span (`Span`, *optional*): What is made anew of the known codes; all others stay, also inside a window.
        part (`PlayedPart`, *optional*): The part that is played. It takes its own of the streams of all parts that
            are appended; they come out again as they came in.
        style_id (`int`): Row of the style; 0 is any.
        heard_s (`float`): Seconds of the voice that a listener hears before and behind each window; 0 without one.
        told (`ToldSong`): What is known of the song before it is heard.
    """

    def __init__(
        self,
        config: Any,
        seed: int,
        known: torch.LongTensor | None = None,
        part: PlayedPart | None = None,
        style_id: int = 0,
        span: Span | None = None,
        heard_s: float = 0.0,
        told: ToldSong = NOTHING_TOLD,
    ):
        self._heard_steps = round(heard_s * GRID_RATE)
        self.config, self.seed, self.known, self.span = config, seed, known, None if known is None else span
        self.part, self.style_id, self.told = part, style_id, told
        self.plan = WindowPlan(config)
        self._held: dict[str, torch.LongTensor] = {}  # all codes from step `_first` on, the target's among them
        self._first = 0
        self._num_arrived = 0
        self._is_finished = False
        self._num_done = 0  # steps with all their codes
        self._num_taken = 0

    @property
    def num_parts(self) -> int:
        """How many parts of the same recording run beside each other, this one among them."""
        return 1 if self.part is None else self.part.num_rows

    def append(self, codes: dict[str, torch.LongTensor]) -> None:
        """Take the next piece: conditioning, and other entries that come out again beside the target."""
        for name, piece in codes.items():
            held = self._held.get(name)
            self._held[name] = piece if held is None else torch.cat([held, piece], dim=-1)
        self._num_arrived += piece.shape[-1] // frames_per_step(name)

    def finish(self) -> None:
        """Say that the recording ends here.

        Raises:
            ValueError: If more codes are known than it has.
        """
        name = self.config.target_name
        num_frames = self._num_arrived * frames_per_step(name)
        if self.known is not None and self.known.shape[-1] > num_frames:
            raise ValueError(
                f"`known_codes` must belong to this recording, got {self.known.shape[-1]} frames of `{name}` for "
                f"{num_frames}."
            )
        self._is_finished = True

    def has_ready(self, num_windows: int) -> bool:
        """Whether so many windows can run now. With overlap one is enough, and after the end any number is."""
        plan = self.plan
        last_start = plan.next_start if plan.overlap_steps else plan.next_start + (num_windows - 1) * plan.hop_steps
        return self._is_finished or last_start + plan.window_steps + self._heard_steps <= self._num_arrived

    def pop_windows(self, limit: int) -> list[StageWindow]:
        """Give up to `limit` windows that can run now; with overlap only one, since the next continues it."""
        windows = []
        while len(windows) < limit:
            earlier_end = self.plan.planned_end
            num_known = self._num_arrived - (0 if self._is_finished else self._heard_steps)
            planned = self.plan.next_window(num_known, self._is_finished)
            if planned is None:
                break
            start, end = planned
            own_start = max(start, earlier_end)
            first, last = self._find_unknown(own_start, end)
            self._lay_down_known(own_start, first)
            if first == last:
                continue
            num_kept = first - start
            window = StageWindow(self, start, last, num_kept, {}, self.cut(self.config.target_name, start, num_kept))
            window.conditioning = {name: self._cut_filled(name, start) for name in self.config.conditioning_names}
            if self.span is not None and self.span.parts is not None:
                window.forced = self.span.forced(self._cut_known(first, last))
            if self._heard_steps:
                heard = max(0, start - self._heard_steps)
                num_heard = start + self.plan.window_steps + self._heard_steps - heard
                window.voice, window.num_before = self.cut(SEMANTIC_NAMES[0], heard, num_heard)[0], first - heard
            self._lay_down_known(last, end)
            windows.append(window)
            if self.plan.overlap_steps:
                break
        return windows

    def _find_unknown(self, first: int, end: int) -> tuple[int, int]:
        """The steps of a window that have to be made; two equal numbers if all of its codes are known."""
        if self.known is None:
            return first, end
        if self.span is not None:
            return self.span.within(first, end)
        is_known = end * frames_per_step(self.config.target_name) <= self.known.shape[-1]
        return (end, end) if is_known else (first, end)

    def _cut_known(self, first: int, end: int) -> torch.LongTensor:
        per_step = frames_per_step(self.config.target_name)
        return self.known[..., first * per_step : end * per_step]

    def _lay_down_known(self, first: int, end: int) -> None:
        if first < end:
            self._lay_down(self.config.target_name, first, self._cut_known(first, end))
            self._num_done = max(self._num_done, end)

    def _lay_down(self, name: str, first: int, codes: torch.LongTensor) -> None:
        """Put codes of a stream in their place, from a step on; known ones may lie behind it already."""
        held, place = self._held.get(name), (first - self._first) * frames_per_step(name)
        held = codes[..., :0] if held is None else held
        gap = codes.new_zeros(*codes.shape[:-1], max(0, place - held.shape[-1]))
        self._held[name] = torch.cat([held[..., :place], gap, codes, held[..., place + codes.shape[-1] :]], dim=-1)

    def keep(self, window: StageWindow, codes: torch.LongTensor | dict[str, torch.LongTensor]) -> None:
        """Take a window's new codes, up to its end. A stage with several target streams gives them by name."""
        first = window.start + window.num_kept
        for name, new in (codes if isinstance(codes, dict) else {self.config.target_name: codes}).items():
            self._lay_down(name, first, new[..., : (window.end - first) * frames_per_step(name)])
        self._num_done = max(self._num_done, window.end)

    def take(self) -> dict[str, torch.LongTensor]:
        """Give all codes, including the target's, that have become final since the last call, and forget old ones."""
        final = {
            name: self.cut(name, self._num_taken, self._num_done - self._num_taken)
            for name in self._held
            if self._num_done > self._num_taken
        }
        self._num_taken = self._num_done
        # The last window moves left by less than a hop.
        needed = self.plan.next_start - (self.plan.hop_steps if self.plan.overlap_steps else 0)
        needed = max(self._first, min(needed - self._heard_steps, self._num_taken))
        for name, codes in self._held.items():
            self._held[name] = codes[..., (needed - self._first) * frames_per_step(name) :]
        self._first = needed
        return final

    def cut(self, name: str, start: int, num_steps: int) -> torch.LongTensor:
        """Codes of a stream that is still held, from a step on."""
        per_step = frames_per_step(name)
        held = self._held.get(name)
        if held is None:  # of the target nothing is there yet: an empty prefix, shaped like what will come
            like = next(iter(self._held.values()))
            segment = self._segment(name)
            return like.new_empty((1, segment.num_codebooks, 0) if segment.has_codebook_axis else (1, 0))
        return held[..., (start - self._first) * per_step : (start - self._first + num_steps) * per_step]

    def _cut_filled(self, name: str, start: int) -> torch.LongTensor:
        """A whole window of conditioning; past the recording's end stand the codes of silence."""
        cut = self._own_stream(name, self.cut(name, start, self.plan.window_steps))
        num_missing = self.plan.window_steps * frames_per_step(name) - cut.shape[-1]
        if not num_missing:
            return cut
        silence = (self.config.silence_codes or {}).get(name, [0] * self._segment(name).num_codebooks)
        silence = torch.tensor(silence, device=cut.device).view(-1, 1).expand(-1, num_missing)  # (K, T)
        silence = silence if cut.ndim == 3 else silence[0]
        return torch.cat([cut, silence.expand(*cut.shape[:-1], num_missing)], dim=-1)

    def _own_stream(self, name: str, codes: torch.LongTensor) -> torch.LongTensor:
        """Of the streams of several parts the one that is played; other codes stay."""
        if codes.ndim == (3 if self._segment(name).has_codebook_axis else 2):
            return codes
        # The plan is of all parts, codes are of those that are asked for.
        return codes[:, self.part.index if name in SEMANTIC_NAMES else self.part.row]

    def _segment(self, name: str) -> Segment:
        return next(segment for segment in self.config.segments if segment.name == name)


def run_all_windows(
    model: Any,
    recordings: list[WindowedRecording],
    window_batch_size: int | None = None,
    callback: Callable[[float], Any] | None = None,
    settings: dict[str, Any] | None = None,
    generate_windows: Callable[..., list] | None = None,
) -> list[dict[str, torch.LongTensor]]:
    """Run all windows of recordings that have arrived whole.

    Args:
        window_batch_size (`int`, *optional*): Windows that run together at most; `None` is 16, or the number of
            recordings.
        model, recordings, callback, settings, generate_windows: As in `run_next_windows`.

    Returns:
        `list` of `dict`: Everything that was appended to each recording, and the target.
    """
    if window_batch_size is None:
        window_batch_size = max(DEFAULT_WINDOW_BATCH_SIZE, len(recordings))
    for recording in recordings:
        recording.finish()
    while run_next_windows(model, recordings, window_batch_size, callback, settings, generate_windows):
        pass
    return [recording.take() for recording in recordings]


def run_next_windows(
    model: Any,
    recordings: list[WindowedRecording],
    window_batch_size: int = DEFAULT_WINDOW_BATCH_SIZE,
    callback: Callable[[float], Any] | None = None,
    settings: dict[str, Any] | None = None,
    generate_windows: Callable[..., list] | None = None,
) -> bool:
    """Run up to `window_batch_size` of each recording's windows that are ready, in shared batches.

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        recordings (`list` of `WindowedRecording`): Recordings, or variations of one, of any lengths.
        window_batch_size (`int`): Largest number of windows that run together, of any of the recordings; the parts of
            one recording count once.
        callback (`Callable`, *optional*): Called with the seconds of music just finished, over all recordings.
        settings (`dict`, *optional*): Settings for the stage's `generate`.
        generate_windows (`Callable`, *optional*): Gives the new codes of each window of a batch, called with model,
            windows, callback and settings. `None` generates the one target of a decoder-only stage.

    Returns:
        Whether there were any.

    Raises:
        ValueError: If `window_batch_size` is below one.
    """
    if window_batch_size < 1:
        raise ValueError(f"`window_batch_size` must be at least 1, got {window_batch_size}.")
    windows = [window for recording in recordings for window in recording.pop_windows(window_batch_size)]
    num_parts = max((recording.num_parts for recording in recordings), default=1)
    for batch in _share_batches(windows, window_batch_size * num_parts):
        new_codes = (generate_windows or _generate_windows)(model, batch, callback, settings or {})
        for window, codes in zip(batch, new_codes, strict=True):
            window.recording.keep(window, codes)
    return bool(windows)


def _share_batches(windows: list[StageWindow], window_batch_size: int) -> Iterator[list[StageWindow]]:
    """Rows of a batch have prompts of one length: windows that continue equally much run together."""
    by_prefix: dict[int, list[StageWindow]] = {}
    for window in windows:
        by_prefix.setdefault(window.num_kept, []).append(window)
    for alike in by_prefix.values():
        for first in range(0, len(alike), window_batch_size):
            yield alike[first : first + window_batch_size]


def _generate_windows(
    model: Any, windows: list[StageWindow], callback: Callable[[float], Any] | None, settings: dict[str, Any]
) -> list[torch.LongTensor]:
    """New codes of every window, `(1, T)` or `(1, K, T)`; those of shorter windows run on into silence."""
    config, target = model.config, model.config.target_segment
    rows = {name: torch.cat([window.conditioning[name] for window in windows]) for name in config.conditioning_names}
    inputs = build_stage_inputs(
        config, rows, torch.cat([window.prefix for window in windows]), **_row_ids(config, windows)
    )
    inputs.pop("labels")
    slots_per_step = frames_per_step(target.name) * target.num_codebooks
    num_kept = windows[0].num_kept * slots_per_step
    num_slots = max(window.end - window.start for window in windows) * slots_per_step
    starts_s = [window.start / GRID_RATE for window in windows]
    seeds = [window.recording.seed for window in windows]
    parts = [window.recording.part and window.recording.part.name for window in windows]
    uniforms = draw_uniforms(seeds, target.name, starts_s, num_slots, inputs["input_ids"].device, parts)
    streamer = None
    if callback is not None:
        new_s = sum(window.end - window.start - window.num_kept for window in windows) / GRID_RATE
        new_s /= windows[0].recording.num_parts
        streamer = _ProgressStreamer(callback, new_s / (num_slots - num_kept))
    settings, evidence = listen_to_windows(model, windows, settings, num_slots - num_kept)
    sequences = model.generate(
        **inputs,
        uniforms=uniforms[:, num_kept:],
        forced_ids=join_forced([window.forced for window in windows], target, num_slots - num_kept),
        max_new_tokens=num_slots - num_kept,
        streamer=streamer,
        evidence=evidence,
        **settings,
    )
    return list(ids_to_codes(target, sequences[:, inputs["input_ids"].shape[1] :]).split(1))


def _row_ids(config: Any, windows: list[StageWindow]) -> dict[str, torch.LongTensor]:
    """Part and style of every row, where the stage has embeddings of them."""
    ids = {}
    if config.num_part_rows:
        ids["part_ids"] = torch.tensor([window.recording.part.index for window in windows])
    if config.num_style_rows:
        ids["style_ids"] = torch.tensor([window.recording.style_id for window in windows])
    return ids


class _ProgressStreamer(BaseStreamer):
    """Report the seconds of music that a stage has finished; an exception raised by the callback stops it."""

    def __init__(self, callback: Callable[[float], Any], seconds_per_token: float):
        self.callback = callback
        self.seconds_per_token = seconds_per_token
        self.num_puts = -1  # the first put is the prompt

    def put(self, value: torch.Tensor) -> None:
        self.num_puts += 1
        if self.num_puts:
            self.callback(self.seconds_per_token)

    def end(self) -> None:
        pass


__all__ = [
    "DEFAULT_WINDOW_BATCH_SIZE",
    "PlayedPart",
    "StageWindow",
    "WindowPlan",
    "WindowedRecording",
    "frames_per_step",
    "played_parts",
    "run_all_windows",
    "run_next_windows",
]
