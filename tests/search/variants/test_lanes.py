"""Searching hyperparameters of the model, and of the recipe, together with policies."""

from dataclasses import replace
from typing import Any

import pytest

from paretune.search.driver import run_search
from paretune.search.events import Building, SearchEvent
from paretune.search.front import find_front, hypervolume, reference_point, values_of
from paretune.search.settings import FUNNEL, SamplerSettings, SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.search.variants.lanes import BASE
from paretune.spaces.candidates.hyperspace import default_values
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import recipe_hyperparameters
from paretune.spaces.errors import ConfigurationError, Unsatisfiable
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.trial import Budget, Trial, TrialState, count_trained
from tests.fakes import ACCURACY, SIZE, VariedEvaluator
from tests.search.problems import at_least, at_most, own, stop_after

SETTINGS = SpaceSettings(
    choices={
        "sparsity": (0.0, 0.5, 0.8),
        "clusters": (None, 16),
        "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT),
    },
    layers={"conv3": {"sparsity": (0.0, 0.9)}},  # only the widest models have it
)


def a_problem(evaluator: VariedEvaluator, *, trials: int = 40, **changes: Any) -> SearchProblem:
    description = evaluator.describe()
    problem = SearchProblem(
        description=description,
        space=build_space(description.layers, SETTINGS),
        objectives=(ACCURACY, SIZE),
        budget=Budget(trials=trials),
        sampler=SamplerSettings(name=FUNNEL),
        hyperspace=evaluator.HYPERSPACE,
        space_settings=SETTINGS,
    )
    problem = replace(problem, **changes)
    return replace(problem, values=default_values(problem.hyperspace))


def begun(problem: SearchProblem, evaluator: VariedEvaluator) -> MemoryLedger:
    ledger = MemoryLedger()
    untouched = problem.space.policy({each.name: 0 for each in problem.space.parameters})
    trial = ledger.open_trial(candidate=problem.candidate(untouched), rung=Rung.FULL, origin="baseline", parameters={})
    ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=evaluator.baseline()))
    return ledger


def searched(
    evaluator: VariedEvaluator, problem: SearchProblem | None = None, ledger: MemoryLedger | None = None, **options: Any
) -> tuple[MemoryLedger, list[SearchEvent]]:
    problem = problem or a_problem(evaluator)
    ledger = ledger or begun(problem, evaluator)
    events: list[SearchEvent] = []
    service = ImmediateService(evaluator)
    run_search(problem, service, ledger, notify=events.append, clock=service.clock, **options)
    return ledger, events


def volume(problem: SearchProblem, trials: list[Trial], baseline: Trial) -> float:
    front = find_front([baseline, *trials], problem.objectives, (), values_of(baseline))
    reference = reference_point(values_of(baseline), problem.objectives)
    return hypervolume([values_of(trial) for trial in front.trials], reference, problem.objectives)


def signature(trial: Trial) -> tuple[Any, ...]:
    return trial.candidate.digest, trial.candidate.hyperparameters, trial.origin, trial.rung


def test_other_models_are_built_measured_and_searched() -> None:
    evaluator = VariedEvaluator()
    ledger, _ = searched(evaluator, a_problem(evaluator, trials=48))
    bases = [trial for trial in own(ledger) if trial.origin == BASE]
    assert len(bases) == 5  # of 3 widths and 2 rates, the baseline's is there
    assert [dict(trial.candidate.hyperparameters) for trial in bases] == evaluator.built
    assert all(trial.was_trained and trial.candidate.policy.is_untouched for trial in bases)
    compressed = {
        tuple(trial.candidate.hyperparameters.values())
        for trial in own(ledger)
        if trial.origin != BASE and trial.state is TrialState.COMPLETE
    }
    assert len(compressed) > 1


def test_every_policy_is_of_its_own_models_layers() -> None:
    ledger, _ = searched(VariedEvaluator())
    for trial in own(ledger):
        layers = 4 if trial.candidate.hyperparameters["width"] == 4 else 3
        assert len(trial.candidate.policy) == layers


def test_it_beats_the_same_budget_spent_on_the_baselines_model() -> None:
    evaluator = VariedEvaluator()
    joined = a_problem(evaluator)
    ledger, _ = searched(evaluator, joined)
    alone = replace(joined, hyperspace=())
    fixed, _ = searched(evaluator, alone)
    assert volume(joined, own(ledger), ledger.trials()[0]) > volume(joined, own(fixed), ledger.trials()[0]) + 0.1
    assert count_trained(ledger.trials()) == count_trained(fixed.trials()) == 40


def test_poor_models_get_few_trials() -> None:
    ledger, _ = searched(VariedEvaluator())
    of_rate = dict.fromkeys(("high", "low"), 0)
    for trial in own(ledger):
        if trial.origin != BASE and trial.rung is Rung.FULL:
            of_rate[trial.candidate.hyperparameters["rate"]] += 1
    assert of_rate["low"] < of_rate["high"] / 4


def test_base_models_count_against_the_budget() -> None:
    evaluator = VariedEvaluator()
    ledger, _ = searched(evaluator, a_problem(evaluator, trials=10))
    assert count_trained(ledger.trials()) == 10
    assert [trial.origin for trial in own(ledger)].count(BASE) == 1


def test_a_stopped_search_goes_on_as_one_that_was_not() -> None:
    whole, _ = searched(VariedEvaluator())
    evaluator = VariedEvaluator()
    problem = a_problem(evaluator)
    ledger = begun(problem, evaluator)
    for calls in (60, 90, 150):
        searched(evaluator, problem, ledger, stop_requested=stop_after(calls))
        ledger = ledger.reopened()
    searched(evaluator, problem, ledger)
    finished = [trial for trial in own(ledger) if trial.state is not TrialState.INTERRUPTED]
    assert [signature(trial) for trial in finished] == [signature(trial) for trial in own(whole)]


def test_a_model_that_cannot_be_built_is_told_and_the_search_goes_on() -> None:
    evaluator = VariedEvaluator(unbuildable=(1,))
    ledger, events = searched(evaluator, a_problem(evaluator, trials=48))
    failures = [event for event in events if isinstance(event, Building) and event.failure]
    assert {event.values["width"] for event in failures} == {1}
    assert all("width 1 gives NaN" in event.failure for event in failures)
    assert len(evaluator.built) == 5  # each was tried once
    assert count_trained(ledger.trials()) == 48


def test_recipes_are_variants_whose_base_model_is_not_built_again() -> None:
    evaluator = VariedEvaluator()
    rates = recipe_hyperparameters(Recipe(), {"prune": {"learning_rate": (1e-3, 3e-3)}})
    ledger, _ = searched(evaluator, a_problem(evaluator, hyperspace=tuple(rates)))
    assert not evaluator.built
    recipes = {trial.candidate.recipe.prune.learning_rate for trial in own(ledger)}
    assert recipes == {1e-3, 3e-3}


def test_when_the_policies_of_all_models_are_tried_others_are_built_at_once() -> None:
    evaluator = VariedEvaluator()
    settings = SpaceSettings(choices={"sparsity": (0.0, 0.5), "clusters": (None,), "quantization": ("float32",)})
    description = evaluator.describe()
    space = build_space(description.layers, SpaceSettings(choices=settings.choices, pinned={"conv[01]": {}}))
    settings = replace(settings, pinned={"conv[01]": {}})
    ledger, _ = searched(evaluator, a_problem(evaluator, space=space, space_settings=settings, trials=1000))
    assert len(evaluator.built) == 5
    # of the wide models 4 policies, of the others 2; and 6 base models
    assert len({trial.candidate.digest for trial in ledger.trials()}) == 2 * 4 + 4 * 2


def test_what_no_model_can_reach_is_told_at_once_and_a_file_too_small_for_this_one_is_not() -> None:
    evaluator = VariedEvaluator()
    with pytest.raises(Unsatisfiable, match="never above 1"):
        searched(evaluator, a_problem(evaluator, constraints=(at_least(1.5),)))
    ledger, _ = searched(evaluator, a_problem(evaluator, constraints=(at_most(2.2),), trials=20))
    assert len(own(ledger)) > 0


def test_only_the_funnel_searches_hyperparameters() -> None:
    with pytest.raises(ConfigurationError, match="`sampler` must be funnel to search hyperparameters"):
        a_problem(VariedEvaluator(), sampler=SamplerSettings(name="tpe"))


@pytest.mark.parametrize("rungs", [(Rung.FULL,), tuple(Rung)])
def test_no_candidate_is_trained_twice(rungs: tuple[Rung, ...]) -> None:
    evaluator = VariedEvaluator()
    ledger, _ = searched(evaluator, a_problem(evaluator, rungs=rungs))
    full = [trial.candidate.digest for trial in own(ledger) if trial.rung is Rung.FULL]
    assert len(full) == len(set(full))
