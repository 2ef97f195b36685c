"""Runs of every kind that a page has to show, with numbers from analytic evaluators."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paretune.experiments.report.document import report_document
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import facts_to_remember, open_run
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Bound, Constraint, Direction, Objective
from tests.experiments.funnel_runs import TEXT, make_run
from tests.fakes import ACCURACY, LATENCY, SIZE, GradualEvaluator, layer_specs

#: Would end the script that holds it, or run, if it got into the page as it is.
HOSTILE = "</script><img src=x onerror=alert(1)><b>'\"&amp;"
ERROR = Objective(name="mse", direction=Direction.MINIMIZE)


def hostile_run(place: Path) -> RunFolder:
    """Return a run whose user has put markup into every name and reason there is."""
    layers = tuple(replace(spec, name=f"{spec.name}{HOSTILE}", kind=f"Conv{HOSTILE}") for spec in layer_specs())
    return make_run(
        place,
        text=f"{TEXT}# {HOSTILE}\n",
        trials=6,
        evaluator=GradualEvaluator(layers=layers),
        objectives=(ACCURACY, SIZE, LATENCY),
        before=failing({3}, HOSTILE),
    )


def failing(numbers: set[int], reason: str) -> Callable[[Candidate, Rung], None]:
    """Return a ``before`` under which trials of these numbers, counted over the trained ones, fail for a reason."""
    count = -1

    def before(candidate: Candidate, rung: Rung) -> None:
        nonlocal count
        if rung is not Rung.PROXY:
            count += 1
            if count in numbers:
                raise Infeasible(reason)

    return before


@dataclass(frozen=True)
class RegressionEvaluator(GradualEvaluator):
    """Tells a mean squared error, of which less is better, where the others tell an accuracy."""

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        description = super().describe(hyperparameters)
        others = {name: each for name, each in description.objectives.items() if name != ACCURACY.name}
        return replace(description, objectives={ERROR.name: ERROR, **others})

    def baseline(self) -> Measurement:
        return _as_error(super().baseline())

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        return _as_error(super().evaluate(candidate, rung, limit))


def _as_error(measurement: Measurement) -> Measurement:
    values = dict(measurement.values)
    return replace(measurement, values={ERROR.name: 12.5 * (1 - values.pop(ACCURACY.name)), **values})


def of_three_objectives(place: Path) -> RunFolder:
    """Return a run with a constraint that some of its trials break."""
    return make_run(
        place,
        trials=10,
        sampler="random",
        objectives=(ACCURACY, SIZE, LATENCY),
        constraints=(Constraint(objective=ACCURACY.name, bound=Bound.DROP, value=0.25),),
    )


def _of_regression(place: Path) -> RunFolder:
    return make_run(place, trials=6, evaluator=RegressionEvaluator(), objectives=(ERROR, SIZE))


def _of_one_objective(place: Path) -> RunFolder:
    return make_run(place, trials=4, sampler="random", objectives=(ACCURACY,))


def _without_a_front(place: Path) -> RunFolder:
    impossible = Constraint(objective=ACCURACY.name, bound=Bound.DROP, value=0.0)
    return make_run(place, trials=4, sampler="random", constraints=(impossible,))


def _of_a_baseline_alone(place: Path) -> RunFolder:
    return make_run(place, trials=4, stop_requested=lambda: True)


def _still_searching(place: Path) -> RunFolder:
    """Return a run with a trial under way, as it is read beside its search."""
    folder = make_run(place, trials=4, objectives=(ACCURACY, SIZE, LATENCY))
    ledger = SqlLedger.open(folder.ledger)
    last = ledger.trials()[-1]
    ledger.open_trial(candidate=last.candidate, rung=Rung.FULL, origin="learner", parameters=last.parameters)
    ledger.close()
    return folder


def _nothing_yet(place: Path) -> RunFolder:
    """Return a run whose baseline is being measured."""
    folder = make_run(place, trials=4, stop_requested=lambda: True)
    with open_run(folder) as run:
        facts, baseline = facts_to_remember(run.experiment, run.facts), run.trial(0)
    folder.ledger.unlink()
    ledger = SqlLedger.create(folder.ledger)
    ledger.remember(facts)
    ledger.open_trial(candidate=baseline.candidate, rung=Rung.FULL, origin="baseline", parameters={})
    ledger.close()
    return folder


#: By what they are: makes the run in a folder.
KINDS: Mapping[str, Callable[[Path], RunFolder]] = {
    "three objectives": of_three_objectives,
    "regression": _of_regression,
    "one objective": _of_one_objective,
    "an empty front": _without_a_front,
    "nothing yet": _nothing_yet,
    "a baseline alone": _of_a_baseline_alone,
    "still searching": _still_searching,
}


def document_of(folder: RunFolder) -> dict[str, Any]:
    with open_run(folder) as run:
        return report_document(run)
