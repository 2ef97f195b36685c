"""The profile of a run as plain data: what is kept as ``profile.json``, and drawn."""

import math
from typing import Any

import numpy as np

from paretune.experiments.runs.run_profile import RunProfile
from paretune.search.additive.encoding import Option, Unit
from paretune.spaces.policies.policy import KNOBS, LayerPolicy
from paretune.spaces.results.objective import Objective


def profile_document(found: RunProfile, *, run_id: str, metric: Objective) -> dict[str, Any]:
    """Return what every decision that was measured alone costs, beside what the model measures without any.

    ::

        {"run": ..., "metric": "accuracy", "direction": "maximize", "fixed_bytes": ...,
         "base": {"values": {...}, "layers": {...}},
         "layers": [{"layers": ["conv0"], "sensitivity": 0.02, "options": [
             {"changes": {"sparsity": 0.5}, "loss_rise": 0.01, "metric_drop": 0.002, "bytes": 812}, ...]}, ...],
         "additivity": {"pairs": [{"sum": 0.02, "together": 0.03}, ...], "median_ratio": 1.5, "sentence": ...}}

    The first option of a unit changes nothing. Drops are in the metric's own unit, whichever its direction. The
    sensitivity of a layer is the mean rise of the loss over the options that change one knob: the loss tells small
    differences apart that the metric rounds away. What could not be measured is null.

    Args:
        found: The profile.
        run_id: Whose it is.
        metric: The task's.
    """
    profile = found.profile
    additivity = profile.additivity
    return {
        "run": run_id,
        "metric": metric.name,
        "direction": str(metric.direction),
        "base": {"values": dict(profile.base.values), **profile.base.policy.to_document()},
        "fixed_bytes": _finite(profile.fixed_bytes),
        "layers": [_layer(found, number) for number in range(len(profile.units))],
        "additivity": {
            "pairs": [
                {"sum": _finite(one), "together": _finite(both)}
                for one, both in zip(additivity.sums, additivity.together, strict=True)
            ],
            "median_ratio": additivity.median_ratio,
            "sentence": str(additivity),
        },
    }


def _layer(found: RunProfile, number: int) -> dict[str, Any]:
    options = _options(found, number)
    rises = [option["loss_rise"] for option in options if len(option["changes"]) == 1]
    known = [rise for rise in rises if rise is not None]
    return {
        "layers": list(found.profile.units[number].layers),
        "sensitivity": math.fsum(known) / len(known) if known else None,
        "options": options,
    }


def _options(found: RunProfile, number: int) -> list[dict[str, Any]]:
    """Return the first option of a unit and those that were measured alone, by how many knobs they change."""
    unit, costs = found.profile.units[number], found.profile.costs[number]
    # channels change layers that read them too: what counts is the whole file
    whole = found.profile.base.values["size_bytes"] if unit.is_width else 0.0
    # options hold mappings, which cannot be hashed
    alone = {id(option) for other, option in found.plan.singles if other is unit}
    rows = [
        {
            "changes": _changes(unit, option),
            "loss_rise": _finite(costs.loss[index]),
            "metric_drop": _finite(costs.metric[index]),
            "bytes": _finite(whole + costs.bytes[index]),
        }
        for index, option in enumerate(unit.options)
        if index == 0 or id(option) in alone
    ]
    return sorted(rows, key=lambda row: len(row["changes"]))


def _changes(unit: Unit, option: Option) -> dict[str, Any]:
    """Return the choices of an option that are not the first ones, by knob."""
    chosen = {
        parameter.knob: parameter.choices[option.choice[parameter.name]]
        for parameter in unit.parameters
        if option.choice[parameter.name]
    }
    spelled = LayerPolicy(**chosen).to_document()
    return {knob: spelled[knob] for knob in KNOBS if knob in chosen}


def _finite(value: float | np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
