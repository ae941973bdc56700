"""x Wᵀ for the few rows of a decoding step, whose cost is reading W: the weight as it is, in float16, or in int8.

On a CPU, half and int8 are FBGEMM's products for weights packed once. Activations and sums stay float32; int8 rounds
the activations of a product, too (7 bits, one range for all rows, found anew every time).
"""

import warnings

import torch

WEIGHT_FORMATS = ("float16", "int8")
_MIN_HALF_SIZE = 2**20  # a smaller weight stays in the cache, where half the bytes are not worth a costlier call


class Projection:
    """The weight as it is, laid out as products with few rows read it fastest.

    Args:
        weight (`torch.Tensor` of shape `(num_outputs, num_inputs)`): Copied.
    """

    def __init__(self, weight: torch.Tensor):
        self.weight = weight.t().contiguous()

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return torch.mm(values, self.weight)

    def write(self, values: torch.Tensor, out: torch.Tensor) -> None:
        """Write the product into `out`."""
        torch.mm(values, self.weight, out=out)

    def add_to(self, hidden_states: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Add the product to `hidden_states` in place."""
        return hidden_states.addmm_(values, self.weight)


class _PackedProjection:
    """FBGEMM's products give a tensor of their own."""

    def write(self, values: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(self(values))

    def add_to(self, hidden_states: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return hidden_states.add_(self(values))


class HalfProjection(_PackedProjection):
    """The weight in float16: exact for a weight that float16 holds."""

    def __init__(self, weight: torch.Tensor):
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight, None)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic_fp16(values, self.packed)


class Int8Projection(_PackedProjection):
    """The weight in int8, with a scale for every output."""

    def __init__(self, weight: torch.Tensor):
        scales = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        with warnings.catch_warnings():
            # PyTorch announces the end of quantized tensors, but has no other way yet into FBGEMM's int8 product.
            warnings.simplefilter("ignore", UserWarning)
            zeros = torch.zeros_like(scales, dtype=torch.long)
            rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        # Without VNNI, sums of two products of 8 bits each would overflow: `reduce_range` leaves activations 7 bits.
        return torch.ops.quantized.linear_dynamic(values, self.packed, reduce_range=True)


def make_projection(
    weight: torch.Tensor, weight_format: str | None = None
) -> Projection | HalfProjection | Int8Projection:
    """Lay a weight out for decoding.

    Args:
        weight (`torch.Tensor` of shape `(num_outputs, num_inputs)`): Stays as it is.
        weight_format (`str`, *optional*): One of `WEIGHT_FORMATS`; `None` changes no value: a large weight that came
            from a checkpoint in float16 is read in float16, any other as it is.
    """
    weight = weight.detach()
    if weight_format == "int8":
        return Int8Projection(weight)
    can_be_half = weight.device.type == "cpu" and weight.dtype == torch.float32 and has_packed_products()
    is_half = can_be_half and weight.numel() >= _MIN_HALF_SIZE and torch.equal(weight, weight.half().float())
    return HalfProjection(weight) if weight_format == "float16" or is_half else Projection(weight)


def has_packed_products() -> bool:
    """Whether this build of PyTorch multiplies by FBGEMM: on x86, unless someone has chosen another engine."""
    return torch.backends.quantized.engine in ("x86", "fbgemm")


def check_weight_format(weight_format: str | None, weight: torch.Tensor) -> None:
    """Refuse what decoding with `weight` cannot read.

    Raises:
        ValueError: If the format is unknown, or the stage is not in float32 on a CPU with FBGEMM.
    """
    if weight_format is None:
        return
    if weight_format not in WEIGHT_FORMATS:
        raise ValueError(f"`weight_format` must be one of {WEIGHT_FORMATS} or None, got {weight_format!r}.")
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        raise ValueError(
            f"`set_weight_format({weight_format!r})` needs a float32 model on the CPU, this one is {weight.dtype} on "
            f'{weight.device}. On a GPU load it with `dtype="bfloat16"`; `set_weight_format(None)` takes it back.'
        )
    if not has_packed_products():
        raise ValueError(
            f"`set_weight_format({weight_format!r})` needs PyTorch's FBGEMM, whose engines are 'x86' and 'fbgemm', "
            f"got the engine {torch.backends.quantized.engine!r} (`torch.backends.quantized.engine`)."
        )


__all__ = [
    "WEIGHT_FORMATS",
    "HalfProjection",
    "Int8Projection",
    "Projection",
    "check_weight_format",
    "has_packed_products",
    "make_projection",
]
