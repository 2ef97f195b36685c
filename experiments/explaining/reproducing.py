"""Train trials of a run again, in workers that know nothing of what the run has trained."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, as_completed
from dataclasses import replace

from paretune.experiments.explaining.evaluations import Say
from paretune.experiments.explaining.explanation import trial_named
from paretune.experiments.explaining.reproduction import (
    SEEDS_FOR_NOISE,
    Expectation,
    Reproduction,
    reproduction_of,
    with_front,
)
from paretune.experiments.explaining.trainings import (
    Training,
    digest_of_file,
    keep_training,
    kept_trainings,
    training_of,
)
from paretune.experiments.files import disk_errors
from paretune.experiments.runs.fingerprint import compare
from paretune.experiments.runs.folder import cache_folder
from paretune.experiments.runs.run import Run
from paretune.experiments.terminal.wording import seconds_text, values_text
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError, RunError, TrialError
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial

#: Stands for every point of the front.
FRONT = "front"
#: Parts of a machine's description that may change the last bits of a training.
_MACHINE = ("cpu", "features", "threads")


def trials_named(run: Run, which: str) -> tuple[Trial, ...]:
    """Return the trials that ``which`` stands for: as one for :func:`trial_named`, or all of the front.

    Raises:
        ParetuneError: As :func:`trial_named`.
    """
    if which != FRONT:
        return (trial_named(run, which),)
    trials = run.front().trials
    if not trials:
        raise ConfigurationError("The front is empty: no trial has met the constraints. Name a trial by its number.")
    return trials


def reproduce_trials(
    run: Run,
    trials: Sequence[Trial],
    *,
    seeds: int = 0,
    trust_model: bool = False,
    say: Say = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> tuple[list[Reproduction], Expectation]:
    """Train trials again, each with its own seed and with so many new ones, and judge how they came out.

    Every training is kept in the run's folder when it ends; those with new seeds are not repeated when asked again. The
    ledger, and so the front, stays as it is. Where the same bytes cannot be expected, a few new seeds are trained
    unasked, because they tell the noise.

    Args:
        run: Open for reading.
        trials: Complete, trained in full. With the whole front and new seeds, points are compared with each other.
        seeds: How many new seeds.
        trust_model: Whether code inside the model file may run.
        say: Hears what is expected, and how it goes.
        build: Builds the evaluator in each worker.

    Returns:
        A reproduction for each trial, and what was expected.

    Raises:
        RunError: If the base model is not the one of the search, a trial's file is gone, or a result cannot be kept.
    """
    digests = {trial.number: digest_of_file(run.model_of(trial)) for trial in trials}
    # not the file's seed: the command line may have named another
    experiment = replace(run.experiment, seed=run.trial(0).candidate.seed)
    threads = run.facts.threads
    cache = cache_folder()
    with disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    settings = experiment.settings_for_evaluator(
        threads=threads, trust_model=trust_model, cache_folder=cache, run_folder=run.folder.path
    )
    workers = min(experiment.fair_workers(threads), len(trials) * (1 + seeds))
    # stages that the run has trained are not used; those trained now are shared, as within a search
    with tempfile.TemporaryDirectory(prefix="paretune-") as stages:
        settings = replace(settings, stage_folder=stages)
        say("loading the model and the data")
        with WorkerPool(settings, workers, cache / "worker.log", build=build) as pool:
            description = pool.describe()
            expected = expectation_of(run, description)
            say(expected.sentence)
            if not expected.is_exact and seeds < SEEDS_FOR_NOISE:
                seeds = SEEDS_FOR_NOISE
                say(f"training with {seeds} new seeds too, to know the noise")
            trained = _train_all(run, trials, seeds, pool, description.fingerprint, say)
    metric = next(iter(run.facts.description.objectives))
    found = [
        reproduction_of(
            trial,
            trained[trial.candidate.digest],
            [trained[candidate.digest] for candidate in _with_new_seeds(trial, seeds)],
            metric=metric,
            sha256=digests[trial.number],
            expected=expected,
        )
        for trial in trials
    ]
    if seeds and {trial.number for trial in trials} >= {trial.number for trial in run.front().trials}:
        found = with_front(
            found,
            run.facts.objectives,
            run.facts.constraints,
            run.trial(0),
            seeds,
            run.facts.description.objectives,
        )
    return found, expected


def expectation_of(run: Run, now: ModelDescription) -> Expectation:
    """Return what training again should give, from what has changed since the search.

    Raises:
        RunError: If the base model is another one: then there is nothing to train again.
    """
    then = run.facts.description
    differences = compare(then.fingerprint, now.fingerprint)
    if now.architecture != then.architecture:
        raise RunError(
            f"The base model must be the one that {run.folder} was searched with, but: {'; '.join(differences)}. "
            "Without it no trial can be trained again."
        )
    old, new = ({part: _text(each.machine.get(part)) for part in _MACHINE} for each in (then, now))
    return Expectation((*differences, *compare(old, new)))


def _train_all(
    run: Run, trials: Sequence[Trial], seeds: int, pool: WorkerPool, fingerprint: Mapping[str, str], say: Say
) -> dict[str, Training]:
    """Return a training of every candidate, by its digest."""
    known = kept_trainings(run.folder, fingerprint)
    others = [(trial, candidate) for trial in trials for candidate in _with_new_seeds(trial, seeds)]
    kept = {candidate.digest: known[candidate.digest] for _, candidate in others if candidate.digest in known}
    if kept:
        say(f"{len(kept)} trainings with new seeds are known from before")
    wanted = [(trial, trial.candidate) for trial in trials]
    wanted += [(trial, candidate) for trial, candidate in others if candidate.digest not in kept]
    limit = Limit(seconds=60 * run.experiment.trial_minutes)
    futures: dict[Future[Measurement], tuple[Trial, Candidate]] = {
        pool.submit(candidate, Rung.FULL, limit): (trial, candidate) for trial, candidate in wanted
    }
    for done, future in enumerate(as_completed(futures), start=1):
        trial, candidate = futures[future]
        outcome: Measurement | Exception
        try:
            outcome = future.result()
        except TrialError as error:
            outcome = error
        training = training_of(trial, candidate, outcome, fingerprint)
        keep_training(run.folder, training)
        kept[candidate.digest] = training
        metric = next(iter(run.facts.description.objectives))
        told = training.failure or values_text(training.values, (metric, "size_bytes"))
        took = seconds_text(training.seconds)
        say(f"trial {trial.number}, seed {candidate.seed}: {told}  ({took}; {done} of {len(futures)})")
    return kept


def _with_new_seeds(trial: Trial, seeds: int) -> list[Candidate]:
    seed = trial.candidate.seed
    return [replace(trial.candidate, seed=seed + step) for step in range(1, seeds + 1)]


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
