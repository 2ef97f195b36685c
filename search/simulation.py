"""Searching in virtual time: a service that evaluates at once, a ledger that nobody has to wait for.

The whole search runs on these in milliseconds, against an evaluator that looks its answers up or computes them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import Variant
from paretune.spaces.errors import LimitReached, RunError
from paretune.spaces.results.evaluator import Evaluator, ModelDescription
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.resampling import Resampled
from paretune.spaces.results.trial import Trial, TrialState


@dataclass
class VirtualClock:
    """A clock that only moves when told to."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


@dataclass
class ImmediateService:
    """Evaluates within ``submit``, in virtual time; what it was asked for is kept in ``submitted``.

    Attributes:
        evaluator: Does the work.
        clock: Moves on by ``seconds_per_trial`` for every trial, and not at all for a proxy.
        seconds_per_trial: Virtual duration of a trial.
        before: Called with each candidate before it is evaluated, to script failures: what it raises, the future
            carries.
    """

    evaluator: Evaluator
    clock: VirtualClock = field(default_factory=VirtualClock)
    seconds_per_trial: float = 0.0
    before: Callable[[Candidate, Rung], None] = lambda candidate, rung: None
    workers: int = 1
    submitted: list[tuple[Candidate, Rung, Limit]] = field(default_factory=list)

    def submit_description(self, hyperparameters: Mapping[str, Any], limit: Limit) -> Future[ModelDescription]:
        """Build a base model, and return a future that is done."""
        future: Future[ModelDescription] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(self.evaluator.describe(hyperparameters))
        except Exception as error:
            future.set_exception(error)
        return future

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        """Evaluate, and return a future that is done."""
        self.submitted.append((candidate, rung, limit))
        future: Future[Measurement] = Future()
        future.set_running_or_notify_cancel()
        try:
            self.before(candidate, rung)
            self._spend(rung, limit)
            future.set_result(self.evaluator.evaluate(candidate, rung, limit))
        except Exception as error:
            future.set_exception(error)
        return future

    @property
    def trained(self) -> list[Candidate]:
        """Every candidate that was evaluated beyond a proxy, in order."""
        return [candidate for candidate, rung, _ in self.submitted if rung is not Rung.PROXY]

    def _spend(self, rung: Rung, limit: Limit) -> None:
        seconds = 0.0 if rung is Rung.PROXY else self.seconds_per_trial
        if limit.seconds is not None and seconds > limit.seconds:
            self.clock.advance(limit.seconds)
            raise LimitReached(f"took longer than {limit.seconds:g} s")
        self.clock.advance(seconds)


class MemoryLedger:
    """A ledger in memory.

    Attributes:
        disk_is_full: Whether :meth:`close_trial` of a trial with artifacts raises ``RunError``.
    """

    def __init__(
        self,
        trials: Sequence[Trial] = (),
        seconds: float = 0.0,
        proxies: Sequence[Proxy] = (),
        variants: Sequence[Variant] = (),
        resamples: Mapping[int, Resampled] | None = None,
    ) -> None:
        self._trials = list(trials)
        self._seconds = seconds
        self._proxies: list[Proxy] = list(proxies)
        self._variants = list(variants)
        self._resamples = dict(resamples or {})
        self.disk_is_full = False

    def reopened(self) -> "MemoryLedger":
        """Return the same run as a new process finds it."""
        return MemoryLedger(
            [
                replace(trial, state=TrialState.INTERRUPTED) if trial.state is TrialState.RUNNING else trial
                for trial in self._trials
            ],
            self._seconds,
            self._proxies,
            self._variants,
            self._resamples,
        )

    def trials(self) -> Sequence[Trial]:
        """Return all trials by number."""
        return tuple(self._trials)

    def open_trial(self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int]) -> Trial:
        """Add a running trial."""
        return self._add(candidate, rung, origin, parameters, state=TrialState.RUNNING, started=time.time())

    def reopen_trial(self, number: int) -> Trial:
        """Make an interrupted trial running again."""
        if self._trials[number].state is not TrialState.INTERRUPTED:
            raise ValueError(f"trial {number} is {self._trials[number].state}, not interrupted")
        return self._put(
            replace(self._trials[number], state=TrialState.RUNNING, reason="", started=time.time(), ended=0.0)
        )

    def close_trial(self, trial: Trial) -> Trial:
        """Record how a trial ended; artifacts are forgotten."""
        if self._trials[trial.number].state is not TrialState.RUNNING:
            raise ValueError(f"trial {trial.number} is {self._trials[trial.number].state}, not running")
        if trial.measurement is None:
            return self._put(trial)
        if self.disk_is_full and trial.measurement.artifacts:
            raise RunError("The run folder cannot be written: no space left on device.")
        return self._put(replace(trial, measurement=replace(trial.measurement, artifacts={})))

    def refuse(
        self, *, candidate: Candidate, rung: Rung, origin: str, parameters: Mapping[str, int], reason: str
    ) -> Trial:
        """Add a refused trial."""
        return self._add(candidate, rung, origin, parameters, state=TrialState.REFUSED, reason=reason)

    def record_test(self, number: int, values: Mapping[str, float], resampled: Resampled | None = None) -> None:
        """Add values of the test split, and the metric on resamples of it."""
        self._put(replace(self._trials[number], test_values={**self._trials[number].test_values, **values}))
        if resampled is not None:
            self._resamples[number] = resampled

    def resamples(self) -> Mapping[int, Resampled]:
        """Return what was recorded."""
        return dict(self._resamples)

    def proxies(self) -> Sequence[Proxy]:
        """Return what was kept."""
        return tuple(self._proxies)

    def keep_proxy(self, proxy: Proxy) -> None:
        """Keep a proxy."""
        self._proxies.append(proxy)

    def variants(self) -> Sequence[Variant]:
        """Return what was kept."""
        return tuple(self._variants)

    def keep_variant(self, variant: Variant) -> None:
        """Keep a variant."""
        self._variants.append(variant)

    def seconds_searched(self) -> float:
        """Return the seconds added so far."""
        return self._seconds

    def add_seconds_searched(self, seconds: float) -> None:
        """Add seconds."""
        self._seconds += seconds

    def _add(
        self,
        candidate: Candidate,
        rung: Rung,
        origin: str,
        parameters: Mapping[str, int],
        *,
        state: TrialState,
        reason: str = "",
        started: float = 0.0,
    ) -> Trial:
        trial = Trial(
            number=len(self._trials),
            candidate=candidate,
            rung=rung,
            state=state,
            origin=origin,
            parameters=dict(parameters),
            reason=reason,
            started=started,
        )
        self._trials.append(trial)
        return trial

    def _put(self, trial: Trial) -> Trial:
        self._trials[trial.number] = trial
        return trial
