"""Whether the zeros of a kernel in an exported file keep to a sparsity pattern."""

from collections.abc import Sequence

import numpy as np

from paretune.objectives.flatbuffer.places import KernelPlace
from paretune.objectives.kernels.patterns import KernelView, crowded_groups, effective_pattern, zero_blocks
from paretune.spaces.policies.patterns import TWO_OF_FOUR, UNSTRUCTURED, block_of


def stacked_zeros(parts: Sequence[tuple[KernelPlace, np.ndarray]]) -> np.ndarray:
    """Arrange where the constants of one kernel are zero as the Keras kernel has it.

    TensorFlow Lite puts output channels first and input channels last, ``OHWI`` and ``OI``; tables of embeddings are
    as in Keras. The gates of a recurrent kernel lie beside each other.

    Args:
        parts: The constants that make up the kernel: where each is zero.

    Returns:
        Shape (positions, inputs, outputs); see :class:`paretune.objectives.kernels.patterns.KernelView`.
    """
    ordered = sorted(parts, key=lambda each: _number(each[0].part))
    return np.concatenate([_arranged(place, is_zero) for place, is_zero in ordered], axis=2)


def counts_blocks(pattern: str, is_zero: np.ndarray) -> bool:
    """Whether the sparsity of a kernel is a number of blocks under this pattern."""
    return block_of(effective_pattern(pattern, _view(is_zero))) is not None


def pattern_faults(layer: str, sparsity: float, pattern: str, is_zero: np.ndarray) -> list[str]:
    """Return what is wrong with the pattern of a kernel's zeros, one sentence each.

    Args:
        layer: Name of the layer.
        sparsity: Asked of it, above 0.
        pattern: Asked of it; kernels that it does not fit may have their zeros anywhere.
        is_zero: Where the kernel is zero, as :func:`stacked_zeros` returns it.
    """
    view = _view(is_zero)
    pattern = effective_pattern(pattern, view)
    if pattern == UNSTRUCTURED:
        return []
    if pattern == TWO_OF_FOUR:
        crowded, groups = crowded_groups(is_zero)
        if not crowded:
            return []
        return [f"Layer '{layer}' must have at most 2 of 4 weights other than zero, {crowded} of {groups} have more."]
    found, blocks = zero_blocks(is_zero.reshape(view.rows, view.outputs), pattern)
    wanted = blocks - max(1, round(blocks * (1 - sparsity)))
    if found >= wanted - 1:
        return []
    return [f"Layer '{layer}' must have {wanted} of {blocks} blocks of {pattern} zero, found {found}."]


def _arranged(place: KernelPlace, is_zero: np.ndarray) -> np.ndarray:
    if place.operator == "GATHER":
        return is_zero[np.newaxis]
    channels, inputs = is_zero.shape[0], is_zero.shape[-1]
    return np.moveaxis(is_zero.reshape(channels, -1, inputs), 0, 2)


def _number(part: str) -> int:
    """Return which slice a part is; 0 for all of a kernel."""
    return int(part.split("/")[0]) if part else 0


def _view(is_zero: np.ndarray) -> KernelView:
    positions, inputs, outputs = is_zero.shape
    return KernelView(positions, inputs, outputs)
