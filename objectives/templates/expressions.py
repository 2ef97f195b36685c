"""What a constant of a ``.tflite`` file is, in terms of the variables of the Keras model it came from.

The converter folds, slices, transposes and merges variables. An :class:`Expression` says how, so that the constant can
be computed again for other values of the variables. Expressions are plain, picklable trees.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

#: Arrays of every layer's variables, by layer name, in the order of ``layer.weights``.
Weights = Mapping[str, Sequence[np.ndarray]]


class Expression(Protocol):
    """Something that can be computed from weights, always to the same shape."""

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Compute it as float32."""

    def sources(self) -> "Iterator[Variable]":
        """Yield the variables whose elements it holds, scaled or not; the parameters of a norm are left out."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as it is."""

    layer: str
    index: int

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the array."""
        return weights[self.layer][self.index]

    def sources(self) -> "Iterator[Variable]":
        """Yield itself."""
        yield self


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A per-channel affine layer: ``x * scale + shift`` once its statistics are frozen.

    Attributes:
        layer: Name of a BatchNormalization, or of a LayerNormalization whose own normalisation stays in the graph.
        channels: Length of its parameters.
        gamma: Number of that variable in the layer, or ``None`` where it has none; likewise the others.
        epsilon: Added to the variance.
    """

    layer: str
    channels: int
    gamma: int | None
    beta: int | None
    mean: int | None
    variance: int | None
    epsilon: float

    def scale(self, weights: Weights) -> np.ndarray:
        """Return what ``x`` is multiplied by, shape (channels,)."""
        own = weights[self.layer]
        scale = np.ones(self.channels, np.float32) if self.gamma is None else own[self.gamma]
        if self.variance is None:
            return scale
        deviation = np.sqrt(own[self.variance] + np.float32(self.epsilon))
        scaled: np.ndarray = (scale / deviation).astype(np.float32)
        return scaled

    def shift(self, weights: Weights) -> np.ndarray:
        """Return what is added, shape (channels,)."""
        own = weights[self.layer]
        shift = np.zeros(self.channels, np.float32) if self.beta is None else own[self.beta]
        if self.mean is None:
            return shift
        shifted: np.ndarray = (shift - own[self.mean] * self.scale(weights)).astype(np.float32)
        return shifted


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale of a norm that stays in the graph as a multiplication."""

    norm: Norm

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return shape (channels,)."""
        return self.norm.scale(weights)

    def sources(self) -> Iterator[Variable]:
        """Yield nothing."""
        yield from ()


@dataclass(frozen=True, slots=True)
class Shifted:
    """A bias carried through the norm behind it: ``bias * scale + shift``; the shift alone where there is no bias."""

    bias: Variable | None
    norm: Norm

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return shape (channels,)."""
        shift = self.norm.shift(weights)
        if self.bias is None:
            return shift
        shifted: np.ndarray = self.bias.evaluate(weights) * self.norm.scale(weights) + shift
        return shifted

    def sources(self) -> Iterator[Variable]:
        """Yield the bias."""
        if self.bias is not None:
            yield self.bias


@dataclass(frozen=True, slots=True)
class Absorbed:
    """The bias of a Dense layer that the norm before it was moved into: ``shift @ kernel + bias``.

    Where a norm follows as well, its scale and shift come on top. Attention has its outputs by heads.
    """

    kernel: Variable
    bias: Variable | None
    before: Norm
    behind: Norm | None

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return shape (units,)."""
        kernel = self.kernel.evaluate(weights)
        total: np.ndarray = self.before.shift(weights) @ kernel.reshape(len(kernel), -1)
        if self.bias is not None:
            total = total + self.bias.evaluate(weights).reshape(-1)
        if self.behind is not None:
            total = total * self.behind.scale(weights) + self.behind.shift(weights)
        return total

    def sources(self) -> Iterator[Variable]:
        """Yield the bias."""
        if self.bias is not None:
            yield self.bias


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same elements in another shape."""

    of: Expression
    shape: tuple[int, ...]

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the array in that shape."""
        return self.of.evaluate(weights).reshape(self.shape)

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


@dataclass(frozen=True, slots=True)
class Transposed:
    """The same elements with their axes in another order."""

    of: Expression
    order: tuple[int, ...]

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the array with axes in that order."""
        return self.of.evaluate(weights).transpose(self.order)

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


@dataclass(frozen=True, slots=True)
class Part:
    """One of ``count`` equal slices along an axis: a gate of a recurrent layer."""

    of: Expression
    axis: int
    number: int
    count: int

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the slice."""
        return np.split(self.of.evaluate(weights), self.count, axis=self.axis)[self.number]

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


@dataclass(frozen=True, slots=True)
class Scaled:
    """A kernel with the scale of a norm folded in along one axis."""

    of: Expression
    norm: Norm
    axis: int

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the scaled array."""
        array = self.of.evaluate(weights)
        along = [1] * array.ndim
        along[self.axis] = -1
        scaled: np.ndarray = array * self.norm.scale(weights).reshape(along)
        return scaled

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


@dataclass(frozen=True, slots=True)
class Times:
    """An array times numbers that do not depend on weights, such as a rescaling of the inputs that was folded in.

    Attributes:
        of: The array.
        factors: One number, or one for each slice along ``axis``.
        axis: Axis that ``factors`` runs along.
    """

    of: Expression
    factors: tuple[float, ...]
    axis: int

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the product."""
        array = self.of.evaluate(weights)
        along = [1] * array.ndim
        along[self.axis] = -1
        product: np.ndarray = array * np.array(self.factors, np.float32).reshape(along)
        return product

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


@dataclass(frozen=True, slots=True)
class Plus:
    """A bias plus a number that does not depend on weights, such as the 3 of a hard sigmoid behind it."""

    of: Expression
    amount: float

    def evaluate(self, weights: Weights) -> np.ndarray:
        """Return the sum."""
        return self.of.evaluate(weights) + np.float32(self.amount)

    def sources(self) -> Iterator[Variable]:
        """Yield those of the inner expression."""
        return self.of.sources()


def unscaled(expression: Expression) -> Expression:
    """Return an expression as it would be if nothing were folded into its kernel."""
    if isinstance(expression, Scaled | Times):
        return unscaled(expression.of)
    if isinstance(expression, Reshaped | Transposed | Part):
        return replace(expression, of=unscaled(expression.of))
    return expression


def part_of(expression: Expression) -> str:
    """Return which slice of its variable an expression holds, such as ``2/4``; empty for all of it."""
    if isinstance(expression, Part):
        return f"{expression.number}/{expression.count}" + part_of(expression.of)
    return part_of(expression.of) if isinstance(expression, Reshaped | Transposed | Scaled | Times) else ""
