"""What policies measure without training, each asked for once and kept with the run."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait

from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import TrialError
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.evaluator import EvaluationService
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.proxy import Proxy, proxy_of

#: Seconds between two looks at whether to stop.
SECONDS_BETWEEN_LOOKS = 1.0
#: Up to so many policies are kept together or not at all: whoever is to choose among them knows all of them or none,
#: and so chooses the same when a search is stopped in between and goes on.
HANDFUL = 12


class ProxyBook:
    """Measures policies at the rung ``proxy``, as many at a time as there are workers.

    Args:
        problem: What the policies are of.
        service: Evaluates them.
        ledger: Keeps them.
        must_stop: Looked at about once a second while something is measured.
    """

    def __init__(
        self, problem: SearchProblem, service: EvaluationService, ledger: Ledger, must_stop: Callable[[], bool]
    ) -> None:
        self._problem, self._service, self._ledger = problem, service, ledger
        self._must_stop = must_stop
        self._known = {
            proxy.policy.digest: proxy
            for proxy in ledger.proxies()
            if proxy.is_of(problem.description.architecture, problem.recipe)
        }
        self._failed: set[str] = set()

    @property
    def known(self) -> Mapping[str, Proxy]:
        """Everything measured so far, by digest of the policy."""
        return self._known

    def get(self, policy: Policy) -> Proxy | None:
        """Return what a policy measures; ``None`` if it cannot be measured, or there was no time to."""
        self.measure([policy])
        return self._known.get(policy.digest)

    def missing(self, policies: Iterable[Policy]) -> tuple[Policy, ...]:
        """Return those of ``policies`` that have not been tried yet, each once."""
        return tuple(
            {
                policy.digest: policy
                for policy in policies
                if policy.digest not in self._known and policy.digest not in self._failed
            }.values()
        )

    def measure(
        self, policies: Iterable[Policy], *, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> bool:
        """Measure what is not known yet.

        Args:
            policies: What to measure.
            on_progress: Told how many of how many are done.

        Returns:
            Whether all have been tried; not so when it was told to stop.

        Raises:
            RunError: If the ledger cannot write.
        """
        waiting = list(self.missing(policies))
        total, done = len(waiting), 0
        waiting.reverse()
        flying: dict[Future[Measurement], Policy] = {}
        ended: list[tuple[Policy, Future[Measurement]]] = []
        while waiting or flying:
            while waiting and len(flying) < self._service.workers:
                policy = waiting.pop()
                limit = Limit(seconds=self._problem.trial_seconds)
                flying[self._service.submit(self._problem.candidate(policy), Rung.PROXY, limit)] = policy
            finished = wait(flying, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED).done
            # In the order in which they were asked, so that a resumed run reads the same book.
            ended += [(flying.pop(future), future) for future in list(flying) if future in finished]
            is_done, must_stop = not flying and not waiting, self._must_stop()
            if total > HANDFUL or (is_done and not must_stop):
                for policy, future in ended:
                    self._keep(policy, future)
                    done += 1
                    on_progress(done, total)
                ended = []
            if must_stop:
                for future in flying:
                    future.cancel()
                return is_done and not ended
        return True

    def _keep(self, policy: Policy, future: Future[Measurement]) -> None:
        try:
            measurement = future.result()
        except (TrialError, CancelledError):
            self._failed.add(policy.digest)  # a trial of it will tell why
            return
        proxy = proxy_of(self._problem.description.architecture, self._problem.recipe, policy, measurement)
        self._ledger.keep_proxy(proxy)
        self._known[policy.digest] = proxy
