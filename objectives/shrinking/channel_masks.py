"""Which channels of a tensor stay, and what an operator sees of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.errors import Infeasible

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Slices of a tensor that stay, at least one of them not.

    Attributes:
        axis: Axis that ``kept`` runs along.
        kept: One truth per slice; some are true and some are not.
        layer: Name of the Keras layer whose channels these are.
    """

    axis: int
    kept: BoolArray
    layer: str

    def on(self, axis: int) -> "Mask":
        """Return the same mask along another axis."""
        return replace(self, axis=axis)

    def of(self, kept: BoolArray) -> "Mask":
        """Return a mask of the same layer and axis for other slices."""
        return replace(self, kept=kept)

    def reshaped(self, shape: Sequence[int], target: Sequence[int]) -> "Mask | None":
        """Return the mask that leaves the same elements in another shape, or ``None`` where no axis tells them apart.

        Flattening repeats the mask for every position; a new axis of size one moves it along.

        Args:
            shape: Shape of the tensor that the mask is for.
            target: The other shape, of as many elements.
        """
        if self.axis == len(shape) - 1 and shape[-1] == target[-1]:
            return self.on(len(target) - 1)
        along = [1] * len(shape)
        along[self.axis] = -1
        elements = np.broadcast_to(self.kept.reshape(along), shape).reshape(target)
        for axis, size in enumerate(target):
            lines = np.moveaxis(elements, axis, 0).reshape(size, -1)
            if (lines == lines[:, :1]).all():
                return replace(self, axis=axis, kept=lines[:, 0])
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operand:
    """An input of an operator.

    Attributes:
        shape: Its full shape.
        constant: Its elements, where the file holds them.
        mask: What stays of it, or ``None`` where all does.
    """

    shape: tuple[int, ...]
    constant: NDArray[Any] | None = None
    mask: Mask | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Passed:
    """What an operator does when channels are taken out before it, or of it.

    Attributes:
        mask: What stays of its output, or ``None`` where all does.
        constants: What its constants become, by number of the input; the others stay as they are.
    """

    mask: Mask | None = None
    constants: Mapping[int, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """An operator with one output, as the masks meet it.

    Attributes:
        kind: Its name in the schema, such as ``CONV_2D``.
        name: Name of its output.
        options: Its options in the schema's object form.
        inputs: Its inputs; ``None`` where one is left out.
        output: Full shape of its output.
        own: What stays of the output channels of the layer that it computes, or ``None`` where all does.
    """

    kind: str
    name: str
    options: Any
    inputs: tuple[Operand | None, ...]
    output: tuple[int, ...]
    own: Mask | None = None

    @property
    def masked(self) -> list[tuple[Operand, Mask]]:
        """The inputs that lose channels, with their masks."""
        return [(each, each.mask) for each in self.inputs if each is not None and each.mask is not None]

    def only(self) -> tuple[Operand, Mask]:
        """Return the one input that loses channels.

        Raises:
            Infeasible: There are several.
        """
        if len(self.masked) > 1:
            raise self.refusal()
        return self.masked[0]

    def over_channels(self) -> Mask:
        """Return the mask of the one input that loses slices, which must be along its last axis.

        Raises:
            Infeasible: They are along another axis.
        """
        operand, mask = self.only()
        if mask.axis != len(operand.shape) - 1:
            raise self.refusal()
        return mask

    def constant(self, number: int) -> NDArray[Any]:
        """Return the elements of an input that must be known beforehand.

        Raises:
            Infeasible: They are computed.
        """
        operand = self.inputs[number]
        if operand is None or operand.constant is None:
            raise self.refusal()
        return operand.constant

    def refusal(self) -> Infeasible:
        """Return the error that the masks cannot pass."""
        layer = self.masked[0][1].layer if self.masked else self.own.layer if self.own else "?"
        return Infeasible(
            f"Channels of layer '{layer}' cannot be removed: the operator {self.kind} ('{self.name}'), which they "
            "reach, cannot do without them. Keep all channels of that layer."
        )
