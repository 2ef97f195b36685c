"""What a search shows while it runs: a live line on a terminal or in a notebook, a line per trial elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from paretune.experiments.terminal.notebook_line import NotebookLine
from paretune.experiments.terminal.wording import hyperparameters_text, seconds_text, values_text
from paretune.search.events import Building, Profiling, SearchEvent, Ticked, TrialEnded, TrialRefused, TrialStarted
from paretune.search.front import Front, values_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Budget, Trial, TrialState


class SearchProgress:
    """Follows a search; use it as a context manager, and :meth:`hear` as the search's ``notify``.

    Args:
        budget: Totals for the run, over all its resumptions.
        front: The front so far.
        console: Where to write; stderr by default.
    """

    def __init__(self, budget: Budget, front: Front, *, console: Console | None = None) -> None:
        self._budget = budget
        self._front = front
        self._console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._live: Live | NotebookLine | None = None
        self._running: dict[int, float] = {}
        self._first_tick: Ticked | None = None
        self._last_tick: Ticked | None = None
        self._said_fallback = False
        self._profiling: Profiling | None = None
        self._began_profiling = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            # Live redirects stdout by default, where only results belong
            self._live = Live(self, console=self._console, refresh_per_second=1, transient=True, redirect_stdout=False)
            self._live.start()
        elif self._console.is_jupyter and not self._console.quiet:
            self._live = NotebookLine(self.live_line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich__(self) -> Text:
        """Return the live line, cut to the terminal's width."""
        return Text(self.live_line(), no_wrap=True, overflow="ellipsis")

    @property
    def front(self) -> Front:
        """The front as last heard of."""
        return self._front

    def hear(self, event: SearchEvent) -> None:
        """Take note of an event, and print what is worth a line."""
        if isinstance(event, Ticked):
            self._first_tick = self._first_tick or event
            self._last_tick = event
        elif isinstance(event, Building):
            failed = f" failed: {event.failure}" if event.failure else ""
            self.say(f"variant  {hyperparameters_text(event.values)}{failed}")
        elif isinstance(event, Profiling):
            self._follow_profile(event)
        elif isinstance(event, TrialStarted):
            self._running[event.trial.number] = time.monotonic()
        elif isinstance(event, TrialRefused):
            self.say(self.trial_line(event.trial))
        elif isinstance(event, TrialEnded):
            self._running.pop(event.trial.number, None)
            self._front = event.front
            self._say_fallback(event.trial)
            # On a terminal, what went well shows in the live line.
            if self._live is None or event.trial.state is not TrialState.COMPLETE:
                self.say(self.trial_line(event.trial))
        if isinstance(self._live, NotebookLine):
            self._live.refresh()

    def _follow_profile(self, event: Profiling) -> None:
        """Show the profile in the live line, or say when it begins and ends."""
        if self._profiling is None:
            self._began_profiling = time.monotonic()
            if self._live is None:
                self.say(f"profile  measuring {event.total} policies untrained, each decision of each layer alone")
        self._profiling = event if event.done < event.total else None
        if self._profiling is None and self._live is None:
            took = seconds_text(time.monotonic() - self._began_profiling)
            self.say(f"profile  complete, {event.total} policies  ({took})")

    def _say_fallback(self, trial: Trial) -> None:
        """Say once that trials take longer than they should, and why."""
        reason = trial.measurement.details.get("fallback") if trial.measurement is not None else None
        if reason and not self._said_fallback:
            self._said_fallback = True
            self.say(f"Trials are trained with tfmot's own flow, which is slower: {reason}.")

    def say(self, line: str) -> None:
        """Print one line, above the live one."""
        self._console.print(line, markup=False)

    def trial_line(self, trial: Trial) -> str:
        """Return one ended trial, such as ``trial 7  accuracy 0.981  size 21.0 kB  front 5  (38 s)``.

        A short one says so, and why it was stopped if it was.
        """
        name = "baseline" if trial.origin == "baseline" else f"trial {trial.number}"
        name += "  uncompressed" if trial.origin == "base" else ""
        took = f"  ({seconds_text(trial.ended - trial.started)})" if trial.started and trial.ended else ""
        measurement = trial.measurement
        if trial.state is not TrialState.COMPLETE or measurement is None:
            return f"{name}  {trial.state}: {' '.join(trial.reason.split())}{took}"
        shown = [*(item.name for item in self._front.objectives), "size_bytes", "latency_ratio"]
        values = values_text(measurement.values, list(dict.fromkeys(shown)))
        fault = "" if measurement.fidelity.is_clean else f"  not as asked: {measurement.fidelity.faults[0]}"
        if trial.rung is Rung.SHORT:
            goes_on = trial.reason or "goes on to be trained in full"
            return f"{name}  short  {values}{fault}  {goes_on}{took}"
        return f"{name}  {values}  front {len(self._front.points)}{fault}{took}"

    def live_line(self) -> str:
        """Return where the search stands: trials, best values on the front, its size, time left."""
        trained = self._last_tick.trained if self._last_tick is not None else 0
        parts = [f"trained {trained}" + (f"/{self._budget.trials}" if self._budget.trials is not None else "")]
        if self._profiling is not None:
            parts.append(f"profile {self._profiling.done}/{self._profiling.total}")
        if self._running:
            longest = max(time.monotonic() - began for began in self._running.values())
            parts.append(f"trial {', '.join(map(str, sorted(self._running)))} for {seconds_text(longest)}")
        if self._front.points:
            best = {item.name: _best(item, self._front.trials) for item in self._front.objectives}
            parts.append(f"best {values_text(best, list(best))}")
        parts.append(f"front {len(self._front.points)}")
        left = self.seconds_left()
        parts.append("time left unknown" if left is None else f"{seconds_text(left)} left")
        return "  |  ".join(parts)

    def seconds_left(self) -> float | None:
        """Return an estimate of the seconds until the budget is spent; ``None`` while nothing tells."""
        first, last = self._first_tick, self._last_tick
        if first is None or last is None:
            return None
        estimates = []
        if self._budget.minutes is not None:
            estimates.append(max(0.0, self._budget.minutes * 60 - last.seconds))
        for total, before, now in (
            (self._budget.trials, first.trained, last.trained),
            (self._budget.training_steps, first.training_steps, last.training_steps),
        ):
            if total is not None and now > before:
                estimates.append(max(0, total - now) * (last.seconds - first.seconds) / (now - before))
        return min(estimates, default=None)


def _best(objective: Objective, trials: Sequence[Trial]) -> float:
    return min((values_of(trial)[objective.name] for trial in trials), key=objective.cost)
