"""Sparsity patterns: which zeros of a layer a device can skip without looking at every weight.

All patterns are told of a kernel as a matrix: its inputs go down, its outputs across. The positions of a convolution's
window are further rows, each with all its input channels.
"""

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.suggest import nearest

#: Every weight for itself.
UNSTRUCTURED = "unstructured"
#: Two of four neighbouring weights along the inputs, or more, are zero: what sparse tensor cores skip (Mishra et al.
#: 2021, Accelerating sparse deep neural networks).
TWO_OF_FOUR = "2:4"
#: Blocks of so many rows and columns that are zero as a whole: what kernels for sparse matrices skip (Elsen et al.
#: 2020, Fast sparse ConvNets).
_BLOCKS = {"1x2": (1, 2), "1x4": (1, 4), "4x1": (4, 1)}

PATTERNS = (UNSTRUCTURED, *_BLOCKS, TWO_OF_FOUR)


def require_pattern(pattern: object) -> None:
    """Raise unless ``pattern`` is one of :data:`PATTERNS`.

    Raises:
        ConfigurationError: It is not.
    """
    if pattern not in PATTERNS:
        raise ConfigurationError(
            f"`pattern` must be {', '.join(PATTERNS)}, got {pattern!r}.{nearest(str(pattern), PATTERNS)}"
        )


def block_of(pattern: str) -> tuple[int, int] | None:
    """Return rows and columns of the blocks of a pattern, or ``None`` where it has none."""
    return _BLOCKS.get(pattern)
