"""What single decisions change about objectives that neither training nor deflating decides: operations, memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from paretune.search.front import FloatArray
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.proxy import Proxy

if TYPE_CHECKING:
    from paretune.search.additive.profile import ProfilePlan

#: What the profile knows in ways of its own.
_OTHERS = ("loss", "size_bytes", "latency_ratio")


def amount_names(objectives: Sequence[Objective], metric: str) -> tuple[str, ...]:
    """Return the objectives that are added up from what untrained files measure, as they are."""
    return tuple(each.name for each in objectives if each.name not in (metric, *_OTHERS))


def rises_of(plan: "ProfilePlan", name: str, proxies: Mapping[str, Proxy], base: Proxy) -> list[FloatArray]:
    """Return by how much each option of each unit raises an amount, beside the unit's first option.

    Where a choice for all layers at once changes more, or less, than its single effects add up to, the difference is
    shared out among the units: no layer alone makes room in an arena whose peak is elsewhere. Not so for channels,
    which multiply: see :mod:`paretune.search.additive.widths`.

    Args:
        plan: What was measured.
        name: Of the objective.
        proxies: By digest of the policy.
        base: Of the first options.

    Returns:
        For each unit, shape (options,); 0 where the amount was not measured, infinite where the option could not be.
    """
    if name not in base.values:  # nothing to compare with: it is measured of trained files alone
        return [np.zeros(len(unit.options)) for unit in plan.units]
    start = base.values[name]

    def rise(digest: str) -> float:
        proxy = proxies.get(digest)
        return np.inf if proxy is None else proxy.values.get(name, start) - start

    shared = {part: _correction(plan, part, policy.digest, rise) for part, policy in plan.uniform.items()}
    found = []
    for unit in plan.units:
        parts = [[rise(digest) for digest in plan.digests_of(option)] for option in unit.options]
        share = max([-each for rises in parts for each in rises if np.isfinite(each)], default=0.0)
        knobs = {parameter.name: parameter for parameter in unit.parameters}
        corrections = [
            sum(
                shared.get((knobs[part].knob, knobs[part].choices[index]), 0.0)
                for part, index in option.choice.items()
                if index and not unit.is_width
            )
            for option in unit.options
        ]
        found.append(np.array([_together(rises, share) for rises in parts]) + np.array(corrections))
    return found


def _together(rises: Sequence[float], share: float) -> float:
    """Return what several decisions about one unit do together: each takes its fraction of what the others leave.

    Args:
        rises: Of each alone.
        share: What the unit's amount is at least: the most that any decision takes from it.
    """
    left = 1.0
    for each in rises:
        if each < 0:
            left *= 1 + each / share
    return sum(each for each in rises if each > 0) - share * (1 - left)


def _correction(plan: "ProfilePlan", part: tuple[str, object], digest: str, rise: Callable[[str], float]) -> float:
    """Return what each unit adds when a choice is made everywhere, beyond what it does alone."""
    knob, value = part
    singles = [
        rise(plan.digest_of_part(parameter.name, parameter.choices.index(value)))
        for parameter in plan.space.parameters
        if parameter.knob == knob and value in parameter.choices[1:]
    ]
    total = rise(digest)
    if not singles or not np.isfinite([total, *singles]).all():
        return 0.0
    return float((total - sum(singles)) / len(singles))
