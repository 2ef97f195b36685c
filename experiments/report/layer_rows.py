"""The layers of a run's models as plain data, and what decisions about them cost."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from paretune.experiments.runs.run import Run
from paretune.experiments.runs.run_profile import RunProfile
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.trial import Trial, TrialState


def model_documents(run: Run, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return the models that trials of a run compress, the baseline's first.

    ::

        [{"architecture": "...", "layers": [{"name", "kind", "shape", "weights", "macs", "channels"}, ...],
          "bytes": [418, ...], "file_bytes": 290155}, ...]

    ``bytes`` are those of each layer's deflated weights in the uncompressed file, and ``file_bytes`` are that file's;
    null until it has been measured.
    """
    return [
        {
            "architecture": description.architecture,
            "layers": [
                {
                    "name": spec.name,
                    "kind": spec.kind,
                    "shape": "x".join(map(str, spec.weight_shape)),
                    "weights": spec.weights,
                    "macs": spec.macs,
                    "channels": spec.channels,
                }
                for spec in description.layers
            ],
            **_uncompressed(description, trials),
        }
        for description in _models(run)
    ]


def _models(run: Run) -> Iterator[ModelDescription]:
    """Yield each model once: recipes differ without it."""
    found: dict[str, ModelDescription] = {}
    for description in (run.facts.description, *(variant.description for variant in run.ledger.variants())):
        found.setdefault(description.architecture, description)
    yield from found.values()


def _uncompressed(description: ModelDescription, trials: Sequence[Trial]) -> dict[str, Any]:
    for trial in trials:
        candidate, measurement = trial.candidate, trial.measurement
        is_it = candidate.architecture == description.architecture and candidate.policy.is_untouched
        if is_it and trial.state is TrialState.COMPLETE and measurement is not None:
            layers = measurement.fidelity.layers
            return {
                "bytes": [layer.deflated_bytes for layer in layers] or None,
                "file_bytes": measurement.values.get("size_bytes"),
            }
    return {"bytes": None, "file_bytes": None}


def decision_costs(found: RunProfile) -> dict[str, Any]:
    """Return what each option of each unit costs alone and untrained.

    ::

        {"units": [{"layers": ["conv0"], "drops": [0.0, 0.002, ...], "rises": [0.0, 0.01, ...]}, ...],
         "sentence": "8 pairs of decisions cost 1.06 times the sum of their parts (median)"}

    ``drops`` are changes of the metric for the worse, ``rises`` those of the loss; null where it was not measured.
    """
    return {
        "units": [
            {
                "layers": list(unit.layers),
                "drops": [_short(value) for value in costs.metric.tolist()],
                "rises": [_short(value) for value in costs.loss.tolist()],
            }
            for unit, costs in zip(found.profile.units, found.profile.costs, strict=True)
        ],
        "sentence": str(found.profile.additivity),
    }


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
