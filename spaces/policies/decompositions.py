"""Decompositions: how a kernel is read as a matrix, and so into which two kernels a rank splits it.

By channels, a kernel has one row for each input that an output is a sum over (for a convolution: each position of the
window, with each channel) and one column for each output: a convolution becomes one of its own window to few channels,
and one of 1x1 from them. Spatially, it has one row for each row of the window with each channel, and one column for
each column of the window with each output: a convolution becomes one of a column of the window to few channels, and one
of a row of it from them. Only the window of a two-dimensional convolution, of more than one row and column, can be
split so; whatever else is split by channels.

References:
    Zhang et al. (2016), Accelerating very deep convolutional networks for classification and detection, sec. 3.
    Jaderberg, Vedaldi & Zisserman (2014), Speeding up convolutional neural networks with low rank expansions, scheme 2.
"""

import math
from collections.abc import Sequence

CHANNELS, SPATIAL = "channels", "spatial"
DECOMPOSITIONS = (CHANNELS, SPATIAL)

#: Why a kernel is split by channels where the recipe asks for the spatial decomposition.
NO_WINDOW = "Its kernel has no window of more than one row and column; ranks split it by channels."


def has_window(shape: Sequence[int]) -> bool:
    """Return whether a kernel, of a shape as Keras has it, has a window of more than one row and column."""
    return len(shape) == 4 and shape[0] > 1 and shape[1] > 1


def decomposition_of(shape: Sequence[int], asked: str) -> str:
    """Return how a kernel of a shape is decomposed where a recipe asks for one of :data:`DECOMPOSITIONS`."""
    return asked if has_window(shape) else CHANNELS


def matrix_shape(shape: Sequence[int], decomposition: str) -> tuple[int, int]:
    """Return rows and columns of a kernel as a matrix, from its shape in Keras and what a recipe asks for."""
    if decomposition_of(shape, decomposition) == SPATIAL:
        height, width, inputs, outputs = shape
        return int(height * inputs), int(width * outputs)
    return math.prod(shape[:-1]), int(shape[-1])


def largest_rank(shape: Sequence[int], decomposition: str) -> int:
    """Return the largest rank at which two kernels have fewer weights than one; 0 where none has.

    That is the largest r with r * (rows + columns) < rows * columns.
    """
    rows, columns = matrix_shape(shape, decomposition)
    return (rows * columns - 1) // (rows + columns)
