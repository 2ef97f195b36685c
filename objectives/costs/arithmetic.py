"""Multiply-accumulate operations of a ``.tflite`` file, operator by operator, and how wide their factors are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from paretune.objectives.flatbuffer.graph import Graph, Operator, Tensor

_BITS = {"INT4": 4, "INT2": 2, "INT8": 8, "UINT8": 8, "INT16": 16, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT32": 32}
#: Bits to which LiteRT's hybrid kernels (integer weights, float activations) round activations as they run.
_HYBRID_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """The multiplications of one operator for one run of the file.

    Attributes:
        kind: The operator, in the schema's words.
        macs: Multiply-accumulate operations.
        weight_bits: Bits of one factor as it is multiplied: the weights, or the second input where both are computed.
        activation_bits: Bits of the other.
        is_float: Whether they are floating point numbers.
    """

    kind: str
    macs: int
    weight_bits: int
    activation_bits: int
    is_float: bool

    @property
    def bit_operations(self) -> int:
        """MACs times the bits of both factors.

        References:
            Baskin et al. (2018), UNIQ: Uniform noise injection for non-uniform quantization of neural networks, sec.
            4.2; Wang, Lu & Blankevoort (2020), Differentiable joint pruning and quantization for hardware efficiency,
            sec. 3.3.
        """
        return self.macs * self.weight_bits * self.activation_bits


def arithmetic_of(graph: Graph) -> tuple[Arithmetic, ...]:
    """Count what a file multiplies in one run, for a batch as large as its shapes say (one, in files made here).

    Counted are convolutions, fully connected and matrix products and recurrent operators; the body of a loop as often
    as its condition's bound says. Additions, norms and activations are left out, as is usual. Zeros count like other
    weights, since no kernel skips them.

    Returns:
        One entry for each operator that multiplies, in order.
    """
    return tuple(entry for operator, times in runs_of(graph) for entry in _entries(graph, operator, times))


def runs_of(graph: Graph, subgraph: int = 0, *, times: int = 1) -> Iterator[tuple[Operator, int]]:
    """Yield the operators that one run executes, with how often; of a choice between subgraphs, the first."""
    for operator in graph.operators:
        if operator.subgraph != subgraph:
            continue
        if operator.kind == "WHILE":
            condition, body = operator.calls
            yield from runs_of(graph, body, times=times * _rounds(graph, condition))
        elif operator.calls:
            yield from runs_of(graph, operator.calls[0], times=times)
        else:
            yield operator, times


def multiplied_tensors(graph: Graph, operator: Operator) -> tuple[Tensor, ...]:
    """Return activations and weights of an operator that multiplies matrices; nothing of any other."""
    factors = _factors(graph, operator)
    return () if factors is None else (factors.activations, factors.weights)


def _factors(graph: Graph, operator: Operator) -> "_Factors | None":
    if operator.kind not in _COUNTS:
        return None
    inputs = [graph.named(operator, number) if number >= 0 else None for number in operator.inputs]
    return _COUNTS[operator.kind](inputs, graph.named(operator, operator.outputs[0]))


def _entries(graph: Graph, operator: Operator, times: int) -> Iterator[Arithmetic]:
    factors = _factors(graph, operator)
    if factors is None:
        return
    activations, weights = _BITS.get(factors.activations.dtype, 32), _BITS.get(factors.weights.dtype, 32)
    is_float = "FLOAT" in factors.weights.dtype
    if not is_float and "FLOAT" in factors.activations.dtype:
        activations = _HYBRID_BITS
    yield Arithmetic(
        kind=operator.kind,
        macs=factors.macs * times,
        weight_bits=weights,
        activation_bits=activations,
        is_float=is_float,
    )


@dataclass(frozen=True, slots=True)
class _Factors:
    """What an operator multiplies, how often: activations by weights."""

    macs: int
    activations: Tensor
    weights: Tensor


def _rounds(graph: Graph, condition: int) -> int:
    """Return how often a loop runs: the constant that its condition compares with; 1 where there is none."""
    for operator in graph.operators:
        if operator.subgraph == condition and operator.kind == "LESS":
            for number in operator.inputs:
                tensor = graph.named(operator, number)
                if tensor.is_constant:
                    return int(graph.stored(tensor).reshape(-1)[0])
    return 1


_Inputs = Sequence[Tensor | None]


def _given(inputs: _Inputs, place: int) -> Tensor:
    tensor = inputs[place]
    if tensor is None:
        raise ValueError(f"input {place} must be there")
    return tensor


def _convolution(inputs: _Inputs, output: Tensor) -> _Factors:
    kernel = _given(inputs, 1)  # output channels first
    return _Factors(output.elements * prod(kernel.shape[1:]), _given(inputs, 0), kernel)


def _depthwise(inputs: _Inputs, output: Tensor) -> _Factors:
    kernel = _given(inputs, 1)  # 1, height, width, channels
    return _Factors(output.elements * prod(kernel.shape[1:3]), _given(inputs, 0), kernel)


def _convolution_3d(inputs: _Inputs, output: Tensor) -> _Factors:
    kernel = _given(inputs, 1)  # depth, height, width, input channels, output channels
    return _Factors(output.elements * prod(kernel.shape[:-1]), _given(inputs, 0), kernel)


def _transposed(inputs: _Inputs, output: Tensor) -> _Factors:
    kernel, given = _given(inputs, 1), _given(inputs, 2)  # output channels, height, width, input channels
    return _Factors(given.elements * prod(kernel.shape[:3]), given, kernel)


def _matrix_product(inputs: _Inputs, output: Tensor) -> _Factors:
    left, right = _given(inputs, 0), _given(inputs, 1)
    # either may be given transposed, so the inner axis is told from how much there is of the outer one
    inner = prod(left.shape[-2:]) // output.shape[-2]
    return _Factors(output.elements * inner, left, right)


def _recurrent(inputs: _Inputs, output: Tensor) -> _Factors:
    given = _given(inputs, 0)
    kernels = [tensor for tensor in inputs[1:] if tensor is not None and len(tensor.shape) > 1 and tensor.is_constant]
    if not kernels:  # held in half precision, they are computed: told from their shapes, which states do not have
        kernels = [each for each in inputs[1:] if each is not None and len(each.shape) > 1 and not each.is_variable]
    steps = given.elements // given.shape[-1]
    return _Factors(steps * sum(kernel.elements for kernel in kernels), given, kernels[0])


_COUNTS: Mapping[str, Callable[[_Inputs, Tensor], _Factors]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _convolution,
    "TRANSPOSE_CONV": _transposed,
    "BATCH_MATMUL": _matrix_product,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "SVDF": _recurrent,
}
