"""A kernel as a matrix, its singular values, and what is left of it at a lower rank.

A kernel is read as a matrix of inputs by outputs: one row for each input that an output is a sum over (for a
convolution: for each position of the window and each channel), one column for each output. At rank r it is the product
of two smaller ones, and a layer becomes two: its own with r outputs, and one that combines them.

References:
    Denton et al. (2014), Exploiting linear structure within convolutional networks for efficient evaluation.
    Zhang et al. (2016), Accelerating very deep convolutional networks for classification and detection, sec. 3.
    Eckart & Young (1936): what the largest singular values span is the nearest matrix of that rank.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return a kernel's inputs and outputs, from its shape in Keras."""
    return math.prod(shape[:-1]), int(shape[-1])


def largest_rank(shape: Sequence[int]) -> int:
    """Return the largest rank at which two kernels have fewer weights than one; 0 where none has.

    That is the largest r with r * (inputs + outputs) < inputs * outputs.
    """
    inputs, outputs = matrix_shape(shape)
    return (inputs * outputs - 1) // (inputs + outputs)


def energies(kernel: FloatArray) -> tuple[float, ...]:
    """Return which share of the squared singular values the first one, two, ... are, up to the largest rank."""
    squares = np.linalg.eigvalsh(_gram(_matrix(kernel)))[::-1].clip(min=0)
    total = float(squares.sum())
    if total == 0:
        return ()
    return tuple(round(float(share), 6) for share in np.cumsum(squares)[: largest_rank(kernel.shape)] / total)


def span(kernel: FloatArray, rank: int) -> FloatArray:
    """Return an orthonormal basis of what the largest singular values span, shape (smaller side, rank).

    Of the outputs, if there are no more of them than of the inputs; else of the inputs.
    """
    _, vectors = np.linalg.eigh(_gram(_matrix(kernel)))
    found: FloatArray = np.ascontiguousarray(vectors[:, ::-1][:, :rank], np.float32)
    return found


def projected(kernel: Any, basis: Any, multiply: Any) -> Any:
    """Return a kernel, as a matrix, projected on a basis that :func:`span` gave: its rank is that of the basis.

    Args:
        kernel: Shape (inputs, outputs); an array, or a tensor of TensorFlow's.
        basis: Likewise, shape (smaller side, rank).
        multiply: Multiplies two of these; takes ``transpose_a`` and ``transpose_b``, as TensorFlow's does.
    """
    if kernel.shape[1] <= kernel.shape[0]:
        return multiply(multiply(kernel, basis), basis, transpose_b=True)
    return multiply(basis, multiply(basis, kernel, transpose_a=True))


def nearest_of_rank(kernel: FloatArray, rank: int) -> FloatArray:
    """Return the nearest kernel of a rank, in least squares; zero rows and columns stay zero."""
    matrix = _matrix(kernel)
    low: FloatArray = projected(matrix, span(kernel, rank).astype(np.float64), _multiply).astype(np.float32)
    low[~matrix.any(axis=1)] = 0
    low[:, ~matrix.any(axis=0)] = 0
    return low.reshape(kernel.shape)


def factors(matrix: NDArray[Any], rank: int) -> tuple[FloatArray, FloatArray]:
    """Return two matrices, of shapes (rows, rank) and (rank, columns), whose product is the nearest of that rank.

    Each takes the square roots of the singular values, so that both have weights of like size to be rounded. Signs are
    free, and files must not depend on them: the largest weight of each row of the second is positive.
    """
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    left, right = left[:, :rank], right[:rank]
    signs = np.where(right[np.arange(rank), np.abs(right).argmax(axis=1)] < 0, -1.0, 1.0)
    roots = np.sqrt(values[:rank]) * signs
    return (left * roots).astype(np.float32), (roots[:, None] * right).astype(np.float32)


def _matrix(kernel: FloatArray) -> NDArray[np.float64]:
    return kernel.reshape(matrix_shape(kernel.shape)).astype(np.float64)


def _gram(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inner products along the smaller side: its eigenvalues are the squared singular values."""
    gram: NDArray[np.float64] = matrix.T @ matrix if matrix.shape[1] <= matrix.shape[0] else matrix @ matrix.T
    return gram


def _multiply(
    one: NDArray[Any], other: NDArray[Any], *, transpose_a: bool = False, transpose_b: bool = False
) -> NDArray[Any]:
    product: NDArray[Any] = (one.T if transpose_a else one) @ (other.T if transpose_b else other)
    return product
