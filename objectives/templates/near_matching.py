"""Constants that are an expression of weights up to numbers which depend on the architecture alone.

A rescaling of the inputs, or the 3 inside a hard sigmoid, is folded into a kernel or a bias. One conversion cannot
tell such a number from one that depends on weights; a second conversion, with other weights, can.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from paretune.objectives.templates.expressions import Expression, Norm, Plus, Scaled, Times, Weights
from paretune.objectives.templates.matching import arrange, biases, forms, orders, varying_axes

_TOLERANCE = 1e-5


def choose_expressions(
    constants: Mapping[str, np.ndarray],
    again: Mapping[str, np.ndarray],
    options: Mapping[str, Sequence[Expression]],
    weights_again: Weights,
) -> tuple[dict[str, Expression], tuple[str, ...]]:
    """Keep the expressions that also hold for a second conversion.

    Args:
        constants: Constants of the first conversion, by tensor name.
        again: Constants of the second.
        options: Expressions that hold for the first.
        weights_again: The weights of the second.

    Returns:
        An expression by tensor name, and the names of constants that changed and have none. What neither changed nor
        has an expression is in neither.
    """
    chosen: dict[str, Expression] = {}
    unmatched = []
    for name, constant in constants.items():
        found = again.get(name, np.empty(0))
        holding = (each for each in options.get(name, ()) if _equal(each.evaluate(weights_again), found))
        expression = next(holding, None)
        if expression is not None:
            chosen[name] = expression
        elif not _equal(constant, found):
            unmatched.append(name)
    return chosen, tuple(unmatched)


def near_matches(constant: np.ndarray, weights: Weights, norms: Sequence[Norm]) -> list[Expression]:
    """Return the expressions that give a constant if some numbers are taken from the constant itself.

    A kernel may be scaled along one axis, a bias scaled or shifted as a whole. A match means little by itself.
    """
    if constant.squeeze().ndim < 2:
        return [] if constant.size < 2 else list(_near_vectors(constant, weights, norms))
    return list(_near_kernels(constant, weights, norms))


def _near_kernels(constant: np.ndarray, weights: Weights, norms: Sequence[Norm]) -> Iterator[Expression]:
    target = constant.squeeze()
    kept = [axis for axis, length in enumerate(constant.shape) if length > 1]
    for expression in _kernels(constant.size, weights, norms):
        array = expression.evaluate(weights)
        for order in orders(array.squeeze().shape, target.shape):
            turned = array.squeeze().transpose(order)
            varying = varying_axes(target, turned)
            if len(varying) <= 1:
                axis = varying[0] if varying else 0
                ratio = np.moveaxis(target / turned, axis, 0).reshape(target.shape[axis], -1)
                factors = np.median(ratio, axis=1) if varying else [np.median(ratio)]
                arranged = arrange(expression, array.shape, order, constant.shape)
                yield Times(arranged, tuple(float(factor) for factor in factors), kept[axis])


def _kernels(size: int, weights: Weights, norms: Sequence[Norm]) -> Iterator[Expression]:
    for form, array in forms(weights):
        if array.size == size and array.ndim >= 2:
            yield form
            yield from (
                Scaled(form, norm, axis)
                for norm in norms
                for axis in (array.ndim - 2, array.ndim - 1)
                if norm.channels == array.shape[axis]
            )


def _near_vectors(constant: np.ndarray, weights: Weights, norms: Sequence[Norm]) -> Iterator[Expression]:
    target = constant.squeeze()
    for expression in (*(form for form, _ in forms(weights)), *biases(weights, norms)):
        array = expression.evaluate(weights)
        if array.size != target.size or array.squeeze().ndim != 1:
            continue
        vector = array.squeeze()
        arranged = arrange(expression, array.shape, (0,), constant.shape)
        if not varying_axes(target, vector):
            yield Times(arranged, (float(np.median(target / vector)),), constant.ndim - 1)
        difference = target - vector
        if np.ptp(difference) <= _TOLERANCE * float(np.abs(target).max()):
            yield Plus(arranged, float(np.median(difference)))


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max() <= _TOLERANCE * np.abs(other).max())
