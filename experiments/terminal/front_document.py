"""The front as plain data, in the shape that scripts rely on."""

from typing import Any

from paretune.search.front import Front, values_of


def front_document(front: Front) -> dict[str, Any]:
    """Return ``{"baseline": {"values": ...}, "front": [{"trial", "knee", "values", "test_values"}, ...]}``.

    Points stand smallest file first. The baseline has ``test_values`` once its test split has been measured.
    """
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
            }
            for point in front.points
        ],
    }
