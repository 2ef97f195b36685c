"""Where the kernels of a Keras model are in its ``.tflite`` file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.objectives.flatbuffer.graph import Graph, Operator, Tensor
from paretune.objectives.kernels.weights import compressed_variables
from paretune.objectives.templates.expressions import Expression, Weights, part_of, unscaled
from paretune.objectives.templates.matching import scaled_axes, varying_axes

#: Axis of a constant that runs over output channels (rows of an embedding), by operator; 0 elsewhere.
_CHANNEL_AXES = {"DEPTHWISE_CONV_2D": 3}
#: Parts of a kernel of low rank: what is applied first, to the inputs, and what makes the outputs of that.
INNER, OUTER = "inner", "outer"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPlace:
    """A constant of the file that holds a kernel of a layer, or a part of it.

    Attributes:
        tensor: Name of the constant.
        shape: Its shape, before channels are removed.
        variable: Number of the kernel in ``layer.weights``.
        part: Which part of the kernel it is, such as ``2/4`` for a gate, or a factor of it (:data:`INNER`,
            :data:`OUTER`); empty for all of it.
        compressed: Whether sparsity and clusters act on it; number formats always do.
        operator: Kind of the operator that uses it, such as ``CONV_2D``.
        scopes: By operator that uses it: the names of its outputs, each ended by a semicolon, as ai-edge-quantizer
            matches them.
        subgraph: Number of the subgraph of those operators.
        channel_axis: Axis of the constant that runs over output channels.
        folded_axes: Axes along which a norm is folded in, so that each channel has a scale of its own: the output
            channels where it follows the layer, the input channels of a Dense layer where it goes before.
    """

    tensor: str
    shape: tuple[int, ...]
    variable: int
    part: str
    compressed: bool
    operator: str
    scopes: tuple[str, ...]
    subgraph: int
    channel_axis: int
    folded_axes: tuple[int, ...]

    @property
    def is_factor(self) -> bool:
        """Whether it is one of the two kernels that stand for one of low rank."""
        return self.part in (INNER, OUTER)


def find_places(
    graph: Graph, model: Any, weights: Weights, matched: Mapping[str, Expression]
) -> dict[str, tuple[KernelPlace, ...]]:
    """Find the kernels of every layer that has some.

    Args:
        graph: The file, converted with random ``weights``.
        model: The Keras model.
        weights: Those weights.
        matched: What is known about constants, by tensor name. A kernel that no expression matched is looked for by
            its proportions: scaling along one axis leaves them alone.

    Returns:
        Places by layer name; a layer whose kernel is not in the file as such is left out.
    """
    consumers = _consumers(graph)
    constants = {tensor.name: tensor for tensor in graph.all_tensors() if tensor.name in consumers}
    places: dict[str, tuple[KernelPlace, ...]] = {}
    for layer in model.layers:
        own: list[KernelPlace] = []
        for number, compressed in _kernels(layer).items():
            holders = _holders(graph, constants, weights, (layer.name, number), matched)
            for tensor, folded_axes in holders:
                operators = consumers[tensor.name]
                kind = operators[0].kind
                own.append(
                    KernelPlace(
                        tensor=tensor.name,
                        shape=tensor.shape,
                        variable=number,
                        part=part_of(matched[tensor.name]) if tensor.name in matched else "",
                        compressed=compressed,
                        operator=kind,
                        scopes=tuple(graph.scope(operator) for operator in operators),
                        subgraph=tensor.subgraph,
                        channel_axis=_CHANNEL_AXES.get(kind, 0),
                        folded_axes=folded_axes,
                    )
                )
        if own:
            places[layer.name] = tuple(own)
    return places


def _kernels(layer: Any) -> dict[int, bool]:
    """Return the numbers of a layer's kernels in ``layer.weights``, and whether sparsity and clusters act on them."""
    numbers = {id(variable): number for number, variable in enumerate(layer.weights)}
    kernels = {numbers[id(variable)]: True for variable in compressed_variables(layer)}
    if type(layer).__name__ == "SeparableConv2D":
        kernels[numbers[id(layer.depthwise_kernel)]] = False
    return kernels


def _holders(
    graph: Graph,
    constants: Mapping[str, Tensor],
    weights: Weights,
    source: tuple[str, int],
    matched: Mapping[str, Expression],
) -> list[tuple[Tensor, tuple[int, ...]]]:
    """Return the constants that hold a variable, each with the axes that a norm is folded in along."""
    exact = []
    for name, expression in matched.items():
        if name in constants and any((each.layer, each.index) == source for each in expression.sources()):
            bare = unscaled(expression).evaluate(weights)
            exact.append((constants[name], varying_axes(expression.evaluate(weights), bare)))
    if exact:
        return exact
    kernel = weights[source[0]][source[1]]
    proportional = []
    for name, tensor in constants.items():
        if name not in matched and tensor.dtype == "FLOAT32" and tensor.elements == kernel.size:
            axes = scaled_axes(graph.stored(tensor), kernel)
            if axes is not None:
                proportional.append((tensor, axes))
    return proportional


def _consumers(graph: Graph) -> dict[str, list[Operator]]:
    """Return the operators that use each constant, by tensor name."""
    consumers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for number in operator.inputs:
            if number >= 0 and graph.named(operator, number).is_constant:
                consumers.setdefault(graph.named(operator, number).name, []).append(operator)
    return consumers
