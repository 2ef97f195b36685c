"""Search problems on the analytic evaluator, and ways to run them."""

from collections.abc import Callable, Sequence
from typing import Any

from paretune.search.driver import run_search
from paretune.search.events import SearchEvent, SearchOutcome
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget, Trial
from tests.fakes import ACCURACY, LATENCY, SIZE, USUAL_CHOICES, AnalyticEvaluator, with_baseline

SMALL_CHOICES: dict[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.5),
    "clusters": (None, 16),
    "quantization": (Quantization.FLOAT32, Quantization.INT8_QAT),
}


def a_problem(
    evaluator: AnalyticEvaluator | None = None,
    *,
    choices: dict[str, tuple[Any, ...]] | None = None,
    pinned: dict[str, dict[str, Any]] | None = None,
    sampler: str = "tpe",
    arguments: dict[str, Any] | None = None,
    constraints: Sequence[Constraint] = (),
    **settings: Any,
) -> SearchProblem:
    """Return a problem about the analytic evaluator's model; by default of 4 layers and 8 trials."""
    description = (evaluator or AnalyticEvaluator()).describe()
    return SearchProblem(
        description=description,
        space=build_space(
            description.layers, SpaceSettings(choices={**USUAL_CHOICES, **(choices or {})}, pinned=pinned or {})
        ),
        objectives=settings.pop("objectives", (ACCURACY, SIZE, LATENCY)),
        constraints=tuple(constraints),
        budget=settings.pop("budget", Budget(trials=8)),
        sampler=SamplerSettings(name=sampler, arguments=arguments or {}),
        **settings,
    )


def at_most(kilobytes: float, objective: str = "size_bytes") -> Constraint:
    """Return an upper bound on a size."""
    return Constraint(objective=objective, bound=Bound.MAX, value=kilobytes * 1e3)


def at_least(accuracy: float) -> Constraint:
    """Return a lower bound on the accuracy."""
    return Constraint(objective="accuracy", bound=Bound.MIN, value=accuracy)


def search(
    problem: SearchProblem,
    ledger: MemoryLedger | None = None,
    service: Any = None,
    evaluator: AnalyticEvaluator | None = None,
    **options: Any,
) -> tuple[SearchOutcome, MemoryLedger, list[SearchEvent]]:
    """Run a search in virtual time; return its outcome, its ledger and what it told."""
    evaluator = evaluator or AnalyticEvaluator()
    service = service or ImmediateService(evaluator)
    ledger = ledger if ledger is not None else with_baseline(evaluator)
    if isinstance(service, ImmediateService):
        options.setdefault("clock", service.clock)
    events: list[SearchEvent] = []
    outcome = run_search(problem, service, ledger, notify=events.append, **options)
    return outcome, ledger, events


def stop_after(calls: int) -> Callable[[], bool]:
    """Return a ``stop_requested`` that says yes from its n-th call on."""
    left = calls

    def stop_requested() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return stop_requested


def own(ledger: MemoryLedger) -> list[Trial]:
    """Return the trials of a ledger without its baseline."""
    return list(ledger.trials()[1:])
