"""What numba's own language lacks for a decoding step: products in registers, waiting between threads, fast functions.

A matrix W lies in panels of 32 outputs, each `(num_inputs, 32)`: a product keeps 32 sums per row in registers and
reads W once, front to back. LLVM's vectors of 16 are cut to what the processor has.

This file needs numba, and is imported at the first generation that uses it.
"""

import ctypes
import logging
import os

try:
    import llvmlite.binding
    import numba
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.core.event import Listener, install_listener
    from numba.extending import intrinsic
except ImportError as error:
    how = '`pip install ".[fast]"` in the folder of the repository'
    raise ImportError(f"Compiled decoding needs numba: {how} ({error}).") from error
import numpy as np

logger = logging.getLogger(__name__)
PANEL = 32  # outputs side by side
LANES = 16  # of one vector in LLVM's code, which it cuts to what the processor has
_FEATURES = llvmlite.binding.get_host_cpu_features()
_HAS_WIDE_REGISTERS = bool(_FEATURES.get("avx512f"))
WIDENS_HALF = bool(_FEATURES.get("f16c", True))  # only x86 knows the name; without it LLVM wants a library for float16
_MOST_SUMS = 4 if _HAS_WIDE_REGISTERS else 2  # vectors pairs of running sums that stay in registers

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_STORED = {types.float32: _FLOAT, types.uint16: ir.HalfType(), types.int8: ir.IntType(8)}
_SUM_FLAGS = ("contract",)  # multiply and add may be one operation


def _address(context, builder, array_type, array, index):
    """Pointer to an element of an array that is contiguous, counted flat."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


class _ProductWriter:
    """Writes LLVM's code of y[r, :] = scale * Σ_i x[r, i] w[i, :] for some rows and one panel."""

    def __init__(self, context, builder, signature, arguments, rows: int, vectors: int):
        self.context, self.builder, self.rows, self.vectors = context, builder, rows, vectors
        names = (
            "w",
            "w_first",
            "scale",
            "scale_first",
            "x",
            "x_first",
            "x_stride",
            "y",
            "y_first",
            "y_stride",
            "size",
        )
        self.values = dict(zip(names, arguments, strict=True))
        self.types = dict(zip(names, signature.args, strict=True))
        # So many inputs at once, each with sums of its own: the next addition to a sum waits for the last one.
        self.num_sums = max(1, _MOST_SUMS // rows)
        zeros = ir.Constant(_VECTOR, [0.0] * LANES)
        self.sums = [
            [[cgutils.alloca_once_value(builder, zeros) for _ in range(vectors)] for _ in range(rows)]
            for _ in range(self.num_sums)
        ]

    def place(self, *terms):
        """The sum of some indices."""
        total = terms[0]
        for term in terms[1:]:
            total = self.builder.add(total, term)
        return total

    def times(self, index, number: int):
        return self.builder.mul(index, self.constant(number))

    def constant(self, number: int):
        return ir.Constant(self.values["size"].type, number)

    def pointer(self, name: str, index, element=_FLOAT):
        address = _address(self.context, self.builder, self.types[name], self.values[name], index)
        return self.builder.bitcast(address, element.as_pointer())

    def load_weights(self, index) -> list:
        """The vectors of one input, as numbers."""
        dtype, vectors = self.types["w"].dtype, []
        for vector in range(self.vectors):
            offset = self.constant(vector * LANES)
            place = self.place(self.values["w_first"], self.times(index, self.vectors * LANES), offset)
            pointer = self.pointer("w", place, ir.VectorType(_STORED[dtype], LANES))
            values = self.builder.load(pointer, align=dtype.bitwidth // 8)
            if dtype == types.int8:
                values = self.builder.sitofp(values, _VECTOR)
            elif dtype == types.uint16:
                values = self.builder.fpext(values, _VECTOR)
            vectors.append(values)
        return vectors

    def add_products(self, index, sums: list) -> None:
        """Add x[r, i] w[i, :] for so many inputs from `index` on as there are sums."""
        unknown = ir.Constant(_VECTOR, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        for number, of_input in enumerate(sums):
            own = self.place(index, self.constant(number))
            weights = self.load_weights(own)
            for row in range(self.rows):
                place = self.place(self.values["x_first"], self.times(self.values["x_stride"], row), own)
                value = self.builder.load(self.pointer("x", place), align=4)
                value = self.builder.insert_element(unknown, value, ir.Constant(ir.IntType(32), 0))
                value = self.builder.shuffle_vector(value, unknown, everywhere)
                for total, weight in zip(of_input[row], weights, strict=True):
                    product = self.builder.fmul(value, weight, flags=_SUM_FLAGS)
                    self.builder.store(self.builder.fadd(self.builder.load(total), product, flags=_SUM_FLAGS), total)

    def store_sums(self) -> None:
        """Write the sums, times the scale of their outputs."""
        for row in range(self.rows):
            for vector in range(self.vectors):
                total = self.builder.load(self.sums[0][row][vector])
                for of_input in self.sums[1:]:
                    total = self.builder.fadd(total, self.builder.load(of_input[row][vector]))
                offset = self.constant(vector * LANES)
                place = self.place(self.values["scale_first"], offset)
                scale = self.builder.load(self.pointer("scale", place, _VECTOR), align=4)
                place = self.place(self.values["y_first"], self.times(self.values["y_stride"], row), offset)
                self.builder.store(self.builder.fmul(total, scale), self.pointer("y", place, _VECTOR), align=4)

    def write(self):
        size, num_sums = self.values["size"], self.num_sums
        whole = self.builder.sdiv(size, self.constant(num_sums))
        with cgutils.for_range(self.builder, whole) as loop:
            self.add_products(self.times(loop.index, num_sums), self.sums)
        done = self.times(whole, num_sums)
        with cgutils.for_range(self.builder, self.builder.sub(size, done)) as loop:
            self.add_products(self.place(loop.index, done), self.sums[:1])
        self.store_sums()
        return self.context.get_dummy_value()


def _make_product(rows: int, vectors: int):
    """The product of `rows` rows and one panel of `vectors` vectors, as a function for compiled code."""

    def generate(context, builder, signature, arguments):
        return _ProductWriter(context, builder, signature, arguments, rows, vectors).write()

    @intrinsic
    def product(typing_context, w, w_first, scale, scale_first, x, x_first, x_stride, y, y_first, y_stride, size):
        place = types.intp
        return types.void(w, place, scale, place, x, place, place, y, place, place, place), generate

    return product


product_of_one = _make_product(1, 2)
product_of_two = _make_product(2, 2)
product_of_four = _make_product(4, 2)
narrow_product = _make_product(1, 1)


@intrinsic
def count_up(typing_context, counters):
    """Add one to `counters[0]`, as seen by all threads."""

    def generate(context, builder, signature, arguments):
        pointer = _address(context, builder, signature.args[0], arguments[0], ir.Constant(ir.IntType(64), 0))
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters), generate


@intrinsic
def look_at(typing_context, counters, index):
    """Read a counter as all threads see it."""

    def generate(context, builder, signature, arguments):
        pointer = _address(context, builder, signature.args[0], *arguments)
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(counters, types.intp), generate


@intrinsic
def let_others_run(typing_context):
    """Give the core to another thread that waits for one."""

    def generate(context, builder, signature, arguments):
        function_type = ir.FunctionType(ir.IntType(32), [])
        function = cgutils.get_or_insert_function(builder.module, function_type, "accompgen_let_others_run")
        return builder.call(function, [])

    return types.int32(), generate


def _register_yield() -> None:
    """Give compiled code the system's call that ends a thread's turn."""
    function = ctypes.windll.kernel32.SwitchToThread if os.name == "nt" else ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    llvmlite.binding.add_symbol("accompgen_let_others_run", address)


_register_yield()


@intrinsic
def as_float(typing_context, bits):
    """Take the bits of an int32 as a float32."""
    return types.float32(types.int32), lambda context, builder, signature, args: builder.bitcast(args[0], _FLOAT)


@intrinsic
def as_bits(typing_context, value):
    """Take the bits of a float32 as an int32."""
    integer = ir.IntType(32)
    return types.int32(types.float32), lambda context, builder, signature, args: builder.bitcast(args[0], integer)


_MATH = {"contract", "reassoc", "nsz", "arcp"}  # infinite and undefined values keep their meaning
inline = numba.njit(nogil=True, fastmath=_MATH, error_model="numpy")


def compiled(function):
    """Decorator: compiled at the first call with new types, and kept on disk where that can be written to."""
    try:
        return numba.njit(cache=True, nogil=True, fastmath=_MATH, error_model="numpy")(function)
    except RuntimeError:  # no folder to write to
        return inline(function)


class _Notice(Listener):
    """Says once that something is being compiled."""

    has_spoken = False

    def on_start(self, event):
        if not _Notice.has_spoken:
            _Notice.has_spoken = True
            logger.warning("Compiling the decoding step for this machine, once: this takes 10 to 60 seconds.")

    def on_end(self, event):
        pass


def compile_for(function, arguments: tuple) -> None:
    """Compile for arguments of these types, or load what the disk holds; only the former is announced.

    Raises:
        OSError: If it was compiled and could not be kept.
    """
    with install_listener("numba:compile", _Notice()):
        function.compile(tuple(numba.typeof(argument) for argument in arguments))


_f = np.float32
_LOG2_E, _SMALLEST_POWER = _f(1.4426950408889634), _f(-126)
_P0, _P1, _P2 = _f(1), _f(0.6931471805599453), _f(0.24022650695910072)
_P3, _P4, _P5, _P6 = _f(0.05550410866482158), _f(0.009618129107628477), _f(0.0013333558146428443), _f(1.540353e-4)
_HALF, _ONE = _f(0.5), _f(1)


@inline
def exp_of_negative(value):
    """e^x for x <= 0 to a relative 2e-7: the power of two by its bits, the rest by a polynomial."""
    power = max(value * _LOG2_E, _SMALLEST_POWER)
    whole = np.int32(power - _HALF)
    rest = power - _f(whole)
    series = _P6 * rest + _P5
    series = series * rest + _P4
    series = series * rest + _P3
    series = series * rest + _P2
    series = series * rest + _P1
    series = series * rest + _P0
    return series * as_float(np.int32((whole + np.int32(127)) << np.int32(23)))


_A1, _A3, _A5 = _f(-1.60960333262415e-02), _f(-2.95459980854025e-03), _f(-7.34990630326855e-04)
_A7, _A9, _A11 = _f(-5.69250639462346e-05), _f(-2.10102402082508e-06), _f(2.77068142495902e-08)
_A13 = _f(-2.72614225801306e-10)
_B0, _B2, _B4 = _f(-1.42647390514189e-02), _f(-7.37332916720468e-03), _f(-1.68282697438203e-03)
_B6, _B8 = _f(-2.13374055278905e-04), _f(-1.45660718464996e-05)
_ROOT_HALF, _FOUR = _f(0.7071067811865476), _f(4)


@inline
def gelu(value):
    """x Φ(x), with Eigen's quotient of polynomials for erf."""
    x = min(max(value * _ROOT_HALF, -_FOUR), _FOUR)
    square = x * x
    top = _A13 * square + _A11
    top = top * square + _A9
    top = top * square + _A7
    top = top * square + _A5
    top = top * square + _A3
    top = top * square + _A1
    bottom = _B8 * square + _B6
    bottom = bottom * square + _B4
    bottom = bottom * square + _B2
    bottom = bottom * square + _B0
    return _HALF * value * (_ONE + x * top / bottom)


@numba.njit(nogil=True, fastmath={"nnan", "nsz"})
def largest_of(values, size):
    """The largest of the first values; one that is not a number may give anything."""
    largest = values[0]
    for index in range(1, size):
        largest = max(largest, values[index])
    return largest
