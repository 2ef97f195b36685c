"""Policies that train nothing, such as those that only store weights in four bits: they end as they began."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from paretune.search.additive.encoding import Encoding, IntArray, Unit
from paretune.search.front import FloatArray
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.policy import Policy

#: Most of them that others are learnt from, of those that decide one thing, and of all others.
_MOST = 40
#: By how much of the luck of a training they are off: what is measured untrained is measured on fewer samples.
_LUCK = 0.5


class TrainsNothing:
    """Tells which policies of a space train nothing."""

    def __init__(self, encoding: Encoding) -> None:
        never = bool(stages_of(encoding.pinned))
        self._idle = [np.array([not never and not trained for trained in _trained(unit)]) for unit in encoding.units]
        self._changes = [
            np.array([sum(index > 0 for index in option.choice.values()) for option in unit.options])
            for unit in encoding.units
        ]

    def __call__(self, rows: IntArray) -> NDArray[np.bool_]:
        """Mark the policies that train nothing; shape (policies,)."""
        return np.asarray(np.all([idle[rows[:, unit]] for unit, idle in enumerate(self._idle)], axis=0))

    def luck(self, rows: IntArray) -> FloatArray:
        """Return by how much of the luck of a training each policy's outcome is off."""
        return np.where(self(rows), _LUCK, 1.0)

    def among(self, rows: Iterable[tuple[int, ...]]) -> tuple[IntArray, IntArray]:
        """Return those that train nothing: such as decide one thing alone, which a profile knows all of, and the rest.

        They are spread over all of them where they are many, and in an order that does not depend on when each was
        measured.
        """
        known = np.array(sorted(rows), dtype=np.int64).reshape(-1, len(self._idle))
        idle = known[self(known)]
        changes = sum(changes[idle[:, unit]] for unit, changes in enumerate(self._changes))
        return _spread(idle[np.asarray(changes) <= 1]), _spread(idle[np.asarray(changes) > 1])


def _spread(rows: IntArray) -> IntArray:
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).astype(np.int64))]


def _trained(unit: Unit) -> list[bool]:
    """Return of each option whether it trains something."""
    return [bool(stages_of(Policy(tuple(zip(unit.layers, option.decided, strict=True))))) for option in unit.options]
