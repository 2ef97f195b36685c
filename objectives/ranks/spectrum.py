"""A kernel as a matrix, its singular values, and what is left of it at a lower rank.

A kernel is read as a matrix in one of two ways, see :mod:`paretune.spaces.policies.decompositions`. At rank r it is the
product of two smaller ones, and a layer becomes two.

References:
    Denton et al. (2014), Exploiting linear structure within convolutional networks for efficient evaluation.
    Eckart & Young (1936): what the largest singular values span is the nearest matrix of that rank.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.policies.decompositions import (
    SPATIAL,
    decomposition_of,
    largest_rank,
    matrix_shape,
)

FloatArray = NDArray[np.float32]

#: Brings rows of the window to the inputs and columns of it to the outputs, and back.
_SPATIAL_ORDER = (0, 2, 1, 3)


def as_matrix(kernel: Any, decomposition: str, library: Any = np) -> Any:
    """Return a kernel, of a shape as Keras has it, as a matrix.

    Args:
        kernel: An array, or a tensor of TensorFlow's.
        decomposition: What the recipe asks for.
        library: ``numpy`` or ``tensorflow``, after the kernel.
    """
    rows_and_columns = matrix_shape(kernel.shape, decomposition)
    if decomposition_of(kernel.shape, decomposition) == SPATIAL:
        kernel = library.transpose(kernel, _SPATIAL_ORDER)
    return library.reshape(kernel, rows_and_columns)


def as_kernel(matrix: Any, shape: Any, decomposition: str, library: Any = np) -> Any:
    """Return the kernel of a shape that :func:`as_matrix` reads as ``matrix``."""
    if decomposition_of(shape, decomposition) != SPATIAL:
        return library.reshape(matrix, shape)
    height, width, inputs, outputs = shape
    return library.transpose(library.reshape(matrix, (height, inputs, width, outputs)), _SPATIAL_ORDER)


def energies(kernel: FloatArray, decomposition: str) -> tuple[float, ...]:
    """Return which share of the squared singular values the first one, two, ... are, up to the largest rank."""
    squares = np.linalg.eigvalsh(_gram(_matrix(kernel, decomposition)))[::-1].clip(min=0)
    total = float(squares.sum())
    if total == 0:
        return ()
    kept = np.cumsum(squares)[: largest_rank(kernel.shape, decomposition)]
    return tuple(round(float(share), 6) for share in kept / total)


def span(kernel: FloatArray, rank: int, decomposition: str) -> FloatArray:
    """Return an orthonormal basis of what the largest singular values span, shape (smaller side, rank).

    Of the columns of the matrix, if there are no more of them than of the rows; else of the rows.
    """
    _, vectors = np.linalg.eigh(_gram(_matrix(kernel, decomposition)))
    found: FloatArray = np.ascontiguousarray(vectors[:, ::-1][:, :rank], np.float32)
    return found


def projected(matrix: Any, basis: Any, multiply: Any) -> Any:
    """Return a kernel, as a matrix, projected on a basis that :func:`span` gave: its rank is that of the basis.

    Args:
        matrix: Shape (rows, columns); an array, or a tensor of TensorFlow's.
        basis: Likewise, shape (smaller side, rank).
        multiply: Multiplies two of these; takes ``transpose_a`` and ``transpose_b``, as TensorFlow's does.
    """
    if matrix.shape[1] <= matrix.shape[0]:
        return multiply(multiply(matrix, basis), basis, transpose_b=True)
    return multiply(basis, multiply(basis, matrix, transpose_a=True))


def nearest_of_rank(kernel: FloatArray, rank: int, decomposition: str) -> FloatArray:
    """Return the nearest kernel of a rank, in least squares; zero rows and columns stay zero."""
    matrix, basis = _matrix(kernel, decomposition), span(kernel, rank, decomposition)
    low: FloatArray = projected(matrix, basis.astype(np.float64), _multiply).astype(np.float32)
    low[~matrix.any(axis=1)] = 0
    low[:, ~matrix.any(axis=0)] = 0
    found: FloatArray = np.ascontiguousarray(as_kernel(low, kernel.shape, decomposition))
    return found


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


def _matrix(kernel: FloatArray, decomposition: str) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = as_matrix(kernel, decomposition).astype(np.float64)
    return matrix


def _gram(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inner products along the smaller side: its eigenvalues are the squared singular values."""
    gram: NDArray[np.float64] = matrix.T @ matrix if matrix.shape[1] <= matrix.shape[0] else matrix @ matrix.T
    return gram


def _multiply(
    one: NDArray[Any], other: NDArray[Any], *, transpose_a: bool = False, transpose_b: bool = False
) -> NDArray[Any]:
    product: NDArray[Any] = (one.T if transpose_a else one) @ (other.T if transpose_b else other)
    return product
