"""Leaves: policies that need no training once their stem has been trained."""

from dataclasses import replace

import pytest

from paretune.search.proposals.families import LEAF, leaves_of
from paretune.search.simulation import ImmediateService
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.results.trial import Budget, Trial, count_trained
from tests.fakes import AnalyticEvaluator, layer_specs, with_baseline
from tests.search.problems import a_problem, own, search, stop_after

#: float32, int8, int8_qat and int4 for every layer, beside sparsity and clusters
PROBLEM = a_problem(leaves=2, budget=Budget(trials=10))


def stems(trials: list[Trial]) -> list[str]:
    return [trial.candidate.stem_digest for trial in trials]


@pytest.fixture(scope="module")
def searched() -> list[Trial]:
    outcome, ledger, _ = search(PROBLEM)
    assert outcome.reason == "10 trials"
    return own(ledger)


def test_a_leaf_shares_its_stem_with_an_earlier_trial_and_differs_in_formats_only(searched: list[Trial]) -> None:
    leaves = [trial for trial in searched if trial.origin == LEAF]
    assert len(leaves) > 5
    for leaf in leaves:
        parent = next(trial for trial in searched if trial.candidate.stem_digest == leaf.candidate.stem_digest)
        assert parent.number < leaf.number
        assert parent.origin != LEAF
        for layer, decided in leaf.candidate.policy.items():
            before = parent.candidate.policy[layer]
            assert replace(decided, quantization=before.quantization) == before
            assert (decided.quantization is Quantization.INT8_QAT) == (before.quantization is Quantization.INT8_QAT)


def test_leaves_are_not_counted_against_the_budget(searched: list[Trial]) -> None:
    trained = [trial for trial in searched if stages_of(trial.candidate.policy)]
    assert count_trained(searched) == 10 == len(set(stems(trained)))
    assert len(trained) > 10


def test_no_more_leaves_come_than_were_asked_for(searched: list[Trial]) -> None:
    parents = [trial for trial in searched if trial.origin != LEAF and stages_of(trial.candidate.policy)]
    assert all(len(leaves_of(trial, PROBLEM)) <= 2 for trial in parents)
    assert max(len(leaves_of(trial, PROBLEM)) for trial in parents) == 2
    assert all(leaves_of(trial, replace(PROBLEM, leaves=0)) == () for trial in parents)


def test_what_trained_nothing_has_no_leaves_of_its_own(searched: list[Trial]) -> None:
    untrained = [trial for trial in searched if trial.origin == LEAF or not stages_of(trial.candidate.policy)]
    assert untrained
    assert all(leaves_of(trial, PROBLEM) == () for trial in untrained)


def test_the_leaves_of_the_last_trial_still_come_when_the_budget_of_trials_is_spent(searched: list[Trial]) -> None:
    last = max(trial.number for trial in searched if trial.origin != LEAF and stages_of(trial.candidate.policy))
    expected = leaves_of(searched[last - 1], PROBLEM)
    assert expected
    known = {trial.candidate.policy.digest for trial in searched}
    assert {leaf.policy.digest for leaf in expected} <= known


@pytest.mark.parametrize("stop", [3, 9, 17])
def test_a_search_that_is_stopped_among_leaves_goes_on_with_the_same_ones(searched: list[Trial], stop: int) -> None:
    ledger = with_baseline(AnalyticEvaluator())
    _, ledger, _ = search(PROBLEM, ledger=ledger, stop_requested=stop_after(stop))
    _, ledger, _ = search(PROBLEM, ledger=ledger.reopened())
    assert [trial.candidate.policy for trial in own(ledger)] == [trial.candidate.policy for trial in searched]


def test_several_workers_count_different_stems_only() -> None:
    service = ImmediateService(AnalyticEvaluator(), workers=3)
    _, ledger, _ = search(replace(PROBLEM, budget=Budget(trials=7)), service=service)
    assert count_trained(own(ledger)) == 7


def test_a_format_in_which_clusters_mean_nothing_is_no_leaf() -> None:
    """int4 has 15 values: with it 16 clusters become none, which is another stem."""
    evaluator = AnalyticEvaluator(layers=layer_specs(1))
    choices = {"sparsity": (0.0,), "clusters": (16,), "quantization": (Quantization.INT8, Quantization.INT4)}
    problem = a_problem(evaluator, choices=choices, leaves=3, budget=Budget(trials=3))
    _, ledger, _ = search(problem, evaluator=evaluator)
    clustered = next(trial for trial in own(ledger) if stages_of(trial.candidate.policy))
    assert leaves_of(clustered, problem) == ()
