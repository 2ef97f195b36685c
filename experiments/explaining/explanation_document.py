"""An explanation as plain data, in the shape that scripts rely on."""

from typing import Any

from paretune.experiments.explaining.explanation import Explanation, LayerExplanation, UniformExplanation
from paretune.experiments.explaining.relaxing import GivenBack
from paretune.search.front import values_of


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation for JSON.

    ::

        {"trial", "metric", "values", "test_values", "baseline": {"values", "test_values"},
         "layers": [{"layer", "requested", "weights", "zeros", "distinct", "stored_as", "deflated_bytes", "faults", ...,
                     "alone": {"evidence": "measured|trained|estimate", "size_bytes", "metric", "latency_ratio"},
                     "in_float32": {...}}, ...],
         "uniform": {"every_layer", "evidence", "trial", "values", "untrained"},
         "confusion": {"classes": [{"name", "rows", "right_before", "right_after", "lost", "gained"}, ...],
                       "mistakes": [[RIGHT, SAID, ROWS], ...]}}

    ``alone``, ``in_float32``, ``uniform`` and ``confusion`` are null where there is none. What is given back is the
    relaxed file's value less the trial's.
    """
    return {
        "trial": explanation.trial.number,
        "metric": explanation.metric.name,
        "values": dict(values_of(explanation.trial)),
        "test_values": dict(explanation.trial.test_values),
        "baseline": {
            "values": dict(values_of(explanation.baseline)),
            "test_values": dict(explanation.baseline.test_values),
        },
        "layers": [_layer(each) for each in explanation.layers],
        "uniform": explanation.uniform and _uniform(explanation.uniform),
        "confusion": explanation.confusion and explanation.confusion.to_document(),
    }


def _layer(each: LayerExplanation) -> dict[str, Any]:
    return {
        **each.fidelity.to_document(),
        "alone": _given_back(each.alone),
        "in_float32": _given_back(each.in_float32),
    }


def _given_back(given: GivenBack | None) -> dict[str, Any] | None:
    return None if given is None else {name: getattr(given, name) for name in given.__slots__}


def _uniform(uniform: UniformExplanation) -> dict[str, Any]:
    return {
        "every_layer": uniform.wish.to_document(),
        "evidence": str(uniform.evidence),
        "trial": uniform.trial,
        "values": dict(uniform.values),
        "untrained": dict(uniform.untrained),
    }
