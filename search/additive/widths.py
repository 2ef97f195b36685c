"""What removing channels does to what was measured at full width: it multiplies, where other decisions add up.

A kernel that keeps half of its output channels, and reads a layer that keeps half of its own, has a quarter of its
weights, in whatever format. Of the two kernels of a layer with a rank, each has half of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paretune.search.additive.encoding import Encoding, IntArray, Unit
from paretune.search.front import BoolArray, FloatArray
from paretune.spaces.policies.layers import LayerSpec, share_of


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
        self._option_counts = encoding.option_counts
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
        for part in self._parts[unit]:
            if part.made is None and not part.read:
                shares += part.share
                continue
            inputs = [self._kept[column][rows[:, column]] for column in part.read]
            read = np.mean(inputs, axis=0) if inputs else 1.0
            made = 1.0 if part.made is None else self._kept[part.made][rows[:, part.made]]
            of_inputs = part.of_inputs[rows[:, unit]]
            of_two = read * of_inputs + made * (1 - of_inputs)
            shares += part.share * np.where(part.is_ranked[rows[:, unit]], of_two, made * read)
        return shares

    def of_options(self, unit: int, row: IntArray) -> FloatArray:
        """Return that share for every option that the unit could take in a row, shape (options,)."""
        rows = np.repeat(row[None, :], self._option_counts[unit], axis=0)
        rows[:, unit] = np.arange(len(rows))
        return self.of_unit(unit, rows)

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


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A layer of a unit.

    Attributes:
        share: Of its unit's weights.
        made: The unit that decides about its channels.
        read: Those of what it reads.
        is_ranked: Which options of its unit give it a rank, shape (options,).
        of_inputs: Which share of its weights is in the kernel that the inputs meet if so, shape (options,).
    """

    share: float
    made: int | None
    read: tuple[int, ...]
    is_ranked: BoolArray
    of_inputs: FloatArray


def _parts(unit: Unit, specs: Mapping[str, LayerSpec], column_of: Mapping[str, int]) -> Sequence[_Part]:
    weights = [specs[layer].weights for layer in unit.layers]
    parts = []
    for place, layer in enumerate(unit.layers):
        spec, ranks = specs[layer], [option.decided[place].rank for option in unit.options]
        stored = [
            (share_of(spec, rank, made=0.0, read=1.0), share_of(spec, rank, made=1.0, read=1.0)) for rank in ranks
        ]
        parts.append(
            _Part(
                share=weights[place] / sum(weights),
                made=column_of.get(layer),
                read=tuple(sorted({column_of[name] for name in spec.reads if name in column_of})),
                is_ranked=np.array([rank is not None for rank in ranks]),
                of_inputs=np.array([inner / both for inner, both in stored]),
            )
        )
    return parts
