"""Networks as ONNX files, written byte by byte: the format is protobuf, and four operators are all the tests need."""

import struct
from pathlib import Path

import numpy as np

_FLOAT = 1  # TensorProto.DataType


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _tensor(name: str, array: np.ndarray) -> bytes:
    dims = b"".join(_field(1, int(size)) for size in array.shape)
    return dims + _field(2, _FLOAT) + _field(8, name) + _field(9, struct.pack(f"<{array.size}f", *array.ravel()))


def _value_info(name: str, shape: tuple[int | str, ...]) -> bytes:
    dims = b"".join(_field(1, _field(1 if isinstance(size, int) else 2, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    return b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(4, operator)


def write_mixing_network(
    path: Path,
    mixing: np.ndarray,
    bin_gains: np.ndarray,
    dim_t: int,
    batch: int | str = "batch",
    num_channels: int = 4,
) -> Path:
    """Write a network with MDX-Net's signature: (batch, 4, dim_f, dim_t) -> the same.

    Args:
        mixing (`np.ndarray` of shape `(4, 4)`):
            Output channel from input channels (left real, left imaginary, right real, right imaginary).
        bin_gains (`np.ndarray` of shape `(dim_f,)`):
            Factor per frequency.
    """
    shape = (batch, num_channels, len(bin_gains), dim_t)
    nodes = [_node("Conv", ["input", "mixing"], "mixed"), _node("Mul", ["mixed", "gains"], "output")]
    tensors = [_tensor("mixing", mixing.reshape(4, 4, 1, 1)), _tensor("gains", bin_gains.reshape(1, 1, -1, 1))]
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "network")
    graph += b"".join(_field(5, tensor) for tensor in tensors)
    graph += _field(11, _value_info("input", shape)) + _field(12, _value_info("output", shape))
    opset = _field(1, "") + _field(2, 13)
    Path(path).write_bytes(_field(1, 8) + _field(7, graph) + _field(8, opset))
    return Path(path)
