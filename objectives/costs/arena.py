"""The working memory that a ``.tflite`` file needs beside its weights: LiteRT's arena."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from paretune.objectives.flatbuffer.graph import Graph, Operator, Tensor

_BYTES = {
    "BOOL": 1,
    "INT8": 1,
    "UINT8": 1,
    "INT16": 2,
    "UINT16": 2,
    "FLOAT16": 2,
    "BFLOAT16": 2,
    "INT32": 4,
    "UINT32": 4,
    "FLOAT32": 4,
    "INT64": 8,
    "UINT64": 8,
    "FLOAT64": 8,
    "COMPLEX64": 8,
}
#: Bytes to which LiteRT aligns every tensor.
_ALIGNMENT = 64
#: Operators whose first output may overwrite an input of as many bytes that nobody else reads, by input.
_IN_PLACE = {"ADD": (0, 1), "SUB": (0, 1), "MUL": (0, 1), "DIV": (0, 1), "SOFTMAX": (0,)}
#: Operators whose output is their first input as it stands.
UNMODIFIED = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST")
#: Bytes up to which an output gets a place of its own.
_SCALAR_BYTES = 4
_FOREVER = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A tensor that needs a place.

    Attributes:
        bytes: How large it is.
        first: Number of the operator that writes it; 0 for inputs and states.
        last: Number of the last operator that reads it; beyond all operators for what must stay.
    """

    bytes: int
    first: int
    last: int


def arena_bytes(graph: Graph) -> int:
    """Return the peak of the memory for activations: what LiteRT's arena takes for one run.

    Inputs, outputs and the states of recurrent layers stay for the whole run, every other computed tensor from the
    operator that writes it to the last that reads it; reshapes and, where nobody else reads the input, elementwise
    operators take no memory of their own. A kernel in float16 is made float32 in the arena once, and stays. Places are
    those of :func:`plan`. Each subgraph (a loop's condition, its body) has an arena of its own, and these are added.

    It is what LiteRT's interpreter allocates for tensors when no delegate takes over. Not in it: scratch memory that
    kernels ask for, XNNPACK's copies of the weights, and the interpreter's own structures. TensorFlow Lite Micro plans
    in the same way (the head of its arena), but lets go of inputs once they are read and overwrites nothing in place.
    """
    return sum(_of_subgraph(graph, number) for number in range(len(graph.tensors)))


def plan(lifetimes: Iterable[Lifetime]) -> int:
    """Return the bytes of an arena in which tensors that live at the same time do not overlap.

    Greedy by size: the largest first, each into the smallest gap that is large enough between those that it meets, or
    behind them; what stays from beginning to end goes first of all.

    References:
        Pisarchyk & Lee (2020), Efficient memory management for deep neural net inference, algorithm 3.
    """
    order = sorted(lifetimes, key=lambda each: (not _is_kept(each), 0 if _is_kept(each) else -each.bytes, each.first))
    placed: list[tuple[int, Lifetime]] = []  # by offset
    total = 0
    for tensor in order:
        offset = _best_offset(tensor, placed)
        placed.append((offset, tensor))
        placed.sort(key=lambda each: each[0])
        total = max(total, offset + tensor.bytes)
    return total


def _is_kept(tensor: Lifetime) -> bool:
    return tensor.first == 0 and tensor.last >= _FOREVER


def _best_offset(tensor: Lifetime, placed: Sequence[tuple[int, Lifetime]]) -> int:
    best, smallest_gap, end = None, _FOREVER, 0
    for offset, other in placed:
        if other.last < tensor.first or other.first > tensor.last:
            continue
        start = _aligned(end)
        if start + tensor.bytes <= offset and offset - start < smallest_gap:
            best, smallest_gap = start, offset - start
        end = max(end, offset + other.bytes)
    return _aligned(end) if best is None else best


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _of_subgraph(graph: Graph, number: int) -> int:
    operators = [operator for operator in graph.operators if operator.subgraph == number]
    tensors = graph.tensors[number]
    inputs, outputs = graph.ends[number]
    reads = Counter(given for operator in operators for given in operator.inputs if given >= 0)
    place_of = _places(operators, tensors, {*inputs}, {*outputs}, reads)
    first = {given: 0 for given in (*inputs, *_variables(tensors)) if given >= 0}
    kept = {place_of.get(given, given) for given in (*outputs, *first)}
    last: dict[int, int] = {}
    for step, operator in enumerate(operators):
        for output in operator.outputs:
            first.setdefault(output, step)
            if is_constant_made_float(operator, tensors):
                kept.add(output)
                first[output] = 0
        for given in operator.inputs:
            last[place_of.get(given, given)] = step
    return plan(
        Lifetime(
            bytes=tensor_bytes(tensors[each]),
            first=start,
            last=_FOREVER if each in kept or each not in last else last[each],
        )
        for each, start in first.items()
        if each not in place_of and not tensors[each].is_constant and tensor_bytes(tensors[each])
    )


def _places(
    operators: Sequence[Operator], tensors: Sequence[Tensor], inputs: set[int], outputs: set[int], reads: Counter[int]
) -> dict[int, int]:
    """Return, for each tensor that lies where another does, which one that is."""
    place_of: dict[int, int] = {}
    for operator in operators:
        unmodified = operator.kind in UNMODIFIED
        candidates = (0,) if unmodified else _IN_PLACE.get(operator.kind, ())
        output = operator.outputs[0] if operator.outputs else -1
        for place in candidates:
            given = operator.inputs[place] if place < len(operator.inputs) else -1
            if given < 0 or given in inputs or output in outputs or tensors[given].is_constant:
                continue
            root = place_of.get(given, given)
            if not unmodified and (reads[given] > 1 or reads[root] > 1 or root in inputs):
                continue
            size = tensor_bytes(tensors[given])
            if size != tensor_bytes(tensors[output]) or size <= _SCALAR_BYTES:
                continue
            place_of[output] = root
            break
    return place_of


def _variables(tensors: Sequence[Tensor]) -> list[int]:
    return [number for number, tensor in enumerate(tensors) if tensor.is_variable]


def is_constant_made_float(operator: Operator, tensors: Sequence[Tensor]) -> bool:
    """Return whether an operator only makes a stored constant float32, once when a file is loaded."""
    return operator.kind == "DEQUANTIZE" and tensors[operator.inputs[0]].is_constant


def tensor_bytes(tensor: Tensor) -> int:
    """Return what a computed tensor takes; 0 for kinds that are not kept as plain elements."""
    return prod(max(size, 0) for size in tensor.shape) * _BYTES.get(tensor.dtype, 0)
