"""The front as plain data, in the shape that scripts rely on."""

from collections.abc import Mapping
from typing import Any

from paretune.experiments.explaining.noise import Neighbour
from paretune.search.front import Front, values_of
from paretune.spaces.results.trial import Trial


def front_document(front: Front, neighbours: Mapping[int, Neighbour] | None = None) -> dict[str, Any]:
    """Return ``{"baseline": {"values": ...}, "front": [{"trial", "knee", "values", "test_values"}, ...]}``.

    Points stand smallest file first. The baseline has ``test_values`` once its test split has been measured, and a
    point its ``hyperparameters`` where those were searched. Test values hold the interval of the metric too, as
    ``METRIC_low`` and ``METRIC_high``. With ``neighbours``, a point has the difference from the next smaller file, as
    ``{"neighbour": {"trial", "low", "high", "is_noise"}}``.
    """
    neighbours = neighbours or {}
    baseline: dict[str, Any] = {"values": dict(values_of(front.baseline)) if front.baseline is not None else {}}
    if front.baseline is not None and front.baseline.test_values:
        baseline["test_values"] = dict(front.baseline.test_values)
    return {
        "baseline": baseline,
        "front": [
            {
                "trial": point.trial.number,
                "knee": point.knee,
                "values": dict(values_of(point.trial)),
                "test_values": dict(point.trial.test_values),
                **_hyperparameters(point.trial),
                **_neighbour(neighbours.get(point.trial.number)),
            }
            for point in front.points
        ],
    }


def _hyperparameters(trial: Trial) -> dict[str, Any]:
    values = trial.candidate.hyperparameters
    return {"hyperparameters": dict(values)} if values else {}


def _neighbour(neighbour: Neighbour | None) -> dict[str, Any]:
    if neighbour is None:
        return {}
    bounds = {"low": neighbour.difference.low, "high": neighbour.difference.high}
    return {"neighbour": {"trial": neighbour.number, **bounds, "is_noise": neighbour.is_noise}}
