"""One trial as plain data, short: a run has a thousand of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.experiments.report.trial_states import state_of
from paretune.experiments.runs.run import MODEL_FILE, Run
from paretune.experiments.terminal.wording import command_text, hyperparameters_text, policy_summary
from paretune.search.front import values_of
from paretune.spaces.results.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlaces:
    """How the trials of a run stand to each other.

    Attributes:
        run: Whose trials.
        architectures: Digests of the models; a row tells the index.
        on_front: Numbers of the trials on the run's front.
        knee: Number of the trial at its knee, if there is one.
        ranks: Of each trial that could be on a front, by number: its place when they are sorted by their exact values,
            the first objective first. Among trials of equal costs, a front holds the one of the lowest rank.
        feasible: Whether each measured trial meets the run's constraints, by number; nothing without a baseline.
    """

    run: Run
    architectures: tuple[str, ...]
    on_front: frozenset[int]
    knee: int | None
    ranks: Mapping[int, int]
    feasible: Mapping[int, bool]


def trial_row(trial: Trial, places: TrialPlaces, options: Sequence[int] | None) -> dict[str, Any]:
    """Return one trial.

    ::

        {"trial": 12, "state": "complete", "origin": "seed", "reason": "", "model": 0, "hyperparameters": "",
         "policy": [[0.5, 16, "int8", 0.75, null], ...],
         "channels": "50..75%", "ranks": "-", "zeros": 0.42, "clusters": "8..32", "formats": "int8:4",
         "values": {...}, "test": {...}, "costs": [...], "rank": 3, "feasible": true, "front": true, "knee": false,
         "found": [[zeros, weights, distinct, scope, stored_as, deflated_bytes, rounding_zeros, channels, rank], ...],
         "faults": [],
         "latency": {...}, "steps": 120, "seconds": 8.5, "options": [0, 3, ...], "export": "...", "file": "..."}

    Policy and ``found`` are in the order of the model's layers. What a trial has not got is left out: a failed one has
    no ``values``, one that could not be on a front no ``rank``, one that the profile cannot tell of no ``options``.

    Args:
        trial: As the ledger has it.
        places: How it stands to the others.
        options: For each unit of the profile, which of its options the trial took.
    """
    summary, candidate = policy_summary(trial), trial.candidate
    row: dict[str, Any] = {
        "trial": trial.number,
        "state": state_of(trial),
        "origin": trial.origin,
        "reason": trial.reason,
        "model": places.architectures.index(candidate.architecture),
        "hyperparameters": hyperparameters_text(candidate.hyperparameters),
        "policy": [
            [
                round(decided.sparsity, 6),
                decided.clusters,
                str(decided.quantization),
                round(decided.channels, 6),
                decided.rank,
            ]
            for decided in candidate.policy.values()
        ],
        "channels": summary.channels,
        "ranks": summary.ranks,
        "zeros": round(summary.sparsity, 6),
        "clusters": summary.clusters,
        "formats": summary.formats,
    }
    return row | _measured(trial, places) | ({} if options is None else {"options": list(options)})


def _measured(trial: Trial, places: TrialPlaces) -> dict[str, Any]:
    measurement, number = trial.measurement, trial.number
    if measurement is None:
        return {}
    row: dict[str, Any] = {
        "values": dict(measurement.values),
        "test": dict(trial.test_values),
        "front": number in places.on_front,
        "knee": number == places.knee,
        "found": [
            [
                layer.zeros,
                layer.weights,
                layer.distinct,
                layer.distinct_scope,
                layer.stored_as,
                layer.deflated_bytes,
                layer.rounding_zeros,
                layer.channels,
                layer.rank,
            ]
            for layer in measurement.fidelity.layers
        ],
        "faults": list(measurement.fidelity.faults),
        "latency": measurement.details.get("latency"),
        "steps": measurement.training_steps,
        "seconds": round(trial.ended - trial.started, 2),
        "file": str(places.run.files_of(trial) / MODEL_FILE),
    }
    if number in places.feasible:
        row["feasible"] = places.feasible[number]
    if number in places.ranks:
        objectives = places.run.facts.objectives
        row["rank"] = places.ranks[number]
        row["costs"] = [objective.cost(values_of(trial)[objective.name]) for objective in objectives]
    if number in places.on_front:
        row["export"] = command_text("export", places.run.folder, "--pick", number)
    return row
