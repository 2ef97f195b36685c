"""Kernels seen by output channel: what shares one set of clusters where a recipe clusters by channel."""

from typing import Any

import numpy as np

from paretune.spaces.candidates.stage_recipes import CHANNEL

#: Axis of the compressed kernel that runs over output channels, by Keras class. Tables, recurrent layers and attention
#: have none.
_CHANNEL_AXES = {"Dense": 1, "Conv1D": 2, "Conv2D": 3, "Conv2DTranspose": 2, "SeparableConv2D": 3}


def channel_axis(kind: str, scope: str) -> int | None:
    """Return the axis that sets of clusters run along in layers of a Keras class; ``None`` where a kernel has one set.

    Args:
        kind: Name of the class.
        scope: ``tensor`` or ``channel``, as the recipe says.
    """
    return _CHANNEL_AXES.get(kind) if scope == CHANNEL else None


def lines_of(values: Any, axis: int | None) -> Any:
    """Return the weights of each set of clusters as a line: shape (channels, weights), or (1, weights) for ``None``."""
    if axis is None:
        return values.reshape(1, -1)
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def from_lines(lines: Any, shape: tuple[int, ...], axis: int | None) -> Any:
    """Return what :func:`lines_of` made of a kernel of this shape, in that shape again."""
    if axis is None:
        return lines.reshape(shape)
    rest = shape[:axis] + shape[axis + 1 :]
    return np.moveaxis(lines.reshape(shape[axis], *rest), 0, axis)
