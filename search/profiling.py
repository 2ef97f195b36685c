"""The profile of a model on its own: what a search with the funnel measures first."""

from collections.abc import Callable

from paretune.search.additive.amounts import amount_names
from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import ProfilePlan
from paretune.search.events import Profiling
from paretune.search.proxies import ProxyBook
from paretune.search.settings import SearchProblem
from paretune.spaces.results.evaluator import EvaluationService
from paretune.spaces.results.ledger import Ledger


def measure_profile(
    problem: SearchProblem,
    service: EvaluationService,
    ledger: Ledger,
    *,
    notify: Callable[[Profiling], None] = lambda event: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> bool:
    """Measure every decision alone, untrained; what the ledger has already is not measured again.

    Args:
        problem: What would be searched. Policies are those of a search with the same seed.
        service: Evaluates them.
        ledger: Keeps each as soon as it is measured.
        notify: Told how far it is.
        stop_requested: Looked at about once a second.

    Returns:
        Whether everything has been tried; not so if it was told to stop.

    Raises:
        RunError: If the ledger cannot write.
    """
    metric = next(iter(problem.description.objectives))
    amounts = amount_names(problem.objectives, metric)
    plan = ProfilePlan(Encoding(problem.space), seed=problem.seed, amounts=amounts)
    book = ProxyBook(problem, service, ledger, stop_requested)
    return book.measure(plan.policies(), on_progress=lambda done, total: notify(Profiling(done=done, total=total)))
