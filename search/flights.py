"""Trials in flight: how each is started, and how it ends."""

import contextlib
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace

from paretune.search.refusal import ESTIMATED
from paretune.search.settings import SearchProblem
from paretune.search.spending import Account, Grant
from paretune.spaces.errors import LimitReached, MeasurementFailed, ParetuneError, RunError, TrialError
from paretune.spaces.results.evaluator import EvaluationService
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial, TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    trial: Trial
    future: Future[Measurement]
    grant: Grant
    estimated: Mapping[str, float]
    is_retry: bool


class Flights:
    """Evaluates running trials through a service, and closes each in the ledger.

    A trial that cannot be built, lost its worker or missed its own deadline fails, alone. One that could not be
    measured gets a second attempt. One that ran into a limit of the run, or was cancelled, is interrupted. What
    else an evaluation raises is a bug: the trial is interrupted, and the exception goes on up.

    Attributes:
        spent: The limit of the run that a trial ran into, for people; then no other trial should start.
    """

    def __init__(
        self,
        problem: SearchProblem,
        service: EvaluationService,
        ledger: Ledger,
        account: Account,
        on_end: Callable[[Trial], None],
        verdict: Callable[[Trial, Measurement], str],
    ) -> None:
        """Start with none.

        ``on_end`` hears of every trial once the ledger has it; ``verdict`` tells why one that was measured goes no
        further, and nothing where it does.
        """
        self._problem, self._service, self._ledger, self._account = problem, service, ledger, account
        self._on_end = on_end
        self._verdict = verdict
        self._flights: dict[int, _Flight] = {}
        self.spent = ""

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def has_free_worker(self) -> bool:
        """Whether a worker has nothing to do."""
        return len(self) < self._service.workers

    @property
    def are_free(self) -> bool:
        """Whether some are in flight, and none of them counts against the budget's trials."""
        return bool(self._flights) and all(flight.grant.is_free for flight in self._flights.values())

    def affords(self, *, is_free: bool) -> bool:
        """Return whether the budget has something for one more trial beside those in flight."""
        return self._grant(is_free=is_free) is not None

    def launch(self, trial: Trial, estimated: Mapping[str, float]) -> None:
        """Evaluate a running trial; ``estimated`` are its sizes before training, where they are known."""
        self._submit(trial, estimated, is_retry=False)

    def collect(self, timeout_seconds: float) -> None:
        """Wait until a trial ends, no longer than ``timeout_seconds``, and record those that ended.

        Raises:
            RunError: If the ledger cannot write.
            Exception: What escaped an evaluation, if it is a bug.
        """
        futures = [flight.future for flight in self._flights.values()]
        done = wait(futures, timeout=timeout_seconds, return_when=FIRST_COMPLETED).done
        for number in sorted(self._flights):
            if self._flights[number].future in done:
                self._finish(self._flights.pop(number))

    def abandon(self, reason: str) -> None:
        """Cancel what is in flight and record it as interrupted; what has just finished is kept.

        Raises:
            RunError: If the ledger could not write about one of them; the others have been seen to all the same.
        """
        flights, self._flights = self._flights, {}
        for flight in flights.values():
            flight.future.cancel()
        broken: RunError | None = None
        for flight in flights.values():
            try:
                if _succeeded(flight.future):
                    self._complete(flight, flight.future.result())
                else:
                    self._close(flight.trial, TrialState.INTERRUPTED, reason)
            except RunError as error:
                broken = broken or error
        if broken is not None:
            raise broken

    def _grant(self, *, is_free: bool) -> Grant | None:
        return self._account.grant([flight.grant for flight in self._flights.values()], is_free=is_free)

    def _submit(self, trial: Trial, estimated: Mapping[str, float], *, is_retry: bool) -> None:
        grant = self._grant(is_free=self._account.is_free(trial.candidate))
        if grant is None:
            self._close(trial, TrialState.INTERRUPTED, "nothing was left of the budget for a second attempt")
            return
        # In the books before it is submitted: whatever happens there, the trial will be closed.
        flight = _Flight(trial=trial, future=Future(), grant=grant, estimated=estimated, is_retry=is_retry)
        self._flights[trial.number] = flight
        future = self._service.submit(trial.candidate, trial.rung, grant.limit)
        self._flights[trial.number] = replace(flight, future=future)

    def _finish(self, flight: _Flight) -> None:
        trial = flight.trial
        try:
            measurement = flight.future.result()
        except CancelledError:
            self._close(trial, TrialState.INTERRUPTED, "the evaluation was cancelled")
        except LimitReached:
            self._finish_at_limit(flight)
        except MeasurementFailed as error:
            if flight.is_retry:
                self._close(trial, TrialState.FAILED, f"measuring failed twice: {one_line(error)}")
            else:
                self._submit(trial, flight.estimated, is_retry=True)
        except TrialError as error:
            self._close(trial, TrialState.FAILED, one_line(error))
        except ParetuneError as error:
            self._close(trial, TrialState.INTERRUPTED, one_line(error))
            raise
        except Exception as error:
            self._close(trial, TrialState.INTERRUPTED, f"a bug: {type(error).__name__}: {one_line(error)}")
            raise
        else:
            self._complete(flight, measurement)

    def _finish_at_limit(self, flight: _Flight) -> None:
        spent = self._account.limit_reached(flight.grant)
        if spent:
            self.spent = spent
            self._close(flight.trial, TrialState.INTERRUPTED, self._account.ran_out(spent))
        else:
            deadline = flight.grant.limit.seconds
            within = "" if deadline is None else f" of {deadline:g} seconds"
            self._close(flight.trial, TrialState.FAILED, f"not done within the deadline of a trial{within}")

    def _complete(self, flight: _Flight, measurement: Measurement) -> None:
        missing = [name for name in self._problem.needed_values if name not in measurement.values]
        if missing:
            reason = f"the evaluator did not measure {', '.join(missing)}"
            self._close(flight.trial, TrialState.INTERRUPTED, f"a bug: {reason}")
            raise RuntimeError(f"{reason} (trial {flight.trial.number})")
        if flight.estimated:
            details = {**measurement.details, ESTIMATED: dict(flight.estimated)}
            measurement = replace(measurement, details=details)
        try:
            self._close(flight.trial, TrialState.COMPLETE, self._verdict(flight.trial, measurement), measurement)
        except RunError as error:
            # Its files could not be written; perhaps a row without any still can.
            with contextlib.suppress(RunError):
                self._close(flight.trial, TrialState.INTERRUPTED, one_line(error))
            raise

    def _close(self, trial: Trial, state: TrialState, reason: str, measurement: Measurement | None = None) -> None:
        ended = replace(trial, state=state, reason=reason, measurement=measurement, ended=time.time())
        closed = self._ledger.close_trial(ended)
        self._account.record(closed)
        self._on_end(closed)


def one_line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _succeeded(future: Future[Measurement]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
