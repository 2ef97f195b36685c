"""Runs that the funnel has made, with numbers from the analytic evaluator: real ledger, real files, virtual time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.experiments.asking import Answer, ask_run
from paretune.experiments.config.experiment import parse_experiment
from paretune.experiments.runs.facts import RunFacts
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import facts_to_remember, open_run
from paretune.search.driver import run_search
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.search.simulation import ImmediateService
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.layers import untouched_policy
from paretune.spaces.policies.space import build_space
from paretune.spaces.results.trial import Budget, TrialState
from tests.fakes import AnalyticEvaluator, GradualEvaluator

TEXT = """\
name: fake
model: model.npz
data: data.npz
space: {sparsity: [0, 0.5, 0.8], clusters: [none, 16], quantization: [float32, int8, int4]}
tracking: off
"""


def make_run(
    place: Path,
    *,
    text: str = TEXT,
    evaluator: AnalyticEvaluator | None = None,
    trials: int = 8,
    sampler: str = "funnel",
    stop_requested: Callable[[], bool] = lambda: False,
    before: Callable[[Candidate, Rung], None] = lambda candidate, rung: None,
    **settings: Any,
) -> RunFolder:
    """Search in ``place/runs/fake`` for the experiment ``place/exp.yaml``, and return the run's folder.

    Args:
        place: A folder.
        text: The experiment file.
        evaluator: Measures; one whose numbers get better with training by default.
        trials: Trained in full.
        sampler: Proposes.
        stop_requested: As for ``run_search``.
        before: As for ``ImmediateService``.
        settings: Of the search problem.
    """
    evaluator = evaluator or GradualEvaluator()
    for name in ("model.npz", "data.npz"):
        (place / name).touch()
    (place / "exp.yaml").write_text(text)
    experiment = parse_experiment(text, place / "exp.yaml")
    description = evaluator.describe()
    objectives = settings.pop("objectives", tuple(list(description.objectives.values())[:2]))
    problem = SearchProblem(
        description=description,
        space=build_space(description.layers, experiment.space),
        objectives=objectives,
        budget=Budget(trials=trials),
        sampler=SamplerSettings(name=sampler),
        **settings,
    )
    facts = RunFacts(
        run_id="0" * 32,
        description=description,
        objectives=problem.objectives,
        constraints=problem.constraints,
        fingerprint={},
        threads=1,
    )
    folder = RunFolder(place / "runs" / "fake")
    folder.make()
    ledger = SqlLedger.create(folder.ledger)
    try:
        ledger.remember(facts_to_remember(experiment, facts))
        candidate = problem.candidate(untouched_policy(problem.space.layers))
        trial = ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="baseline", parameters={})
        ended = {"state": TrialState.COMPLETE, "measurement": evaluator.baseline(), "ended": trial.started + 1}
        ledger.close_trial(replace(trial, **ended))
        service = ImmediateService(evaluator, before=before)
        run_search(problem, service, ledger, clock=service.clock, stop_requested=stop_requested)
    finally:
        ledger.close()
    return folder


def ask(folder: RunFolder, **bounds: float) -> Answer:
    """Ask a run again."""
    with open_run(folder) as run:
        return ask_run(run, **bounds)


def bound_worth_asking(folder: RunFolder) -> float:
    """Return a bound on the bytes under which the run has an answer, and names an untried policy that does better."""
    for kilobytes in range(4, 36):
        answer = ask(folder, max_bytes=1e3 * kilobytes)
        if answer.best is not None and answer.untried is not None:
            return 1e3 * kilobytes
    raise AssertionError("the run names no untried policy, whatever the bound")
