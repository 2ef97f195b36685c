"""One session of a search at the terminal: signals, progress, tracking around it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console

from paretune.experiments.config.experiment import Experiment
from paretune.experiments.explaining.noise import Neighbour, neighbours_of, no_interval_because
from paretune.experiments.profiles.keeping import kept_profile
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import Run
from paretune.experiments.runs.searching import PreparedRun, finished_run, prepare_run, search_run
from paretune.experiments.stopping import StopWish, stop_signals
from paretune.experiments.terminal.progress import SearchProgress
from paretune.experiments.terminal.wording import budget_text
from paretune.experiments.tracking.tracker import Ending, Tracker
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import build_keras_evaluator
from paretune.search.events import SearchOutcome
from paretune.search.front import Front
from paretune.spaces.results.trial import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """What a session has come to.

    Attributes:
        front: The front, whether or not the search has finished.
        metric: Name of the task's metric.
        outcome: Why it ended.
        is_new: Whether this session searched; otherwise there was nothing left to do.
        tracker: Still bringing MLflow up to date; ``None`` where nothing is tracked.
        stopped: Trials that went no further than a short training.
        refused: Policies that were refused untrained.
        additivity: How far single decisions add up, in words; empty where the run has no profile.
        neighbours: How points of the front differ from the next smaller file, where the test split has been measured.
        no_interval: Why the metric has no intervals, where it has none.
    """

    front: Front
    metric: str
    outcome: SearchOutcome
    is_new: bool
    tracker: Tracker | None = None
    stopped: int = 0
    refused: int = 0
    additivity: str = ""
    neighbours: Mapping[int, Neighbour] = field(default_factory=dict)
    no_interval: str = ""


def run_session(
    experiment: Experiment,
    folder: RunFolder,
    *,
    trust_model: bool = False,
    command: Sequence[str] = (),
    build: EvaluatorFactory = build_keras_evaluator,
    console: Console | None = None,
) -> SessionEnd:
    """Run or resume a search until its budget is spent, or Ctrl-C or SIGTERM stops it.

    Args:
        experiment: What to search, command line included.
        folder: Where the run lives.
        trust_model: Whether code inside the model file may run.
        command: The command line, for the record.
        build: Builds the evaluator in each worker.
        console: Where progress goes; stderr by default.

    Raises:
        KeyboardInterrupt: If it was stopped before the search began, or could not stop in good time.
        ParetuneError: See :func:`paretune.experiments.runs.searching.prepare_run`.
    """
    finished = finished_run(experiment, folder)
    if finished is not None:
        with finished:
            outcome = SearchOutcome(reason="this search had finished before; nothing was left to do")
            return _end(finished, outcome, tracker=None, is_new=False)
    with stop_signals() as wish:
        preparing = SearchProgress(experiment.budget, _NO_FRONT, console=console)
        with prepare_run(experiment, folder, trust_model=trust_model, say=preparing.say, build=build) as prepared:
            tags = {"command": shlex.join(command), "budget": budget_text(experiment.budget)}
            tracker = Tracker(folder.path, tags) if experiment.tracking is not None else None
            ending = Ending.FAILED
            try:
                outcome = _search(prepared, wish, console)
                ending = Ending.INTERRUPTED if outcome.interrupted else Ending.FINISHED
            except KeyboardInterrupt:
                ending = Ending.INTERRUPTED
                raise
            finally:
                if tracker is not None:
                    tracker.tell(ending)
            return _end(prepared.run, outcome, tracker=tracker, is_new=True)


def metric_of(run: Run) -> str:
    """Return the name of the task's metric."""
    return next(iter(run.facts.description.objectives))


def _end(run: Run, outcome: SearchOutcome, *, tracker: Tracker | None, is_new: bool) -> SessionEnd:
    trials, profile, resamples = run.trials(), kept_profile(run), run.ledger.resamples()
    front = run.front(trials)
    return SessionEnd(
        front=front,
        metric=metric_of(run),
        outcome=outcome,
        is_new=is_new,
        tracker=tracker,
        stopped=sum(trial.was_stopped for trial in trials),
        refused=sum(trial.state is TrialState.REFUSED for trial in trials),
        additivity="" if profile is None else profile["additivity"]["sentence"],
        neighbours=neighbours_of(front, resamples),
        no_interval=no_interval_because(front, resamples),
    )


_NO_FRONT = Front(objectives=(), baseline=None, points=())


def _search(prepared: PreparedRun, wish: StopWish, console: Console | None) -> SearchOutcome:
    progress = SearchProgress(prepared.run.experiment.budget, prepared.run.front(), console=console)
    with progress, wish.deferred():
        return search_run(prepared, notify=progress.hear, stop_requested=lambda: bool(wish), say=progress.say)
