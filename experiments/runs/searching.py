"""A search from experiment file to front: folder, lock, workers, fingerprint, baseline, driver, test split."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.experiments.config.experiment import METRIC, Experiment
from paretune.experiments.files import write_atomically
from paretune.experiments.profiles.keeping import keep_profile
from paretune.experiments.runs.facts import RunFacts
from paretune.experiments.runs.fingerprint import digest_without_loading, require_same, run_fingerprint
from paretune.experiments.runs.folder import RUNS, RunFolder, cache_folder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import (
    OUTCOME,
    Run,
    facts_to_remember,
    open_run,
    remember_reference,
    remembered_facts,
)
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.search.stopping import StopRules
from paretune.spaces.candidates.hyperspace import default_values
from paretune.spaces.candidates.recipe import layers_under
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import recipe_hyperparameters
from paretune.spaces.errors import ConfigurationError, RunError, TrialError
from paretune.spaces.policies.building import build_space
from paretune.spaces.policies.policy import untouched_policy
from paretune.spaces.results.evaluator import ModelDescription, Split
from paretune.spaces.results.objective import ASKED_OBJECTIVES, Constraint, Objective
from paretune.spaces.results.resampling import with_interval
from paretune.spaces.results.trial import Trial, TrialState
from paretune.spaces.suggest import nearest

if TYPE_CHECKING:
    from paretune.search.events import SearchEvent, SearchOutcome


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A run that is ready to be searched: locked, checked, its baseline measured.

    Attributes:
        run: The run, its ledger open for writing.
        pool: The workers.
        problem: What to search.
    """

    run: Run
    pool: WorkerPool
    problem: SearchProblem


def run_folder_of(experiment: Experiment, out: Path | None = None) -> RunFolder:
    """Return the folder that an experiment's run lives in: ``out``, or ``runs/NAME``."""
    return RunFolder(RUNS / experiment.name if out is None else out)


def finished_run(experiment: Experiment, folder: RunFolder) -> Run | None:
    """Return the run if there is nothing left to do for this experiment, otherwise ``None``.

    That is so when its search has ended by itself under the same budget, and neither the experiment nor a file that
    it names has changed since. No worker is started to find out.
    """
    if not folder.exists:
        return None
    run = open_run(folder)
    if run.ledger.fact(OUTCOME) == _outcome_document(experiment):
        return run
    run.ledger.close()
    return None


@contextmanager
def prepare_run(
    experiment: Experiment,
    folder: RunFolder,
    *,
    trust_model: bool = False,
    say: Callable[[str], None] = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Iterator[PreparedRun]:
    """Make a run ready for :func:`search_run`; a new one is begun, an old one goes on.

    Args:
        experiment: What to search.
        folder: Where the run lives.
        trust_model: Whether code inside the model file may run.
        say: Hears what is being done, when it takes a while.
        build: Builds the evaluator in each worker.

    Raises:
        RunError: If another search uses the folder, or the run in it was made with something else.
        ParetuneError: If the model, the data or the experiment cannot be used.
    """
    folder.make()
    with folder.lock():
        say("loading the model and the data")
        ledger = SqlLedger.open(folder.ledger) if folder.exists else None
        try:
            known = None if ledger is None else remembered_facts(ledger)
            # A run keeps the number that it began with, unless the file names another (and is refused for it).
            threads = experiment.threads or (known.threads if known is not None else experiment.fair_threads)
            settings = experiment.settings_for_evaluator(
                threads=threads, trust_model=trust_model, cache_folder=cache_folder(), run_folder=folder.path
            )
            workers = experiment.fair_workers(threads)
            with WorkerPool(settings, workers, folder.worker_log, build=build) as pool:
                description = pool.describe()
                problem = search_problem(experiment, description)
                facts = _facts(problem, description, threads, known)
                if known is not None:
                    require_same(known.fingerprint, facts.fingerprint, folder.path)
                ledger = ledger or SqlLedger.create(folder.ledger)
                ledger.remember(facts_to_remember(experiment, facts))
                write_atomically(folder.experiment, experiment.text.encode())
                run = Run(folder, ledger, experiment, facts)
                _measure_baseline(run, pool, problem, say)
                remember_reference(run)
                yield PreparedRun(run, pool, problem)
        finally:
            if ledger is not None:
                ledger.close()


def search_run(
    prepared: PreparedRun,
    *,
    notify: "Callable[[SearchEvent], None]" = lambda event: None,
    stop_requested: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda words: None,
) -> "SearchOutcome":
    """Search until the budget is spent or it is told to stop; then measure the front on the test split.

    Raises:
        ParetuneError: See :func:`paretune.search.driver.run_search`.
    """
    # Optuna takes a second to import
    from paretune.search.driver import run_search

    run = prepared.run
    run.ledger.remember({OUTCOME: None})
    outcome = run_search(prepared.problem, prepared.pool, run.ledger, notify=notify, stop_requested=stop_requested)
    keep_profile(run)
    if not outcome.interrupted:
        say("measuring the front on the test split")
        measure_on_test(run, prepared.pool)
        run.ledger.remember({OUTCOME: _outcome_document(run.experiment)})
    return outcome


def measure_on_test(run: Run, pool: WorkerPool) -> None:
    """Measure the baseline and the front on the test split and on resamples of it, those that have not been.

    Raises:
        RunError: If a trial's file is missing.
        MeasurementFailed: If one cannot be measured.
    """
    trials, known = run.trials(), run.ledger.resamples()
    wanted = [trial for trial in (*trials[:1], *run.front(trials).trials) if trial.number not in known]
    # as many at a time as there are workers
    futures = [
        pool.submit_inspection(run.model_of(trial), Split.TEST, trial.candidate.hyperparameters) for trial in wanted
    ]
    for trial, future in zip(wanted, futures, strict=True):
        found = future.result()
        run.ledger.record_test(trial.number, with_interval(found.values, found.resampled), found.resampled)


def search_problem(experiment: Experiment, description: ModelDescription) -> SearchProblem:
    """Return what an experiment asks of a model, as the search is told it.

    Raises:
        ConfigurationError: If the space does not fit the model, or an objective is not measured.
    """
    with _named(experiment):
        if experiment.base is not None and not description.hyperspace:
            raise ConfigurationError(
                f"`base` says how models are trained that `model` builds for their hyperparameters, but "
                f"'{experiment.model}' gives one that is trained already. Leave it out."
            )
        hyperspace = (
            *description.hyperspace,
            *recipe_hyperparameters(experiment.recipe, experiment.recipe_choices),
        )
        return SearchProblem(
            description=description,
            space=build_space(layers_under(experiment.recipe, description.layers), experiment.space),
            objectives=_objectives(experiment, description),
            constraints=_named_constraints(experiment.constraints, description),
            budget=experiment.budget,
            recipe=experiment.recipe,
            hyperspace=hyperspace,
            values=default_values(hyperspace),
            space_settings=experiment.space,
            seed=experiment.seed,
            sampler=SamplerSettings(name=experiment.sampler, arguments=experiment.sampler_arguments),
            trial_seconds=experiment.trial_minutes * 60,
            leaves=experiment.leaves,
            rungs=experiment.rungs,
            stop=StopRules(
                wished=_named_constraints(experiment.stop_when, description),
                flat_trials=experiment.flat_trials,
                flat_gain=experiment.flat_gain,
            ),
        )


@contextmanager
def _named(experiment: Experiment) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} ({experiment.file.name})") from None


def _objectives(experiment: Experiment, description: ModelDescription) -> tuple[Objective, ...]:
    """Return the objectives, the task's metric first where it is among them."""
    metric = next(iter(description.objectives))
    names = list(dict.fromkeys(metric if name == METRIC else name for name in experiment.objectives))
    for name in names:
        if name not in description.objectives:
            known = [*dict.fromkeys((*description.objectives, *ASKED_OBJECTIVES)), METRIC]
            raise ConfigurationError(
                f"Objective '{name}' is not measured; what is measured is {', '.join(known)}.{nearest(name, known)}"
            )
    return tuple(description.objectives[name] for name in sorted(names, key=lambda name: name != metric))


def _named_constraints(constraints: tuple[Constraint, ...], description: ModelDescription) -> tuple[Constraint, ...]:
    """Return constraints in which the task's metric has its own name."""
    metric = next(iter(description.objectives))
    return tuple(
        replace(constraint, objective=metric) if constraint.objective == METRIC else constraint
        for constraint in constraints
    )


def _facts(problem: SearchProblem, description: ModelDescription, threads: int, known: RunFacts | None) -> RunFacts:
    fingerprint = run_fingerprint(
        description=description,
        space=problem.space,
        objectives=problem.objectives,
        constraints=problem.constraints,
        recipe=problem.recipe,
        hyperspace=problem.hyperspace,
        seed=problem.seed,
        threads=threads,
    )
    return RunFacts(
        run_id=uuid.uuid4().hex if known is None else known.run_id,
        description=description,
        objectives=problem.objectives,
        constraints=problem.constraints,
        fingerprint=fingerprint,
        threads=threads,
    )


def _measure_baseline(run: Run, pool: WorkerPool, problem: SearchProblem, say: Callable[[str], None]) -> Trial:
    """Measure the uncompressed model as trial 0, unless that has been done.

    Raises:
        RunError: If it cannot be measured.
    """
    trials = run.trials()
    if trials and trials[0].state is TrialState.COMPLETE:
        return trials[0]
    say("measuring the baseline")
    if trials:
        trial = run.ledger.reopen_trial(0)
    else:
        candidate = problem.candidate(untouched_policy(problem.space.layers))
        trial = run.ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="baseline", parameters={})
    try:
        measurement = pool.baseline()
    except TrialError as error:
        run.ledger.close_trial(replace(trial, state=TrialState.INTERRUPTED, reason=str(error), ended=time.time()))
        raise RunError(f"The uncompressed model must be measured before a search, but: {error}") from error
    missing = [name for name in problem.needed_values if name not in measurement.values]
    if missing:
        raise RuntimeError(f"the evaluator promised {missing} and measured {list(measurement.values)}")
    return run.ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=measurement, ended=time.time()))


def _outcome_document(experiment: Experiment) -> dict[str, Any]:
    """Return what must be the same for a search that has ended to have nothing left to do."""
    versions = experiment.settings_for_evaluator(threads=1).versions()
    budget = experiment.budget
    return {
        "asked": digest_without_loading(experiment, versions),
        "test": "resampled",  # a run that ended before there were intervals has them left to do
        "budget": {"trials": budget.trials, "minutes": budget.minutes, "training_steps": budget.training_steps},
    }
