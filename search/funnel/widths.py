"""What removing channels does to what was measured at full width: it multiplies, where other decisions add up.

A kernel that keeps half of its output channels, and reads a layer that keeps half of its own, has a quarter of its
weights, in whatever format.
"""

from collections.abc import Sequence

import numpy as np

from paretune.search.front import FloatArray
from paretune.search.funnel.encoding import Encoding, IntArray, Unit
from paretune.spaces.layers import LayerSpec


class Widths:
    """The share of their weights that layers keep when policies remove channels.

    Args:
        encoding: The space.
    """

    def __init__(self, encoding: Encoding) -> None:
        specs = {spec.name: spec for spec in encoding.space.layers}
        self._kept = {
            number: np.array([option.decided[0].channels for option in unit.options])
            for number, unit in enumerate(encoding.units)
            if unit.is_width
        }
        column_of = {layer: number for number in self._kept for layer in encoding.units[number].layers}
        self._parts = [_parts(unit, specs, column_of) for unit in encoding.units]

    @property
    def columns(self) -> tuple[int, ...]:
        """The units that decide about channels."""
        return tuple(self._kept)

    def of_unit(self, unit: int, rows: IntArray) -> FloatArray:
        """Return the share of its weights that a unit's layers keep, shape (rows,).

        Args:
            unit: Its number.
            rows: Shape (rows, units).
        """
        shares = np.zeros(len(rows))
        for share, made, read in self._parts[unit]:
            inputs = [self._kept[column][rows[:, column]] for column in read]
            width = np.mean(inputs, axis=0) if inputs else np.ones(len(rows))
            if made is not None:
                width = width * self._kept[made][rows[:, made]]
            shares += share * width
        return shares

    def scaled(self, base: float, rises: Sequence[FloatArray], rows: IntArray) -> FloatArray:
        """Return what a latency, or an amount, comes to: rises add up, and removed channels scale the whole.

        Args:
            base: Of the first options.
            rises: For each unit, by how much its options raise it alone; shape (options,).
            rows: Shape (rows, units).

        Returns:
            Shape (rows,).
        """
        total = np.full(len(rows), base, dtype=np.float64)
        ratio = np.ones(len(rows))
        for unit, own in enumerate(rises):
            if unit not in self._kept:
                total += own[rows[:, unit]]
            elif base:
                ratio *= 1 + own[rows[:, unit]] / base
        return total * ratio


#: A layer's share of its unit's weights, the unit that decides about its channels, and those of what it reads.
_Part = tuple[float, int | None, tuple[int, ...]]


def _parts(unit: Unit, specs: dict[str, LayerSpec], column_of: dict[str, int]) -> Sequence[_Part]:
    weights = [specs[layer].weights for layer in unit.layers]
    return [
        (
            own / sum(weights),
            column_of.get(layer),
            tuple(sorted({column_of[name] for name in specs[layer].reads if name in column_of})),
        )
        for layer, own in zip(unit.layers, weights, strict=True)
    ]
