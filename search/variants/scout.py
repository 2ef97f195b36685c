"""Which base model, or which recipe, is worth a look next."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from paretune.search.additive.knapsack import farthest_first
from paretune.search.front import FloatArray
from paretune.search.learning.kernel import Points
from paretune.search.learning.residual import GaussianProcess, likeliest_kernel
from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter, all_values, normal_values

#: Trained trials for each variant, so that a search does not spend itself on base models.
TRIALS_PER_VARIANT = 8
#: Variants whose volume must be known before anything is concluded from it.
_ENOUGH = 3
#: Of larger hyperspaces, only the first so many combinations are considered.
_MOST_LISTED = 20_000
#: How many standard deviations of hope a variant is given.
_HOPE = 1.0


class Scout:
    """Proposes variants: first a neighbour of the baseline's in each hyperparameter, then the most hopeful.

    The lower neighbour where there is one: it is the smaller model more often than not.

    Args:
        hyperspace: What differs between variants.
    """

    def __init__(self, hyperspace: Sequence[Hyperparameter]) -> None:
        self._hyperspace = hyperspace
        self._all = list(itertools.islice(all_values(hyperspace), _MOST_LISTED)) if hyperspace else []
        self._places = np.array([self._place(values) for values in self._all])

    @property
    def variants(self) -> int:
        """How many there are."""
        return len(self._all)

    def is_due(self, *, opened: int, trained: int) -> bool:
        """Return whether it is time for another variant.

        Args:
            opened: Variants so far, those that could not be built among them.
            trained: Trained trials so far.
        """
        return opened < len(self._all) and trained >= TRIALS_PER_VARIANT * opened

    def next(self, known: Sequence[tuple[Mapping[str, Any], float | None]]) -> Mapping[str, Any] | None:
        """Return the values of the next variant, or ``None`` when there is no other.

        Args:
            known: Values of those so far, and the hypervolume each is expected to cover; ``None`` where it could not
                be built. The baseline's is the first.
        """
        taken = [self._all.index(dict(values)) for values, _ in known if dict(values) in self._all]
        left = np.setdiff1d(np.arange(len(self._all)), taken)
        if not len(left):
            return None
        neighbour = next((values for values in self._neighbours() if self._all.index(values) in left), None)
        if neighbour is not None:
            return neighbour
        told = [(self._place(values), volume) for values, volume in known if volume is not None]
        if len(told) < _ENOUGH:
            (following,) = farthest_first(self._places, 1, taken=taken) or [int(left[0])]
            return self._all[following]
        places, volumes = Points(np.array([place for place, _ in told])), np.array([volume for _, volume in told])
        process = GaussianProcess(places, volumes, likeliest_kernel(places, volumes))
        mean, deviation = process.predict(Points(self._places[left]))
        return self._all[int(left[np.argmax(mean + _HOPE * deviation)])]

    def _neighbours(self) -> Iterator[dict[str, Any]]:
        """Yield variants that differ from the baseline's in one hyperparameter, one for each."""
        default = {each.name: each.default for each in self._hyperspace}
        base = normal_values(self._hyperspace, default)
        for each in self._hyperspace:
            place = each.choices.index(each.default)
            other = each.choices[place - 1 if place else min(1, len(each.choices) - 1)]
            values = normal_values(self._hyperspace, {**default, each.name: other})
            if values != base and values in self._all:
                yield values

    def _place(self, values: Mapping[str, Any]) -> FloatArray:
        """Return values as numbers in [0, 1]: numbers by rank, anything else a column for each choice."""
        columns: list[float] = []
        for each in self._hyperspace:
            value = values[each.name]
            if each.is_ordered:
                last = max(len(each.choices) - 1, 1)
                middle = (len(each.choices) - 1) / 2
                columns.append((middle if value == OFF else each.choices.index(value)) / last)
            else:
                # two columns differ between two choices
                columns += [float(value == choice) / math.sqrt(2) for choice in each.choices]
        return np.array(columns)
