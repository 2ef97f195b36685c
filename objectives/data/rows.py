"""Arrays with one row per sample, in memory or on disk."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

#: What is read at a time where all rows are gone through.
_BLOCK_BYTES = 16 * 2**20


class Rows(Protocol):
    """What data must be able to do: a NumPy array, or rows that are read when they are asked for.

    ``rows[:]`` reads all of them.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and the shape of one."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what ``__getitem__`` returns."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the rows of a slice or of an array of row numbers, as a NumPy array."""


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows:
    """Rows of a memory map, read and cast when they are asked for. Implements :class:`Rows`.

    Attributes:
        source: The memory map.
        dtype: What rows are cast to.
        chosen: Numbers of the rows in ``source`` that it holds, in this order; ``None`` for all.
    """

    source: NDArray[Any]
    dtype: np.dtype[Any]
    chosen: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, and the shape of one."""
        return (len(self), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.source if self.chosen is None else self.chosen)

    def __getitem__(self, rows: slice | NDArray[np.int64], /) -> NDArray[Any]:
        numbers = rows if self.chosen is None else self.chosen[rows]
        return np.asarray(self.source[numbers], dtype=self.dtype, order="C")

    def select(self, rows: NDArray[np.int64]) -> "MappedRows":
        """Return some of the rows, without reading them."""
        return MappedRows(self.source, self.dtype, rows if self.chosen is None else self.chosen[rows])


def select(array: Rows, rows: NDArray[np.int64]) -> Rows:
    """Return some rows: a copy of those in memory, a selection of those on disk."""
    return array.select(rows) if isinstance(array, MappedRows) else array[rows]


def blocks(array: Rows) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield all rows in pieces of bounded size, each with the number of its first row."""
    row_bytes = max(1, math.prod(array.shape[1:]) * array.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // row_bytes)
    for first in range(0, len(array), step):
        yield first, array[first : first + step]
