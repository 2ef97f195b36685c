"""The search itself: what to try next, and when to stop."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paretune.search.events import (
    Building,
    Profiling,
    SearchEvent,
    SearchOutcome,
    Ticked,
    TrialEnded,
    TrialRefused,
    TrialStarted,
)
from paretune.search.flights import Flights
from paretune.search.front import find_front, hypervolume, hypervolume_history, reference_point, values_of
from paretune.search.proposals.families import LEAF
from paretune.search.proposals.references import Proposal
from paretune.search.proxies import HANDFUL, SECONDS_BETWEEN_LOOKS
from paretune.search.refusal import SizeGate, size_bounds
from paretune.search.satisfiable import check_satisfiable
from paretune.search.settings import SearchProblem
from paretune.search.spending import SECONDS_BETWEEN_WRITES, Account
from paretune.search.variants.lanes import BASE, Lane, Lanes
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import RunError
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.evaluator import EvaluationService
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial, TrialState, stem_trained_by

#: Trials that may fail in a row before something must be wrong; and policies in a row that may be refused, or be
#: stopped after a short training, before nothing worth a full training can be left.
MOST_FAILURES_IN_A_ROW = 20
MOST_HOPELESS_IN_A_ROW = 200


def run_search(
    problem: SearchProblem,
    service: EvaluationService,
    ledger: Ledger,
    *,
    notify: Callable[[SearchEvent], None] = lambda event: None,
    stop_requested: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> SearchOutcome:
    """Search until the budget is spent, the space is exhausted, or it is told to stop.

    Trials that were interrupted come first, then the leaves of finished ones, which need no training, then the
    reference policies, then what the sampler proposes; no policy is evaluated twice. A ledger of a finished run returns
    at once, one whose budget was raised goes on. However it ends, every finished trial is in the ledger, and what was
    in flight is there as ``interrupted``.

    Args:
        problem: What to search.
        service: Evaluates candidates.
        ledger: Of this run; its trial 0 is the baseline, complete.
        notify: Hears of everything, after the ledger; must be quick.
        stop_requested: Looked at about once a second.
        clock: Seconds, of any origin, that never go back.

    Raises:
        ConfigurationError: If the sampler's settings do not fit the problem.
        Unsatisfiable: If no policy can meet the constraints.
        RunError: If the ledger cannot write, or trial after trial fails.
        Exception: Whatever else escapes an evaluator; it is a bug.
    """
    search = _Search(problem, service, ledger, notify, stop_requested, clock)
    try:
        return search.run()
    except BaseException:
        # The reason is on its way up already, and the ledger may be what is broken.
        with contextlib.suppress(RunError):
            search.flights.abandon("the search stopped with an error")
        raise
    finally:
        search.close()
        with contextlib.suppress(RunError):
            search.account.write()


class _Search:
    """One call of :func:`run_search`."""

    def __init__(
        self,
        problem: SearchProblem,
        service: EvaluationService,
        ledger: Ledger,
        notify: Callable[[SearchEvent], None],
        stop_requested: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._trials = tuple(ledger.trials())
        if not self._trials or self._trials[0].state is not TrialState.COMPLETE:
            raise RunError("The baseline must be measured before a search; the ledger has no complete trial 0.")
        self._problem, self._service, self._ledger = problem, service, ledger
        self._notify, self._stop_requested = notify, stop_requested
        self._baseline = values_of(self._trials[0])
        self._reference = reference_point(self._baseline, problem.objectives)
        self._front = find_front(
            self._trials, problem.objectives, problem.constraints, self._baseline, problem.known_objectives
        )
        self._lanes = Lanes(problem, service, ledger, self._trials, self._must_look, self._on_build)
        self._gate = SizeGate(size_bounds(problem, self._baseline), self._trials)
        self._interrupted = deque(trial for trial in self._trials if trial.state is TrialState.INTERRUPTED)
        self._references = deque(self._lanes.main.proposer.references)
        self._leaves: deque[Proposal] = deque()
        for trial in self._trials:
            self._expect_leaves(trial)
        self._promoted = deque(_promoted_before(self._trials))
        self._volumes = _volumes_so_far(problem, self._trials, self._baseline)
        self._ending = ""
        self._failures_in_a_row = 0
        self._hopeless_in_a_row = 0
        self.account = Account(problem, ledger, clock, service.workers)
        self.flights = Flights(problem, service, ledger, self.account, self._on_end, self._verdict)

    def run(self) -> SearchOutcome:
        finished = self.account.exhausted() or self.account.exhausted_before(self._trials)
        if finished:
            return SearchOutcome(reason=finished)
        self._consider_stopping()
        main = self._lanes.main
        check_satisfiable(self._problem, self._trials, self._baseline, lambda policy: self._estimate(main, policy))
        while True:
            if self._stop_requested():
                self.flights.abandon("the search was told to stop")
                return SearchOutcome(reason="interrupted", interrupted=True)
            spent = self._spent()
            if spent:
                self.flights.abandon(self.account.ran_out(spent))
                return SearchOutcome(reason=spent)
            self._start_trials()
            ending = self.flights.spent or self._ending
            if ending and not len(self.flights):
                return SearchOutcome(reason=ending)
            self.flights.collect(SECONDS_BETWEEN_LOOKS)
            self._tick()

    def close(self) -> None:
        """Let go of the samplers."""
        self._lanes.close()

    def _must_look(self) -> bool:
        """Whether :meth:`run` has to look at why no other trial should start."""
        return bool(self._ending or self.flights.spent or self._stop_requested() or self._spent())

    def _spent(self) -> str:
        """Return what has run out; leaves cost none of the budget's trials, and may still come when it has no more."""
        return self.account.exhausted(for_free=bool(self._leaves) or self.flights.are_free)

    def _start_trials(self) -> None:
        """Keep every worker busy, as far as the budget and the space go."""
        while not self._must_look() and self.flights.has_free_worker:
            if self._interrupted and self.flights.affords(is_free=False):
                self._reopen(self._interrupted.popleft())
            elif self._leaves and self.flights.affords(is_free=True):
                # as long as it is in line, the budget of trials does not end the run
                self._try(self._lanes.main, self._leaves[0], LEAF)
                self._leaves.popleft()
            elif not self._interrupted and not self._leaves and self.flights.affords(is_free=False):
                if self._promoted:
                    self._promote(self._promoted.popleft())
                elif not self._try_next():
                    return
            else:
                return

    def _try_next(self) -> bool:
        """Start what is worth it most; return whether it is worth asking again at once."""
        reference = self._next_reference()
        if reference is not None:
            self._try(self._lanes.main, reference, "reference")
            return True
        base = self._lanes.grow(trained=self.account.trained)
        if base is not None and not self._must_look():
            self._launch(self._ledger.open_trial(candidate=base, rung=Rung.FULL, origin=BASE, parameters={}), {})
        if base is not None or self._must_look():
            return True
        for lane in self._lanes.in_order(self._on_proxy):
            proposal = self._next_proposal(lane)
            if proposal is not None:
                self._try(lane, proposal, proposal.origin or self._problem.sampler.name)
                return True
            if self._must_look():
                return True
        if self._must_look() or self._lanes.hurry():
            return True
        if not self._lanes.are_waiting:
            self._ending = "every policy of the space has been tried"
        return False

    def _expect_leaves(self, trial: Trial) -> None:
        """Line up what needs no training after a trial; only samplers that know of one variant ask for it."""
        proposer = self._lanes.main.proposer
        if self._problem.leaves and self._lanes.main.owns(trial.candidate):
            known = {leaf.policy.digest for leaf in self._leaves}
            for leaf in proposer.leaves(trial):
                if not proposer.knows(leaf.policy.digest) and leaf.policy.digest not in known:
                    self._leaves.append(leaf)

    def _next_reference(self) -> Proposal | None:
        while self._references:
            reference = self._references.popleft()
            if not self._lanes.main.proposer.knows(reference.policy.digest):
                return reference
        return None

    def _next_proposal(self, lane: Lane) -> Proposal | None:
        while wanted := lane.proposer.wanted():
            if not lane.proxies.measure(wanted, on_progress=self._on_proxy):
                return None
        return lane.proposer.ask()

    def _on_build(self, values: Mapping[str, Any], failure: str) -> None:
        self._notify(Building(values=values, failure=failure))

    def _on_proxy(self, done: int, total: int) -> None:
        """Tell how a profile goes; a handful of proxies is not worth a word."""
        if total > HANDFUL:
            self._notify(Profiling(done=done, total=total))

    def _reopen(self, trial: Trial) -> None:
        # Once more, so that the margin is learnt from the same trials as in a run that was not interrupted.
        estimated = self._estimate_of(trial.candidate)
        if self._must_look():
            return
        self._launch(self._ledger.reopen_trial(trial.number), estimated)

    def _try(self, lane: Lane, proposal: Proposal, origin: str) -> None:
        """Start a trial of a proposal, unless its file is known to become too large."""
        estimated = self._estimate(lane, proposal.policy)
        if self._must_look():
            return
        candidate = lane.problem.candidate(proposal.policy)
        objection = self._gate.objection(estimated) if estimated else ""
        rung: Rung | None = Rung.FULL
        if not objection and not self.account.is_free(candidate) and lane.ladder.asks_proxies:
            proxy = lane.proxies.get(proposal.policy)
            rung, objection = lane.ladder.rung_of(proposal.policy, proxy, self._front.trials)
            if self._must_look():
                return
        if rung is not None and not objection:
            trial = self._ledger.open_trial(candidate=candidate, rung=rung, origin=origin, parameters=proposal.choice)
            self._launch(trial, estimated)
            return
        trial = self._ledger.refuse(
            candidate=candidate, rung=Rung.FULL, origin=origin, parameters=proposal.choice, reason=objection
        )
        self._lanes.tell(trial)
        self._notify(TrialRefused(trial=trial))
        self._count_hopeless(objection)

    def _count_hopeless(self, reason: str) -> None:
        """Count one more policy that is not trained in full, and end the search if there were too many in a row."""
        self._hopeless_in_a_row += 1
        if self._hopeless_in_a_row >= MOST_HOPELESS_IN_A_ROW:
            count = self._hopeless_in_a_row
            self._ending = f"{count} policies in a row were not worth a full training, the last: {reason}"

    def _promote(self, short: Trial) -> None:
        """Train in full what has been trained a little."""
        trial = self._ledger.open_trial(
            candidate=short.candidate, rung=Rung.FULL, origin=short.origin, parameters=short.parameters
        )
        self._launch(trial, self._estimate_of(short.candidate))

    def _verdict(self, trial: Trial, measurement: Measurement) -> str:
        if trial.rung is not Rung.SHORT:
            return ""
        return self._lanes.of(trial.candidate).ladder.verdict(trial, measurement, self._front.trials)

    def _launch(self, trial: Trial, estimated: Mapping[str, float] | None) -> None:
        self._lanes.tell(trial)
        self._notify(TrialStarted(trial=trial))
        self.flights.launch(trial, estimated or {})

    def _estimate_of(self, candidate: Candidate) -> Mapping[str, float] | None:
        """Return the sizes of a candidate before training, as :meth:`_estimate`; a base model has no others."""
        return None if candidate.is_base_model else self._estimate(self._lanes.of(candidate), candidate.policy)

    def _estimate(self, lane: Lane, policy: Policy) -> Mapping[str, float] | None:
        """Return the sizes of a policy before training; ``None`` where none are needed or none can be had."""
        if self._gate.is_open:
            return None
        proxy = lane.proxies.get(policy)
        if proxy is None:
            return None  # the trial itself will tell why
        return {bound.objective: proxy.values[bound.objective] for bound in self._gate.bounds}

    def _on_end(self, trial: Trial) -> None:
        self._lanes.tell(trial)
        self._gate.learn(trial)
        self._expect_leaves(trial)
        if trial.rung is Rung.SHORT and trial.state is TrialState.COMPLETE and not trial.reason:
            self._promoted.append(trial)
        elif trial.was_stopped:
            self._count_hopeless(trial.reason)
        elif trial.state is TrialState.COMPLETE:
            self._hopeless_in_a_row = 0
        problem = self._problem
        # The front of all trials is that of the front so far and the new one.
        so_far = (self._trials[0], *self._front.trials, trial)
        self._front = find_front(
            so_far, problem.objectives, problem.constraints, self._baseline, problem.known_objectives
        )
        points = [values_of(point) for point in self._front.trials]
        volume = hypervolume(points, self._reference, problem.objectives)
        self._notify(TrialEnded(trial=trial, front=self._front, hypervolume=volume))
        if self.account.trained > len(self._volumes):
            self._volumes.append(volume)
        self._consider_stopping()
        if trial.state is TrialState.COMPLETE:
            self._failures_in_a_row = 0
        elif trial.state is TrialState.FAILED:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
                raise RunError(
                    f"{self._failures_in_a_row} trials in a row failed, the last: {trial.reason} "
                    "Mend that and run the same command again."
                )

    def _consider_stopping(self) -> None:
        rules = self._problem.stop
        reached = rules.reached(self._front, self._baseline, self._problem.known_objectives)
        self._ending = self._ending or reached or rules.flat(self._volumes)

    def _tick(self) -> None:
        account = self.account
        account.write(at_least=SECONDS_BETWEEN_WRITES)
        self._notify(
            Ticked(
                seconds=account.seconds,
                trained=account.trained,
                training_steps=account.training_steps,
                in_flight=len(self.flights),
            )
        )


def _promoted_before(trials: Sequence[Trial]) -> list[Trial]:
    """Return the short trials that were to be trained in full when the search ended before it."""
    full = {trial.candidate.policy.digest for trial in trials if trial.rung is Rung.FULL}
    return [
        trial
        for trial in trials
        if trial.rung is Rung.SHORT
        and trial.state is TrialState.COMPLETE
        and not trial.reason
        and trial.candidate.policy.digest not in full
    ]


def _volumes_so_far(problem: SearchProblem, trials: Sequence[Trial], baseline: Mapping[str, float]) -> list[float]:
    """Return the hypervolume after each trial that counts against the budget."""
    history = dict(
        hypervolume_history(trials, problem.objectives, problem.constraints, baseline, known=problem.known_objectives)
    )
    stems: set[str] = set()
    volumes = []
    for trial in trials:
        stem = stem_trained_by(trial)
        if stem and stem not in stems:
            stems.add(stem)
            volumes.append(history[trial.number])
    return volumes
