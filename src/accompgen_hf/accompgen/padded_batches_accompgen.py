"""Batches as Transformers pads them: rows of one tensor that end at different samples, there and back.

Letters: B batch, N samples at 16 kHz.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .configuration_accompgen import SEMANTIC_NAMES
from .modeling_accompgen_semantic_encoder import SAMPLES_PER_FRAME, SAMPLES_PER_GRID_STEP

FILLED_CODE = -1  # behind the last code of a shorter row
_OUTPUT_PER_INPUT = 3, 2  # 24 kHz of 16 kHz
_CODEC_SAMPLES = 320  # of 24 kHz in a frame at 75 Hz

Lengths = torch.Tensor | Sequence[int] | None


def list_lengths(input_values: torch.Tensor, attention_mask: torch.Tensor | None, num_samples: Lengths) -> list[int]:
    """How many samples of each row are the recording's own, from the processor's `num_samples` or its mask.

    Args:
        input_values (`torch.Tensor` of shape `(B, N)`): Rows, padded at their ends.
        attention_mask (`torch.Tensor` of shape `(B, N)`, *optional*): 0 marks padding.
        num_samples (`torch.Tensor` of shape `(B,)` or sequence of `int`, *optional*): Stands above the mask.

    Raises:
        ValueError: If they do not fit the rows.
    """
    batch_size, longest = input_values.shape
    if num_samples is None and attention_mask is None:
        return [longest] * batch_size
    if num_samples is None:
        if attention_mask.shape != input_values.shape:
            raise ValueError(
                f"`attention_mask` must have the shape of `input_values`, {tuple(input_values.shape)}, got "
                f"{tuple(attention_mask.shape)}."
            )
        num_samples = attention_mask.bool().sum(-1)
        ends = torch.arange(longest, device=attention_mask.device) < num_samples[:, None]
        if not torch.equal(ends, attention_mask.bool()):
            raise ValueError("`attention_mask` must mark padding at the end of a row alone, and nothing else.")
    lengths = _as_list("num_samples", num_samples, batch_size)
    for length in lengths:
        if not SAMPLES_PER_GRID_STEP <= length <= longest or length % SAMPLES_PER_GRID_STEP:
            raise ValueError(
                f"`num_samples` must be multiples of {SAMPLES_PER_GRID_STEP} between {SAMPLES_PER_GRID_STEP} and "
                f"{longest}, got {length}. `AccompGenProcessor` gives them."
            )
    return lengths


def list_output_lengths(lengths: list[int], output_num_samples: Lengths) -> list[int]:
    """Samples at 24 kHz of each row: as asked for, else all that its codes give.

    Raises:
        ValueError: If there are not as many as rows, or more samples are asked for than there are.
    """
    numerator, denominator = _OUTPUT_PER_INPUT
    given = [length * numerator // denominator for length in lengths]
    if output_num_samples is None:
        return given
    asked = _as_list("output_num_samples", output_num_samples, len(lengths))
    for length, most in zip(asked, given, strict=True):
        if not 1 <= length <= most:
            raise ValueError(f"`output_num_samples` must be between 1 and what a row gives, got {length} of {most}.")
    return asked


def _as_list(name: str, numbers: torch.Tensor | Sequence[int], batch_size: int) -> list[int]:
    numbers = [int(number) for number in numbers]
    if len(numbers) != batch_size:
        raise ValueError(f"`{name}` must be one number per row of `input_values` ({batch_size}), got {numbers}.")
    return numbers


def cut_codes(codes: Mapping[str, torch.LongTensor], row: int, length: int) -> dict[str, torch.LongTensor]:
    """The codes of one row of a batch, without what fills it up: `(1, ...)` each.

    Args:
        codes (`dict` of `str` to `torch.LongTensor`): Codes of the whole batch by name.
        length (`int`): Samples of the row at 16 kHz.
    """
    numerator, denominator = _OUTPUT_PER_INPUT
    num_frames = {True: length // SAMPLES_PER_FRAME, False: length * numerator // denominator // _CODEC_SAMPLES}
    return {name: of_all[row : row + 1, ..., : num_frames[name in SEMANTIC_NAMES]] for name, of_all in codes.items()}


def list_known_codes(
    known_codes: Mapping[str, torch.LongTensor] | Sequence[dict[str, torch.LongTensor]] | None,
    lengths: list[int] | None,
    num_items: int,
) -> list[dict[str, torch.LongTensor]]:
    """Known codes of every recording, `(1, ...)` each.

    Args:
        known_codes (`dict` or `list` of `dict`, *optional*): Those of a whole batch, or of each recording of a list.
        lengths (`list` of `int`, *optional*): Samples of each row of a batch; `None` is a list of recordings.

    Raises:
        ValueError: If a batch is given a list, or a list the codes of a batch.
    """
    if not known_codes:
        return [{} for _ in range(num_items)]
    if lengths is not None and isinstance(known_codes, Mapping):
        return [cut_codes(known_codes, row, length) for row, length in enumerate(lengths)]
    if lengths is None and not isinstance(known_codes, Mapping):
        return list(known_codes)
    raise ValueError(
        "`known_codes` must be one dict for a batch in one tensor and a list of dicts for a list of recordings, got "
        f"{type(known_codes).__name__} for {'a list' if lengths is None else 'one tensor'}."
    )


def join_outputs(results: list[dict[str, torch.Tensor]], output_lengths: list[int] | None) -> dict[str, torch.Tensor]:
    """One batch of the outputs of rows of any lengths: audio filled up with silence, codes with -1.

    Args:
        results (`list` of `dict`): Output of each row, `(1, ...)` tensors by name.
        output_lengths (`list` of `int`, *optional*): Samples that each row's audio keeps; `None` keeps all of rows of
            one length.
    """
    joined: dict[str, Any] = {}
    for name in results[0]:
        rows = [result[name] for result in results]
        is_sound = name in ("audio", "stems")
        if is_sound and output_lengths is not None:
            rows = [row[..., :length] for row, length in zip(rows, output_lengths, strict=True)]
        longest = max(row.shape[-1] for row in rows)
        fill = 0.0 if is_sound else FILLED_CODE
        joined[name] = torch.cat(
            [torch.nn.functional.pad(row, (0, longest - row.shape[-1]), value=fill) for row in rows]
        )
    if output_lengths is not None:
        joined["output_num_samples"] = torch.tensor(output_lengths)
    return joined


__all__ = ["FILLED_CODE", "cut_codes", "join_outputs", "list_known_codes", "list_lengths", "list_output_lengths"]
