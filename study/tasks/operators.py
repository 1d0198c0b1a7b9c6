"""Multiply-accumulates (MACs) of operators that fvcore does not know or miscounts.

Each handle takes the inputs and outputs of one node of a traced graph. Biases, additions and element-wise
functions count nothing, as in fvcore's own handles.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Values = Sequence[Any]
Handle = Callable[[Values, Values], int]

NEAREST, BICUBIC = 1, 2
"""Interpolation modes of ``aten::grid_sampler``; 0 is linear."""

ELEMENT_WISE = """
    abs adaptive_avg_pool1d adaptive_avg_pool3d add addcmul argsort avg_pool1d avg_pool2d avg_pool3d clamp_max
    clamp_min cos cumsum div elu eq erf exp eye fill ge gelu ger gt hardsigmoid hardswish hardtanh kron le
    leaky_relu linalg_vector_norm linspace log log_softmax logical_and logical_not lt max_pool1d max_pool2d
    max_pool3d maximum mean min minimum mish mul ne neg norm ones_like outer pow reciprocal rsqrt rsub selu
    sigmoid silu sin softmax softplus sort sqrt square std sub sum tanh topk tril triu var where
"""
"""Operators of a few operations a value, where products take hundreds: pools, comparisons, sorting, reductions,
constants."""

REARRANGING = """
    alias clone dropout embedding expand_as feature_dropout flip hsplit im2col index_select lift_fresh mT meshgrid
    movedim numpy_T pad pixel_shuffle repeat repeat_interleave reshape_as scatter swapaxes tensor_split tile
    unflatten unfold unsafe_chunk unsafe_split view_as vsplit
"""
"""Operators without arithmetic in evaluation that fvcore does not know to be free."""

NEGLIGIBLE = frozenset(f"{ELEMENT_WISE} {REARRANGING}".split())
"""Operators not reported as uncounted: names without ``aten::`` and without the ``_`` of the in-place form."""


def is_negligible(name: str) -> bool:
    """Whether an operator, such as ``aten::mul_``, is not reported as uncounted."""
    return name.removeprefix("aten::").removesuffix("_") in NEGLIGIBLE


def attention(inputs: Values, outputs: Values) -> int:
    """Count attention of queries (…, Lq, dq) to keys (…, Lk, dq) and values (…, Lk, dv).

    The two products take Lq x Lk x (dq + dv) for each batch and head of the queries, masked or not.
    """
    queries, _, values = map(shape, inputs[:3])
    return math.prod(queries[:-1]) * values[-2] * (queries[-1] + values[-1])


def product(inputs: Values, outputs: Values) -> int:
    """Count ``a @ b``, with vectors and broadcasting: the last axis of `a` for each output value."""
    return math.prod(shape(outputs[0])) * shape(inputs[0])[-1]


def added_product(inputs: Values, outputs: Values) -> int:
    """Count ``input + a @ b`` for a (…, n, m) and b (…, m, p) or (m,): … x n x m x p."""
    a, b = map(shape, inputs[1:3])
    return math.prod(a) * (b[-1] if len(b) > 1 else 1)


def tensor_product(inputs: Values, outputs: Values) -> int:
    """Count ``tensordot``: with M x K and K x N values for M x N, the root of (MK)(KN)(MN) is M x K x N."""
    a, b = map(shape, inputs[:2])
    return math.isqrt(math.prod(a) * math.prod(b) * math.prod(shape(outputs[0])))


def einsum(inputs: Values, outputs: Values) -> int:
    """Count an Einstein sum, two operands at a time: one for each combination of the letters of a pair.

    Pairs follow the path if there is one, else go from left to right; a letter that is not needed further is summed
    out. A single operand counts nothing.
    """
    terms, arrow, result = inputs[0].toIValue().replace(" ", "").partition("->")
    shapes = [shape(value) for value in inputs[1].node().inputs()]
    axes = [_axes(term, len(sizes)) for term, sizes in zip(terms.split(","), shapes, strict=True)]
    length: dict[str, int] = {}
    for names, sizes in zip(axes, shapes, strict=True):
        for name, size in zip(names, sizes, strict=True):
            length[name] = max(size, length.get(name, 1))
    if arrow:
        kept = set(_axes(result, len(shape(outputs[0]))))
    else:
        seen = Counter(name for names in axes for name in names)
        kept = {name for name in length if seen[name] == 1 or name.startswith("...")}
    operands, macs = [set(names) for names in axes], 0
    for first, second in _pairs(len(operands), _integers(inputs[2]) if len(inputs) > 2 else []):
        letters = operands.pop(max(first, second)) | operands.pop(min(first, second))
        macs += math.prod(length[name] for name in letters)
        operands.append(letters & kept.union(*operands))
    return macs


def _axes(term: str, dimensions: int) -> list[str]:
    """Return a name for each axis of an operand; those of an ellipsis are numbered from the right."""
    letters = term.replace("...", ".")
    hidden = dimensions - len(letters.replace(".", ""))
    names: list[str] = []
    for letter in letters:
        names += [f"...{axis}" for axis in range(hidden, 0, -1)] if letter == "." else [letter]
    return names


def _pairs(operands: int, path: Sequence[int]) -> list[tuple[int, int]]:
    """Return the two operands to contract at each step; their result becomes the last operand."""
    if path:
        return list(zip(path[::2], path[1::2], strict=True))
    return [(0, 1) if left == operands else (0, left - 1) for left in range(operands, 1, -1)]


def same_convolution(inputs: Values, outputs: Values) -> int:
    """Count a convolution with ``padding="same"``: its kernel for every output value."""
    return shape(inputs[0])[0] * math.prod(shape(inputs[1])) * math.prod(shape(outputs[0])[2:])


def recurrent(inputs: Values, outputs: Values) -> int:
    """Count a GRU, LSTM or plain recurrent network: every weight matrix once for each step of each clip.

    Layers, directions and projections are matrices like the others; the gates' element-wise work is left out.
    """
    *steps, _ = shape(inputs[0])
    lists = [value.node() for value in inputs if value.node().kind() == "prim::ListConstruct"]
    weights = [shape(weight) for weight in lists[-1].inputs()]
    return math.prod(steps) * sum(math.prod(weight) for weight in weights if len(weight) == 2)


def resize(taps: int) -> Handle:
    """Return a handle that counts `taps` for each output value of a resize."""

    def count(inputs: Values, outputs: Values) -> int:
        return taps * math.prod(shape(outputs[0]))

    return count


def grid_sample(inputs: Values, outputs: Values) -> int:
    """Count sampling at a grid: the neighbours in the weighted sum of each output value."""
    sizes = shape(outputs[0])
    space = len(sizes) - 2
    taps: int = {NEAREST: 1, BICUBIC: 4**space}.get(inputs[2].toIValue(), 2**space)
    return taps * math.prod(sizes)


HANDLES: dict[str, Handle] = {
    "aten::scaled_dot_product_attention": attention,
    "aten::matmul": product,  # fvcore's fails on vectors and does not broadcast
    "aten::mv": product,
    "aten::dot": product,
    "aten::inner": product,
    "aten::baddbmm": added_product,
    "aten::addbmm": added_product,
    "aten::addmv": added_product,
    "aten::tensordot": tensor_product,
    "aten::einsum": einsum,  # fvcore's halves products that sum nothing, and rounds
    "aten::_convolution_mode": same_convolution,
    "aten::gru": recurrent,
    "aten::lstm": recurrent,
    "aten::rnn_tanh": recurrent,
    "aten::rnn_relu": recurrent,
    "aten::upsample_nearest1d": resize(1),
    "aten::upsample_nearest3d": resize(1),
    "aten::_upsample_nearest_exact1d": resize(1),
    "aten::_upsample_nearest_exact2d": resize(1),
    "aten::_upsample_nearest_exact3d": resize(1),
    "aten::upsample_linear1d": resize(2),
    "aten::upsample_trilinear3d": resize(8),
    "aten::upsample_bicubic2d": resize(16),
    "aten::grid_sampler": grid_sample,  # fvcore assumes a 2-D grid and linear interpolation
}
"""Operators to their handles; fvcore has its own for nearest and bilinear resizes of images."""


def shape(value: Any) -> list[int]:
    """Return the shape of a tensor in a traced graph."""
    sizes: list[int] = value.type().sizes()
    return sizes


def _integers(value: Any) -> list[int]:
    """Return a list of integers in a traced graph; empty if it holds no list."""
    if value.node().kind() == "prim::ListConstruct":
        return [item.toIValue() for item in value.node().inputs()]
    return list(value.toIValue() or [])
