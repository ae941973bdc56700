"""What a stage's listener hears around windows: seconds of the voice that it needs, and the evidence that follows."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .configuration_accompgen import GRID_RATE, SEMANTIC_NAMES
from .listener_accompgen import LISTENING_CONTEXT_S, resolve_listening_scale
from .regeneration_accompgen import frames_per_step
from .told_song_accompgen import NOTHING_TOLD, ToldSong


def listening_context_s(model: Any, settings: dict[str, Any] | None, told: Iterable[ToldSong] = ()) -> float:
    """Seconds of the voice that a stage hears before and behind each window beside its conditioning.

    Args:
        settings (`dict`, *optional*): Settings for the stage's `generate`, `listening_scale` among them.
        told (iterable of `ToldSong`): What is known of its recordings.

    Raises:
        ValueError: If `listening_scale` is no number from 0 on, the stage has no listener, or something is told that
            it does not listen for.
    """
    if _listening_scale(model, settings or {}):
        return LISTENING_CONTEXT_S
    if any(song != NOTHING_TOLD for song in told):
        raise ValueError(
            "`key`, `tempo_bpm` and `chords` must be left out where nothing listens for them: the semantic stage has "
            "no listener (examples/fit_listener.py makes one), or its `listening_scale` is 0."
        )
    return 0.0


def _listening_scale(model: Any, settings: dict[str, Any]) -> float:
    return resolve_listening_scale(model, settings.get("generation_config"), settings.get("listening_scale"))


def listen_to_windows(
    model: Any, windows: Sequence[Any], settings: dict[str, Any], num_slots: int
) -> tuple[dict[str, Any], torch.FloatTensor | None]:
    """The settings that `generate` takes, and what a listener hears: `(B, num_slots, codebook_size)`, or nothing.

    Args:
        model (`AccompGenStageForCausalLM`): The stage.
        windows (sequence of `StageWindow`): The windows of a batch.
        settings (`dict`): Settings for the stage's `generate`, `listening_scale` among them.
        num_slots (`int`): New slots of the longest window.
    """
    scale = _listening_scale(model, settings)
    settings = {name: value for name, value in settings.items() if name != "listening_scale"}
    if not scale:
        return settings, None
    rows, per_step, heard = [], frames_per_step(SEMANTIC_NAMES[0]), {}
    for window in windows:
        frames = (window.num_before * per_step, (window.end - window.start - window.num_kept) * per_step)
        told, start_s = window.recording.told, (window.start + window.num_kept - window.num_before) / GRID_RATE
        asked = (window.voice.cpu().numpy().tobytes(), frames, told, start_s)
        if asked not in heard:  # takes of one voice hear the same
            own = model.listener.hear(window.voice, *frames, told, start_s).flatten(0, 1)  # (N P, C)
            heard[asked] = F.pad(own, (0, 0, 0, num_slots - len(own)))  # shorter windows run on into silence
        rows.append(heard[asked])
    return settings, scale * torch.stack(rows).to(model.device)


__all__ = ["listen_to_windows", "listening_context_s"]
