"""Sparsity patterns on kernels: where they fit, and what they leave of the weights.

Every kernel is seen as ``positions`` matrices of ``inputs`` x ``outputs``: a convolution has one for each position of
its window, all else has one. Blocks lie in these matrices put under one another, which is how tfmot would see the
kernel of a dense layer; groups of four run along the inputs of each matrix, as tfmot has them.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.spaces.policies.patterns import TWO_OF_FOUR, UNSTRUCTURED, block_of

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

_GROUP, _KEPT = 4, 2


@dataclass(frozen=True, slots=True)
class KernelView:
    """A kernel as matrices.

    Attributes:
        positions: How many.
        inputs: Rows of each.
        outputs: Columns of each.
        is_turned: Whether the kernel has its outputs before its inputs, as that of Conv2DTranspose.
    """

    positions: int
    inputs: int
    outputs: int
    is_turned: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Positions, inputs, outputs."""
        return self.positions, self.inputs, self.outputs

    @property
    def rows(self) -> int:
        """Of all matrices put under one another."""
        return self.positions * self.inputs

    def of(self, kernel: FloatArray) -> FloatArray:
        """Return the matrices, shape (positions, inputs, outputs)."""
        return (np.swapaxes(kernel, -1, -2) if self.is_turned else kernel).reshape(self.shape)

    def back(self, matrices: FloatArray, shape: tuple[int, ...]) -> FloatArray:
        """Return the kernel, of this shape, of its matrices."""
        if not self.is_turned:
            return matrices.reshape(shape)
        return np.swapaxes(matrices.reshape(*shape[:-2], shape[-1], shape[-2]), -1, -2)

    @property
    def kept_of_four(self) -> int:
        """How many weights 2:4 keeps; the last group of a column may be shorter than four."""
        groups, rest = divmod(self.inputs, _GROUP)
        return self.positions * self.outputs * (groups * _KEPT + min(rest, _KEPT))


def view_of(kind: str, shape: tuple[int, ...]) -> KernelView:
    """Return how to see a kernel of a kind of layer."""
    is_turned = kind == "Conv2DTranspose"
    inputs, outputs = (shape[-1], shape[-2]) if is_turned else shape[-2:]
    return KernelView(int(np.prod(shape[:-2], dtype=np.int64)), int(inputs), int(outputs), is_turned)


def matrix_view(shape: tuple[int, ...], read: int) -> KernelView:
    """Return how to see a kernel whose first axes are inputs, all others outputs, such as one of attention.

    Args:
        shape: Of the kernel.
        read: How many axes are inputs.
    """
    return KernelView(1, math.prod(shape[:read]), math.prod(shape[read:]))


def why_unstructured(pattern: str, view: KernelView) -> str:
    """Return why the zeros of a kernel do not keep to a pattern, or an empty string where they do."""
    block = block_of(pattern)
    if pattern == TWO_OF_FOUR and view.inputs < _GROUP:
        return f"2:4 needs kernels of at least 4 inputs, one has {view.inputs}."
    if block is not None:
        rows, columns = (size + 1 for size in block)  # tfmot takes a single row or column of blocks for a vector
        if view.rows < rows or view.outputs < columns:
            found = f"{view.rows} x {view.outputs}"
            return f"blocks of {pattern} need kernels of at least {rows} x {columns}, one is {found}."
    return ""


def effective_pattern(pattern: str, view: KernelView) -> str:
    """Return what the zeros of a kernel keep to where ``pattern`` is asked."""
    return UNSTRUCTURED if why_unstructured(pattern, view) else pattern


def pruned(kernel: FloatArray, sparsity: float, pattern: str, view: KernelView) -> FloatArray:
    """Return the kernel with at least the zeros that its sparsity and a pattern ask for, the smallest weights zero.

    Of blocks, those of the smallest mean magnitude go, as many as make up the sparsity. In 2:4 the smallest of each
    group go, then the smallest of all the rest until the sparsity is reached. Of equal ones, the first go first.
    """
    pattern = effective_pattern(pattern, view) if sparsity > 0 else UNSTRUCTURED
    if pattern == UNSTRUCTURED:
        return _without_smallest(kernel, sparsity)
    matrices = view.of(kernel)
    if pattern == TWO_OF_FOUR:
        return view.back(_without_smallest(np.where(_largest_of_four(matrices), matrices, 0), sparsity), kernel.shape)
    block = block_of(pattern) or (1, 1)
    sums = _by_block(np.abs(matrices).reshape(view.rows, view.outputs), block)
    means = sums / _by_block(np.ones((view.rows, view.outputs)), block)
    going = means.size - max(1, round(means.size * (1 - sparsity)))
    if going <= np.count_nonzero(means == 0):
        return kernel
    kept = np.ones(means.size, np.bool_)
    kept[np.argsort(means, axis=None, kind="stable")[:going]] = False
    spread = np.kron(kept.reshape(means.shape), np.ones(block, np.bool_))[: view.rows, : view.outputs]
    return view.back(np.where(spread.reshape(view.shape), matrices, 0), kernel.shape)


def crowded_groups(is_zero: BoolArray) -> tuple[int, int]:
    """Return how many groups of four along axis 1 of (positions, inputs, outputs) break 2:4, and how many there are."""
    kept = _groups_of_four(~is_zero).sum(axis=2)
    return int(np.sum(kept > _KEPT)), kept.size


def zero_blocks(is_zero: BoolArray, pattern: str) -> tuple[int, int]:
    """Return how many blocks of (rows, columns) are zero as a whole, and how many blocks there are."""
    blocks = _by_block(~is_zero, block_of(pattern) or (1, 1))
    return int(np.sum(blocks == 0)), blocks.size


def _without_smallest(values: FloatArray, sparsity: float) -> FloatArray:
    zeros = values.size - round(values.size * (1 - sparsity))
    if zeros <= np.count_nonzero(values == 0):
        return values
    flat = values.copy().reshape(-1)
    flat[np.argsort(np.abs(flat), kind="stable")[:zeros]] = 0.0
    return flat.reshape(values.shape)


def _by_block(matrix: NDArray[np.generic], block: tuple[int, int]) -> NDArray[np.float64]:
    """Return the sum of every block; those at the far edges may be cut off."""
    downs, acrosses = (np.arange(0, length, size) for length, size in zip(matrix.shape, block, strict=True))
    rows = np.add.reduceat(matrix.astype(np.float64), downs, axis=0)
    return np.asarray(np.add.reduceat(rows, acrosses, axis=1))


def _groups_of_four(matrices: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return shape (positions, groups, 4, outputs); the last group is filled with zeros."""
    positions, inputs, outputs = matrices.shape
    filled = np.pad(matrices, ((0, 0), (0, -inputs % _GROUP), (0, 0)))
    return filled.reshape(positions, -1, _GROUP, outputs)


def _largest_of_four(matrices: FloatArray) -> BoolArray:
    """Return which weights 2:4 keeps: the two largest of every group, of equal ones the first."""
    groups = np.abs(_groups_of_four(matrices).astype(np.float32))
    rank = np.argsort(np.argsort(-groups, axis=2, kind="stable"), axis=2, kind="stable")
    kept = (rank < _KEPT).reshape(matrices.shape[0], -1, matrices.shape[2])
    return np.asarray(kept[:, : matrices.shape[1]])
