"""A run as plain data: all that its page tells."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.experiments.asking import could_be_on_a_front
from paretune.experiments.report.about import about_run
from paretune.experiments.report.layer_rows import decision_costs, model_documents
from paretune.experiments.report.trial_rows import TrialPlaces, trial_row
from paretune.experiments.runs.run import Run
from paretune.experiments.runs.run_profile import RunProfile, profile_of, trials_of_main_variant
from paretune.experiments.terminal.wording import command_text, short_name
from paretune.search.feasibility import bound_of, is_feasible, objectives_by_name
from paretune.search.front import Front, values_of
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.results.objective import Bound, Constraint, Direction, Objective
from paretune.spaces.results.trial import Trial, TrialState

#: What ``paretune front`` can be asked, by option: the objective that it bounds, and how; ``None`` is the metric.
QUESTIONS: Mapping[str, tuple[str | None, Bound]] = {
    "--max-size": ("size_bytes", Bound.MAX),
    "--max-drop": (None, Bound.DROP),
    "--max-latency": ("latency_ratio", Bound.MAX),
}


def report_document(run: Run) -> dict[str, Any]:
    """Return what the page of a run tells, as plain data for JSON; nothing is measured or written.

    ::

        {"name", "run", "command", "metric", "objectives": [{"name", "short", "unit", "minimised", "log"}, ...],
         "questions": [{"option", "objective", "bound"}, ...], "constraints": [{"objective", "bound", "value", ...}],
         "baseline": 0, "trials": [...], "models": [...], "bits": {"int8": 8, ...},
         "hypervolumes": [[number, volume], ...], "profile": {"units": [...], "sentence"}, "about": {...}}

    ``baseline`` is null until it has been measured, and so are the constraints' bounds; ``profile`` is null where the
    run has none. Trials are described by :func:`trial_row`, models by :func:`model_documents`.

    Args:
        run: Open for reading.
    """
    trials = run.trials()
    metric = next(iter(run.facts.description.objectives.values()))
    front = run.front(trials)
    found = profile_of(run, trials)
    has_baseline = bool(trials) and trials[0].state is TrialState.COMPLETE
    baseline = values_of(trials[0]) if has_baseline else {}
    known = objectives_by_name(run.facts.description.objectives.values())
    models = model_documents(run, trials)
    places = _places(run, trials, front, baseline, [model["architecture"] for model in models])
    options = {} if found is None else _options(found, trials)
    names = dict.fromkeys([metric.name, *(objective.name for objective in run.facts.objectives), *baseline])
    return {
        "name": run.experiment.name,
        "run": str(run.folder),
        "command": command_text("front", run.folder),
        "metric": metric.name,
        "objectives": [_objective_document(objective) for objective in run.facts.objectives],
        "minimised": {name: known[name].direction is Direction.MINIMIZE for name in names if name in known},
        "log": [name for name in names if name in known and known[name].log],
        "questions": [
            {"option": option, "objective": name or metric.name, "bound": str(bound)}
            for option, (name, bound) in QUESTIONS.items()
            if (name or metric.name) in baseline
        ],
        "constraints": [_constraint_document(each, baseline, known) for each in run.facts.constraints],
        "baseline": 0 if has_baseline else None,
        "trials": [trial_row(trial, places, options.get(trial.number)) for trial in trials],
        "models": models,
        "bits": {str(mode): mode.weight_bits for mode in Quantization},
        "hypervolumes": [[number, volume] for number, volume in run.hypervolumes(trials)],
        "profile": None if found is None else decision_costs(found),
        "about": about_run(run, trials),
    }


def _places(
    run: Run, trials: Sequence[Trial], front: Front, baseline: Mapping[str, float], architectures: Sequence[str]
) -> TrialPlaces:
    objectives, constraints = run.facts.objectives, run.facts.constraints
    known = objectives_by_name(run.facts.description.objectives.values())
    able = [trial for trial in trials if could_be_on_a_front(trial, objectives)]
    exact = [Objective(name=each.name, direction=each.direction) for each in objectives]
    in_order = sorted(able, key=lambda trial: ([o.cost(values_of(trial)[o.name]) for o in exact], trial.number))
    measured = [trial for trial in trials if trial.state is TrialState.COMPLETE and baseline]
    return TrialPlaces(
        run=run,
        architectures=tuple(architectures),
        on_front=frozenset(trial.number for trial in front.trials),
        knee=None if front.knee is None else front.knee.number,
        ranks={trial.number: rank for rank, trial in enumerate(in_order)},
        feasible={trial.number: is_feasible(values_of(trial), constraints, baseline, known) for trial in measured},
    )


def _options(found: RunProfile, trials: Sequence[Trial]) -> dict[int, Sequence[int] | None]:
    """Return the options that trials of the profiled model took, by trial number."""
    encoding = found.plan.encoding
    return {trial.number: encoding.row_of_trial(trial) for trial in trials_of_main_variant(trials)}


def _objective_document(objective: Objective) -> dict[str, Any]:
    return {
        "name": objective.name,
        "short": short_name(objective.name),
        "unit": objective.unit,
        "minimised": objective.direction is Direction.MINIMIZE,
        "log": objective.log,
    }


def _constraint_document(
    constraint: Constraint, baseline: Mapping[str, float], known: Mapping[str, Objective]
) -> dict[str, Any]:
    limit, is_upper = bound_of(constraint, baseline, known) if baseline else (None, None)
    return {
        "objective": constraint.objective,
        "bound": str(constraint.bound),
        "value": constraint.value,
        "limit": limit,
        "is_upper": is_upper,
    }
