"""Search a table in virtual time, and note after every trial what had been spent and how good the front was."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from tabular import Table, TabularEvaluator

from paretune.search.driver import run_search
from paretune.search.events import SearchEvent, TrialEnded
from paretune.search.front import values_of
from paretune.search.settings import SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger, VirtualClock
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import untouched_policy
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import FILE_OBJECTIVES
from paretune.spaces.results.trial import Budget, Trial, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a search went, trial by trial; all arrays have shape (full trials,).

    Attributes:
        volume: Share of the table's hypervolume that the front covers after each full trial.
        training_steps: Spent until then, at every rung.
        seconds: Recorded seconds of everything measured until then, and real seconds of the search itself.
        search_seconds: The latter part.
        points: Accuracy and size of each full trial.
    """

    volume: list[float] = field(default_factory=list)
    training_steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    search_seconds: list[float] = field(default_factory=list)
    points: list[tuple[float, float]] = field(default_factory=list)

    def is_over(self, trials: int, until: float) -> bool:
        """Return whether so many full trials have been made, or so large a share of the volume is covered."""
        return len(self.volume) >= trials or (bool(self.volume) and self.volume[-1] >= until)

    def note(
        self,
        point: tuple[float, float],
        *,
        volume: float,
        training_steps: int,
        seconds: float,
        search_seconds: float,
    ) -> None:
        """Add what holds after one more full trial."""
        self.points.append(point)
        self.volume.append(volume)
        self.training_steps.append(training_steps)
        self.seconds.append(seconds)
        self.search_seconds.append(search_seconds)


class _Watch:
    """A service that adds up what evaluations cost, and a listener that notes the course."""

    def __init__(self, table: Table) -> None:
        self._evaluator = TabularEvaluator(table)
        self.inner = ImmediateService(self)
        self.course = Course()
        self._steps, self._seconds = 0, 0.0
        self._began = time.perf_counter()
        self._front = Staircase(table)
        self._lookup_seconds = 0.0

    def describe(self) -> object:
        return self._evaluator.describe()

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        started = time.perf_counter()
        measured = self._evaluator.evaluate(candidate, rung, limit)
        self._steps += measured.training_steps
        self._seconds += sum(measured.seconds.values())
        self._lookup_seconds += time.perf_counter() - started
        return measured

    def hear(self, event: SearchEvent) -> None:
        if isinstance(event, TrialEnded):
            trial = event.trial
            if trial.state is TrialState.COMPLETE and trial.rung is Rung.FULL:
                self._note(trial)

    def _note(self, trial: Trial) -> None:
        values = values_of(trial)
        own = time.perf_counter() - self._began - self._lookup_seconds
        self.course.note(
            (values["accuracy"], values["size_bytes"]),
            volume=self._front.with_point(values["accuracy"], values["size_bytes"]),
            training_steps=self._steps,
            seconds=self._seconds + own,
            search_seconds=own,
        )


class Staircase:
    """The hypervolume of a growing front, as a share of what the whole table covers.

    Accuracy counts as it is, sizes by their logarithm. The reference point is the table's own and never changes: ten
    points of accuracy below the uncompressed model, and the size of the largest file of the grid.
    """

    def __init__(self, table: Table) -> None:
        self._reference = table.reference
        whole = table.arrays["values"][:, -1, :]
        names = table.about["names"]
        self._accuracy, self._size = names.index("accuracy"), names.index("size_bytes")
        self._points: list[tuple[float, float]] = []
        self.whole = self._volume(self._rows(whole[:, self._accuracy], whole[:, self._size]))

    def with_point(self, accuracy: float, size_bytes: float) -> float:
        """Return the share with one more point."""
        return self.with_points([(accuracy, size_bytes)])

    def with_points(self, more: Sequence[tuple[float, float]]) -> float:
        """Return the share with more points, of accuracy and size."""
        self._points += more
        points = np.array(self._points)
        return self._volume(self._rows(points[:, 0], points[:, 1])) / self.whole

    @staticmethod
    def _rows(accuracy: np.ndarray, size_bytes: np.ndarray) -> np.ndarray:
        return np.stack([-accuracy, np.log2(size_bytes)], axis=1).astype(np.float64)

    def _volume(self, rows: np.ndarray) -> float:
        import moocore

        accuracy, size_bytes = self._reference
        return float(moocore.hypervolume(rows, ref=np.array([-accuracy, np.log2(size_bytes)])))


def replay(table: Table, problem: SearchProblem, *, until: float = math.inf) -> Course:
    """Search a table as the command would, at most until a share of the volume is covered, and return the course."""
    watch = _Watch(table)
    ledger = MemoryLedger()
    untouched = untouched_policy(problem.space.layers)
    trial = ledger.open_trial(candidate=problem.candidate(untouched), rung=Rung.FULL, origin="baseline", parameters={})
    baseline = Measurement(values=table.about["values"])
    ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=baseline, ended=time.time()))
    clock = VirtualClock()
    full = problem.budget.trials or 0
    run_search(
        replace(problem, budget=Budget(trials=10**9)),
        watch.inner,
        ledger,
        notify=watch.hear,
        stop_requested=lambda: watch.course.is_over(full, until),
        clock=clock,
    )
    return watch.course


def problem_of(table: Table, **settings: object) -> SearchProblem:
    """Return the search problem of a table: accuracy against size."""
    description = table.description
    metric = next(iter(description.objectives.values()))
    return SearchProblem(
        description=description,
        space=table.space,
        objectives=(metric, FILE_OBJECTIVES["size_bytes"]),
        recipe=table.recipe,
        **settings,  # type: ignore[arg-type]  # passed through
    )
