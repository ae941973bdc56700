"""The options of a generation, declared once for the pipeline, the command, settings files, the page and endpoints."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

# Which part of the pipeline takes an option; `forward` also takes every setting of Transformers' generation config.
CALL, PREPROCESS, FORWARD, POSTPROCESS = "call", "preprocess", "forward", "postprocess"


@dataclass(frozen=True)
class GenerationOption:
    """One option.

    Attributes:
        name (`str`): Argument of the pipeline.
        kind (`type`): `int`, `float`, `bool`, `str`, `list` of words, or `dict` for the settings of one stage.
        step (`str`): Part of the pipeline that takes it.
        low, high (`float`): Range of a number.
        choices (`tuple` of `str`): Words that a `str` may be; without any every word is one.
        help (`str`, *optional*): What it does, in the command's words. Without it the command has no such option.
        metavar (`str`, *optional*): Stands for the value in the command's help.
        is_setting (`bool`): Whether a settings file may hold it.
        label (`str`, *optional*): Its name on the command and in settings files, if not `name`.
    """

    name: str
    kind: type
    step: str = FORWARD
    low: float = -math.inf
    high: float = math.inf
    help: str | None = None
    metavar: str | None = None
    is_setting: bool = True
    label: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its name in a settings file."""
        return self.name if self.label is None else self.label

    def accepts(self, value: Any) -> bool:
        """Whether a value is of the option's kind and in its range or among its choices, if it has these."""
        if not is_of_kind(value, self.kind):
            return False
        if self.kind is str:
            return not self.choices or value in self.choices
        return self.kind in (bool, list, dict) or self.low <= value <= self.high


def is_of_kind(value: Any, kind: type) -> bool:
    """Whether a value, as JSON gives it, is of a kind: a whole number is also a float, nothing else is two kinds."""
    if isinstance(value, bool) or kind is bool:  # Python counts `True` among the integers
        return isinstance(value, bool) and kind is bool
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, (int, float) if kind is float else kind)


GENERATION_OPTIONS: dict[str, GenerationOption] = {
    option.name: option
    for option in (
        GenerationOption(
            "seed",
            int,
            CALL,
            low=0,
            help="same seed, same audio; recording and variation i use seed + i; -1 draws one",
        ),
        GenerationOption(  # no setting: each variation has a settings file of its own
            "num_variations",
            int,
            CALL,
            low=1,
            help="how many accompaniments per recording",
            metavar="N",
            is_setting=False,
            label="variations",
        ),
        GenerationOption("style", str, help="style of the band, one that the model's card lists", metavar="NAME"),
        GenerationOption("parts", list, help="parts to play, such as drums bass (all of the model's)", metavar="NAME"),
        GenerationOption(
            "key", str, help='key of the song, such as "A minor" or Bb (else the voice tells)', metavar="KEY"
        ),
        GenerationOption(
            "tempo_bpm",
            float,
            low=30,
            high=300,
            help="beats per minute (else the voice tells)",
            metavar="BPM",
        ),
        GenerationOption("chords", list),  # the command reads them from a file
        GenerationOption("preview", bool, help="coarse codes alone: a little sooner, duller sound"),
        GenerationOption(
            "output_sampling_rate",
            int,
            POSTPROCESS,
            low=1,
            help="sampling rate of the files in Hz (that of the vocals)",
            metavar="HZ",
            label="sampling_rate",
        ),
        GenerationOption("allow_truncated", bool, PREPROCESS, help="use what is there of a file that ends early"),
        GenerationOption("guidance_scale", float, low=0, help="how strongly the band follows the singer", metavar="W"),
        GenerationOption(
            "temperature", float, low=0, help="below 1: safer, above 1: wilder, 0: the likeliest codes", metavar="T"
        ),
        GenerationOption("top_k", int, low=0, help="choose among the K likeliest codes only", metavar="K"),
        GenerationOption(
            "top_p", float, low=0, high=1, help="choose among the likeliest codes that sum up to P", metavar="P"
        ),
        GenerationOption(
            "engine",
            str,
            help="what decodes on the CPU (numba if it is installed); torch gives the same bits without it",
            choices=("numba", "torch"),
        ),
        GenerationOption(
            "accompaniment_lufs_offset",
            float,
            POSTPROCESS,
            low=-60,
            high=60,
            help="loudness of the band in the mix, minus that of the voice (-3)",
            metavar="LU",
        ),
        GenerationOption(
            "lead_sheet", bool, POSTPROCESS, help="hear key, beats and chords of what is played (yes; a little work)"
        ),
        *(GenerationOption(f"{stage}_kwargs", dict) for stage in ("semantic", "coarse", "fine")),
        # Arguments of the pipeline alone.
        GenerationOption("sampling_rate", int, PREPROCESS, is_setting=False),
        GenerationOption("max_duration_s", float, PREPROCESS, low=0, is_setting=False),
        GenerationOption("vocals_lufs", float, PREPROCESS, is_setting=False),
        GenerationOption("return_codes", bool, POSTPROCESS, is_setting=False),
    )
}


def split_by_step(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Divide arguments of the pipeline among its steps: `preprocess`, `forward` (the rest) and `postprocess`.

    `generate_kwargs`, as pipelines of Transformers call them, are arguments like the others.

    Raises:
        ValueError: If an argument is given twice.
    """
    parts: dict[str, dict[str, Any]] = {PREPROCESS: {}, FORWARD: {}, POSTPROCESS: {}}
    generate_kwargs = arguments.get("generate_kwargs") or {}
    twice = sorted(set(generate_kwargs) & set(arguments))
    if twice:
        raise ValueError(f"`generate_kwargs` holds {twice}, which are also given by themselves. Leave one out.")
    arguments = {name: value for name, value in {**arguments, **generate_kwargs}.items() if name != "generate_kwargs"}
    for name, value in arguments.items():
        step = GENERATION_OPTIONS[name].step if name in GENERATION_OPTIONS else FORWARD
        parts.get(step, parts[FORWARD])[name] = value
    return parts[PREPROCESS], parts[FORWARD], parts[POSTPROCESS]


_IS_AS_LONG = "an accompaniment is as long as its vocals: give a shorter recording"
_IS_OF_ONE_WINDOW = "the stages run window by window: call one stage's own `generate` for it"
# Settings of Transformers' `generate` that have no meaning for a whole recording, and what to do instead.
_NO_SETTINGS = {
    **dict.fromkeys(("max_new_tokens", "max_length", "min_new_tokens", "min_length", "max_time"), _IS_AS_LONG),
    **dict.fromkeys(("stopping_criteria", "stop_strings"), _IS_AS_LONG),
    "streamer": "`callback` hears of every step, and `stream` gives audio away while the rest is made",
    **dict.fromkeys(
        ("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states"),
        _IS_OF_ONE_WINDOW,
    ),
    **dict.fromkeys(
        ("input_ids", "segment_ids", "segment_positions", "uniforms", "logits_processor"), _IS_OF_ONE_WINDOW
    ),
}


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what `generate` of a stage takes for one window and a whole recording does not.

    Raises:
        ValueError: If there is such a setting; the message says what to do instead.
    """
    for name, value in settings.items():
        if name in _NO_SETTINGS and value not in (None, False):
            raise ValueError(f"`{name}` cannot be set for a whole recording: {_NO_SETTINGS[name]}.")


def resolve_scale(name: str, generation_config: Any, given: Any) -> float:
    """A weight that was given, or the generation config's of this name; 0 without either.

    Raises:
        ValueError: If it is no number from 0 on.
    """
    if given is None:
        given = getattr(generation_config, name, None) or 0.0
    if not is_of_kind(given, float) or given < 0:
        raise ValueError(f"`{name}` must be a number from 0 on, got {given!r}.")
    return float(given)


def limit_options(**ranges: tuple[float, float]) -> dict[str, GenerationOption]:
    """The options that a service offers, by name, each with the range that it allows."""
    return {name: replace(GENERATION_OPTIONS[name], low=low, high=high) for name, (low, high) in ranges.items()}


__all__ = [
    "CALL",
    "FORWARD",
    "GENERATION_OPTIONS",
    "POSTPROCESS",
    "PREPROCESS",
    "GenerationOption",
    "check_settings",
    "is_of_kind",
    "limit_options",
    "resolve_scale",
    "split_by_step",
]
