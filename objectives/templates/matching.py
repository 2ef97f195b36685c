"""Find, by value, which variables each constant of a converted file came from.

The weights must be random: then a constant equals the right expression and no other, and neither names nor the
structure of the graph are needed. A sum of absolute values sorts out almost every wrong pair before elements are
compared.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from paretune.objectives.templates.expressions import (
    Absorbed,
    Expression,
    Norm,
    Part,
    Reshaped,
    Scale,
    Scaled,
    Shifted,
    Transposed,
    Variable,
    Weights,
)

#: Folding is done in float32 by the converter and by us, in different orders.
_TOLERANCE = 1e-5
_SUM_TOLERANCE = 1e-4
_GATES = (3, 4)


def norms_of(model: Any) -> list[Norm]:
    """Return the layers of a Keras model that the converter may fold into their neighbours."""
    norms = []
    for layer in model.layers:
        if type(layer).__name__ not in ("BatchNormalization", "SyncBatchNormalization", "LayerNormalization"):
            continue
        numbers = {id(variable): number for number, variable in enumerate(layer.weights)}
        gamma, beta, mean, variance = (
            numbers.get(id(getattr(layer, name, None))) for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        if layer.weights and layer.weights[0].shape.rank == 1:
            channels = int(layer.weights[0].shape[0])
            norms.append(
                Norm(
                    layer=layer.name,
                    channels=channels,
                    gamma=gamma,
                    beta=beta,
                    mean=mean,
                    variance=variance,
                    epsilon=float(layer.epsilon),
                )
            )
    return norms


def match_constants(
    constants: Mapping[str, np.ndarray], weights: Weights, norms: Sequence[Norm]
) -> dict[str, Expression]:
    """Find an expression for every constant that has one.

    Args:
        constants: Constants by tensor name, in the file's shapes.
        weights: The random weights that the file was converted with.
        norms: Layers that may be folded.

    Returns:
        By tensor name: an expression that gives the constant in the file's shape and axis order.
    """
    open_constants: dict[int, dict[str, float]] = defaultdict(dict)
    for name, constant in constants.items():
        open_constants[constant.size][name] = _magnitude(constant)
    found: dict[str, Expression] = {}
    for size, magnitude, expression in _candidates(weights, norms, set(open_constants)):
        for name, expected in list(open_constants[size].items()):
            if abs(magnitude - expected) > _SUM_TOLERANCE * max(magnitude, expected):
                continue
            arranged = _arranged(expression, expression.evaluate(weights), constants[name])
            if arranged is not None:
                found[name] = arranged
                del open_constants[size][name]
    return found


def scaled_axes(constant: np.ndarray, array: np.ndarray) -> tuple[int, ...] | None:
    """Return the axes of ``constant`` along which it is ``array``, its axes in any order, times varying numbers.

    Returns:
        No axis where the two are proportional; ``None`` where more than one axis would be needed.
    """
    flat, target = array.squeeze(), constant.squeeze()
    kept = [axis for axis, length in enumerate(constant.shape) if length > 1]
    for order in orders(flat.shape, target.shape):
        varying = varying_axes(target, flat.transpose(order))
        if len(varying) <= 1:
            return tuple(kept[axis] for axis in varying)
    return None


def varying_axes(array: np.ndarray, other: np.ndarray) -> tuple[int, ...]:
    """Return the axes along which the ratio of two arrays without zeros changes."""
    ratio = array / other
    lines = (np.moveaxis(ratio, axis, 0) for axis in range(ratio.ndim))
    changes = [bool(np.any(np.abs(line - line[:1]) > 1e-3 * np.abs(line[:1]))) for line in lines]
    return tuple(axis for axis, change in enumerate(changes) if change)


def _candidates(weights: Weights, norms: Sequence[Norm], sizes: set[int]) -> Iterator[tuple[int, float, Expression]]:
    """Yield size, sum of absolute values, and expression of whatever the converter may have made."""
    scales = {norm.layer: norm.scale(weights) for norm in norms}
    for form, array in forms(weights):
        if array.size not in sizes:
            continue
        yield array.size, _magnitude(array), form
        if array.ndim >= 2:
            for magnitude, scaled in _scaled(form, array, norms, scales):
                yield array.size, magnitude, scaled
    for norm in norms:
        if norm.channels in sizes:
            yield norm.channels, _magnitude(scales[norm.layer]), Scale(norm)
    for shifted in biases(weights, norms):
        value = shifted.evaluate(weights)
        if value.size in sizes:
            yield value.size, _magnitude(value), shifted


def forms(weights: Weights) -> Iterator[tuple[Expression, np.ndarray]]:
    """Yield every variable, whole, with depth and multiplier merged, and by gates."""
    for layer, arrays in weights.items():
        for index, array in enumerate(arrays):
            variable = Variable(layer, index)
            yield variable, array
            if array.ndim == 4:  # the kernel of a depthwise convolution; TensorFlow Lite merges its last two axes
                merged = (*array.shape[:2], array.shape[2] * array.shape[3])
                yield Reshaped(variable, merged), array.reshape(merged)
            if array.ndim in (2, 3):  # attention keeps heads apart; TensorFlow Lite merges them with a neighbour
                for axis in range(array.ndim - 1):
                    merged = (*array.shape[:axis], array.shape[axis] * array.shape[axis + 1], *array.shape[axis + 2 :])
                    yield Reshaped(variable, merged), array.reshape(merged)
            if array.ndim > 2:
                continue
            for count in _GATES:
                if array.ndim and array.shape[-1] % count == 0:
                    for number, part in enumerate(np.split(array, count, axis=-1)):
                        yield Part(variable, -1, number, count), part
            if array.ndim == 2 and array.shape[0] == 2:  # GRU keeps the biases of input and state as two rows
                for row in range(2):
                    yield Part(variable, 0, row, 2), array[row : row + 1]


def _scaled(
    form: Expression, array: np.ndarray, norms: Sequence[Norm], scales: Mapping[str, np.ndarray]
) -> Iterator[tuple[float, Expression]]:
    """Yield a kernel scaled along its last two axes: by the norm behind it, the norm before it, or both."""
    first, last = array.ndim - 2, array.ndim - 1
    magnitudes = np.abs(array.astype(np.float64)).sum(axis=tuple(range(first)))
    for norm in norms:
        scale = np.abs(scales[norm.layer])
        if norm.channels == array.shape[last]:
            yield float(magnitudes.sum(axis=0) @ scale), Scaled(form, norm, last)
        if norm.channels == array.shape[first]:
            yield float(magnitudes.sum(axis=1) @ scale), Scaled(form, norm, first)
            for behind in norms:
                if behind.channels == array.shape[last] and array.ndim == 2:
                    both = Scaled(Scaled(form, norm, first), behind, last)
                    yield float(scale @ magnitudes @ np.abs(scales[behind.layer])), both


def biases(weights: Weights, norms: Sequence[Norm]) -> Iterator[Expression]:
    """Yield what a bias can become."""
    for norm in norms:
        yield Shifted(None, norm)
        for layer, arrays in weights.items():
            vectors = [Variable(layer, number) for number, array in enumerate(arrays) if array.ndim == 1]
            for vector in vectors:
                if weights[layer][vector.index].size == norm.channels:
                    yield Shifted(vector, norm)
            for number, array in enumerate(arrays):
                if array.ndim == 2 and array.shape[0] == norm.channels:
                    behind = [None, *(other for other in norms if other.channels == array.shape[1])]
                    fitting = [vector for vector in vectors if arrays[vector.index].size == array.shape[1]]
                    for bias, after in itertools.product([None, *fitting], behind):
                        yield Absorbed(Variable(layer, number), bias, norm, after)
                if array.ndim == 3 and array.shape[0] == norm.channels:  # of attention; its bias, if any, comes next
                    has_bias = number + 1 < len(arrays) and arrays[number + 1].shape == array.shape[1:]
                    for bias in (None, Variable(layer, number + 1))[: 1 + has_bias]:
                        yield Absorbed(Variable(layer, number), bias, norm, None)


def _arranged(expression: Expression, array: np.ndarray, target: np.ndarray) -> Expression | None:
    """Return the expression brought to the target's shape and axis order, or ``None`` where no order fits."""
    flat, wanted = array.squeeze(), target.squeeze()
    allowed = _TOLERANCE * float(np.abs(target).max())
    for order in orders(flat.shape, wanted.shape):
        if float(np.abs(flat.transpose(order) - wanted).max()) <= allowed:
            return arrange(expression, array.shape, order, target.shape)
    return None


def arrange(
    expression: Expression, shape: tuple[int, ...], order: tuple[int, ...], wanted: tuple[int, ...]
) -> Expression:
    """Return the expression with its axes of length 1 dropped and the others reordered, in the wanted shape."""
    flat = tuple(length for length in shape if length > 1)
    if shape != flat:
        expression = Reshaped(expression, flat)
    if order != tuple(range(len(order))):
        expression = Transposed(expression, order)
    return expression if tuple(flat[axis] for axis in order) == wanted else Reshaped(expression, wanted)


def orders(shape: tuple[int, ...], wanted: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the axis orders that turn one shape into the other."""
    if len(shape) == len(wanted):
        for order in itertools.permutations(range(len(shape))):
            if tuple(shape[axis] for axis in order) == wanted:
                yield order


def _magnitude(array: np.ndarray) -> float:
    return float(np.abs(array).sum(dtype=np.float64))
