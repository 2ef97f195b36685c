"""From a run's front, or from a policy file, to an exported folder."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from paretune.experiments.config.experiment import Experiment
from paretune.experiments.config.metadata_section import file_metadata
from paretune.experiments.config.policy_file import read_policy_file
from paretune.experiments.config.present import present_experiment
from paretune.experiments.exports.export import ExportContent, ExportedFile, export_trial
from paretune.experiments.exports.front_index import write_index
from paretune.experiments.runs.fingerprint import require_same_files
from paretune.experiments.runs.run import MODEL_FILE, Run
from paretune.experiments.runs.searching import search_problem
from paretune.experiments.terminal.tables import metric_cell, times_smaller
from paretune.experiments.terminal.wording import bytes_text, command_text
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.one_worker import one_worker
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator
from paretune.search.front import PICKS, pick, values_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant, values_of_model
from paretune.spaces.policies.layers import untouched_policy
from paretune.spaces.results.evaluator import ModelDescription, Split
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Trial, TrialState

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it lies.
        file: The file, as it was measured.
        summary: Metric and size, such as ``accuracy 0.981/0.979, 21.0 kB, 7.7x smaller``.
        faults: Where the file does not hold what the policy asked for.
    """

    folder: Path
    file: ExportedFile
    summary: str
    faults: tuple[str, ...]


def export_pick(
    run: Run,
    which: str | Trial,
    to: Path,
    *,
    trust_model: bool = False,
    say: Say = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Exported:
    """Export one trial of a run's front, measured again.

    Args:
        run: Whose front.
        which: See :func:`paretune.search.front.pick`; or a complete trial of the run, on its front or not.
        to: Folder to write.
        trust_model: Whether code inside the model file may run.
        say: Hears what is going on.
        build: Builds the evaluator in the worker.

    Raises:
        ConfigurationError: If the front has no such trial.
        RunError: If model or data have changed since the search.
        ExportMismatch: If the file does not measure as it did.
    """
    trials = run.trials()
    trial = which if isinstance(which, Trial) else pick(run.front(trials), which)
    named = f" ({which})" if which in PICKS else ""
    say(f"measuring trial {trial.number} again, on validation and test")
    with _shipping(run, trials, trust_model=trust_model, build=build) as ship:
        return ship(trial, named, to)


def export_front(
    run: Run,
    to: Path,
    *,
    trust_model: bool = False,
    say: Say = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> tuple[Exported, ...]:
    """Export every trial of a run's front into a folder each, ``trial-N``, and an index; measured by one worker.

    Raises:
        ConfigurationError: If the front is empty.
        RunError: If model or data have changed since the search.
        ExportMismatch: If a file does not measure as it did; the index is not written then.
    """
    trials = run.trials()
    front = run.front(trials)
    if not front.points:
        pick(front, "knee")  # tells why there is nothing to pick
    exported = []
    with _shipping(run, trials, trust_model=trust_model, build=build) as ship:
        for count, point in enumerate(front.points, 1):
            say(f"measuring trial {point.trial.number} again, {count} of {len(front.points)}")
            folder = to / f"trial-{point.trial.number}"
            exported.append(ship(point.trial, " (knee)" if point.knee else "", folder))
    write_index(to, run.experiment.name, front, [each.file for each in exported])
    return tuple(exported)


@contextmanager
def _shipping(
    run: Run, trials: Sequence[Trial], *, trust_model: bool, build: EvaluatorFactory
) -> Iterator[Callable[[Trial, str, Path], Exported]]:
    """Start a worker with a run's model and data, and return what exports a trial with it.

    Raises:
        RunError: If model or data have changed since the search.
    """
    experiment = present_experiment(run.experiment)
    metadata = file_metadata(experiment.metadata, experiment.file.parent)
    with one_worker(run.experiment, threads=run.facts.threads, trust_model=trust_model, build=build) as pool:
        description = pool.describe()
        require_same_files(run.facts.description.fingerprint, description.fingerprint, run.folder.path)
        baseline = _with_test(trials[0], lambda: run.model_of(trials[0]), pool)

        def ship(trial: Trial, named: str, to: Path) -> Exported:
            content = ExportContent(
                title=run.experiment.name,
                origin=f"trial {trial.number} of {run.folder}{named}",
                model=run.model_of(trial),
                trial=trial,
                baseline=baseline,
                description=replace(description, fingerprint=run.facts.fingerprint),
                metric=_metric(description),
                versions=_versions(run.experiment),
                metadata=metadata,
                reproduce=(
                    command_text("search", run.experiment.file),
                    command_text("export", run.folder, "--pick", trial.number),
                ),
            )
            return _exported(content, export_trial(content, pool, to), to)

        yield ship


def apply_policy(
    file: Path,
    experiment: Experiment,
    to: Path,
    *,
    trust_model: bool = False,
    say: Say = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Exported:
    """Train an experiment's model under one policy, and export it, measured again.

    Raises:
        ConfigurationError: If the policy does not fit the model.
        TrialError: If it cannot be built, trained or measured.
        ExportMismatch: If the written file does not measure as the trained one did.
    """
    document = read_policy_file(file)
    say("loading the model and the data")
    with one_worker(experiment, trust_model=trust_model, build=build) as pool:
        description = pool.describe()
        problem = search_problem(experiment, description)
        untouched = problem.candidate(untouched_policy(problem.space.layers))
        values = document.values(problem.hyperspace)
        if values != problem.values:
            say("building and training the base model")
            limit = Limit(seconds=problem.trial_seconds)
            description = pool.submit_description(values_of_model(values), limit).result()
            problem = problem.of_variant(Variant(values=values, description=description))
        policy = document.policy(problem.space)
        say("measuring the baseline")
        baseline = pool.baseline()
        say("training under the policy")
        limit = Limit(seconds=problem.trial_seconds)
        measurement = pool.submit(problem.candidate(policy), Rung.FULL, limit).result()
        content = ExportContent(
            title=experiment.name,
            origin=f"the policy of {file}",
            model=measurement.artifacts[MODEL_FILE],
            trial=_complete(problem.candidate(policy), measurement),
            baseline=_with_test(_complete(untouched, baseline), lambda: baseline.artifacts[MODEL_FILE], pool),
            description=description,
            metric=_metric(description),
            versions=_versions(experiment),
            metadata=file_metadata(experiment.metadata, experiment.file.parent),
            reproduce=(command_text("apply", file, experiment.file, "--to", to),),
        )
        return _exported(content, export_trial(content, pool, to), to)


def _with_test(trial: Trial, model: Callable[[], bytes], pool: WorkerPool) -> Trial:
    values = trial.candidate.hyperparameters
    return trial if trial.test_values else replace(trial, test_values=pool.remeasure(model(), Split.TEST, values))


def _complete(candidate: Candidate, measurement: Measurement) -> Trial:
    return Trial(
        number=0,
        candidate=candidate,
        rung=Rung.FULL,
        state=TrialState.COMPLETE,
        origin="apply",
        measurement=measurement,
    )


def _exported(content: ExportContent, file: ExportedFile, folder: Path) -> Exported:
    trial = file.trial
    size = values_of(trial)["size_bytes"]
    metric = content.metric.name
    summary = f"{metric} {metric_cell(metric, trial)} (validation/test), {bytes_text(size)} deflated"
    smaller = times_smaller(content.baseline, size)
    faults = trial.measurement.fidelity.faults if trial.measurement is not None else ()
    return Exported(folder, file, f"{summary}, {smaller} smaller than the baseline", faults)


def _metric(description: ModelDescription) -> Objective:
    return next(iter(description.objectives.values()))


def _versions(experiment: Experiment) -> dict[str, str]:
    from importlib.metadata import version

    return {"paretune": version("paretune"), **experiment.settings_for_evaluator(threads=1).versions()}
