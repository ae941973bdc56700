"""A stage's listener: tables that say what ids have to do with beats and chords, and the evidence that follows.

Letters: C clusters, P parts, H parts of a beat, T frames of 50 Hz, N frames that evidence is asked of.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig

from .listening_accompgen import (
    NO_PITCH,
    NUM_CHORDS,
    PHASES_PER_BEAT,
    STEP_RATE,
    find_beat_phases,
    find_chords,
    settle_chords,
    weigh_codes,
)
from .options_accompgen import resolve_scale
from .told_song_accompgen import NOTHING_TOLD, ToldSong

LISTENING_CONTEXT_S = 12.0  # heard before and behind a window


class AccompGenListener(nn.Module):
    """Tables counted in songs (examples/fit_listener.py); none of them is trained with the stage.

    Attributes:
        beat_of_voice (`torch.FloatTensor` of shape `(C, H)`): log p(part of the beat | id of the voice) - log p(part
            of the beat).
        pitch_of_voice (`torch.FloatTensor` of shape `(C, 13)`): p(pitch class or none | id of the voice).
        pitch_of_chord (`torch.FloatTensor` of shape `(2, 12)`): p(pitch class above the root | chord is minor), sung.
        first_chord (`torch.FloatTensor` of shape `(2, 24)`): p(chord above the tonic | key is minor).
        next_chord (`torch.FloatTensor` of shape `(2, 24, 24)`): The same after a chord, a beat later.
        beat_of_code (`torch.FloatTensor` of shape `(P, C, H)`): p(part of the beat | id of a part) / p(part of the
            beat).
        chord_of_code (`torch.FloatTensor` of shape `(P, C, 24)`): The same of chords.
    """

    def __init__(self, num_clusters: int, num_parts: int):
        super().__init__()
        for name, (shape, value) in self.table_shapes(num_clusters, num_parts).items():
            self.register_buffer(name, torch.full(shape, value))

    @staticmethod
    def table_shapes(num_clusters: int, num_parts: int) -> dict[str, tuple[tuple[int, ...], float]]:
        """Shape of every table, and the value that says nothing."""
        return {
            "beat_of_voice": ((num_clusters, PHASES_PER_BEAT), 0.0),
            "pitch_of_voice": ((num_clusters, NO_PITCH + 1), 1 / (NO_PITCH + 1)),
            "pitch_of_chord": ((2, 12), 1 / 12),
            "first_chord": ((2, NUM_CHORDS), 1 / NUM_CHORDS),
            "next_chord": ((2, NUM_CHORDS, NUM_CHORDS), 1 / NUM_CHORDS),
            "beat_of_code": ((num_parts, num_clusters, PHASES_PER_BEAT), 1.0),
            "chord_of_code": ((num_parts, num_clusters, NUM_CHORDS), 1.0),
        }

    def hear(
        self,
        voice_ids: torch.LongTensor,
        first: int,
        num_frames: int,
        told: ToldSong = NOTHING_TOLD,
        start_s: float = 0.0,
    ) -> torch.FloatTensor:
        """What a voice says about the codes of some of its frames: of its beat, and of its chords.

        Args:
            voice_ids (`torch.LongTensor` of shape `(T,)`): Ids of the voice, an even number, with much before and
                behind these frames.
            first, num_frames (`int`): The frames, N from an even one on, an even number.
            told (`ToldSong`, *optional*): What is known of the song already.
            start_s (`float`): Place of the first id in the song, in seconds.

        Returns:
            `torch.FloatTensor` of shape `(N, P, C)`: log p(code | voice) - log p(code), in nats, of every part.
        """
        tables = {name: table.detach().double().cpu().numpy() for name, table in self.named_buffers()}
        ids = voice_ids.cpu().numpy()
        phases, begins = find_beat_phases(tables["beat_of_voice"], ids, told.tempo_bpm)
        told_chords = told.chords_at(start_s + (np.arange(len(begins)) + 0.5) / STEP_RATE) if told.chords else None
        names = ("pitch_of_voice", "pitch_of_chord", "first_chord", "next_chord")
        found = find_chords(*(tables[name] for name in names), ids, begins, told.key, told_chords)
        chords = settle_chords(found)
        steps = slice(first // 2, (first + num_frames) // 2)
        evidence = weigh_codes(phases[steps], tables["beat_of_code"])
        evidence += weigh_codes(chords[steps], tables["chord_of_code"])
        return torch.from_numpy(np.repeat(evidence, 2, axis=0)).to(voice_ids.device, torch.float32)


def resolve_listening_scale(model: Any, generation_config: GenerationConfig | None, given: float | None) -> float:
    """The scale that was given, or the generation config's; 0 without either.

    Raises:
        ValueError: If it is no number from 0 on, or the stage has no listener.
    """
    given = resolve_scale("listening_scale", generation_config or model.generation_config, given)
    if given and getattr(model, "listener", None) is None:
        raise ValueError(
            "`listening_scale` must be 0 for a stage without a listener (its `has_listener` is False; "
            f"examples/fit_listener.py makes one), got {given!r}."
        )
    return given


__all__ = ["LISTENING_CONTEXT_S", "AccompGenListener", "resolve_listening_scale"]
