from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import MOST_SINGLES, PAIRS, Profile, ProfilePlan, read_profile
from paretune.search.additive.solving import solve
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.proxy import Proxy, proxy_of
from tests.fakes import ACCURACY, LATENCY, SIZE, AnalyticEvaluator, GradualEvaluator
from tests.search.problems import SMALL_CHOICES

EVALUATOR = GradualEvaluator()


def a_plan(choices: Mapping[str, tuple[Any, ...]] | None = None, **settings: Any) -> ProfilePlan:
    space = build_space(EVALUATOR.layers, SpaceSettings(choices=choices or {}, **settings))
    return ProfilePlan(Encoding(space), seed=1)


SMALL, LARGE = a_plan(SMALL_CHOICES), a_plan()


def measure(policy: Policy, evaluator: AnalyticEvaluator = EVALUATOR) -> Measurement:
    candidate = Candidate(architecture="", recipe=Recipe(), policy=policy)
    return evaluator.evaluate(candidate, Rung.PROXY, Limit())


def proxies_of(plan: ProfilePlan, evaluator: AnalyticEvaluator = EVALUATOR) -> dict[str, Proxy]:
    return {policy.digest: proxy_of("", Recipe(), policy, measure(policy, evaluator)) for policy in plan.policies()}


def profile_of(plan: ProfilePlan, proxies: Mapping[str, Proxy] | None = None) -> Profile:
    profile = read_profile(plan, proxies or proxies_of(plan), "accuracy", 1)
    assert profile is not None
    return profile


def some_rows(plan: ProfilePlan, count: int = 40) -> list[tuple[int, ...]]:
    draws = np.random.default_rng(0).integers(plan.encoding.option_counts, size=(count, len(plan.units)))
    return [tuple(row) for row in draws.tolist()]


def alone(plan: ProfilePlan) -> set[str]:
    """Return the policies in which one unit at most differs from its first option."""
    rows = [[0] * len(plan.units)]
    for place, unit in enumerate(plan.units):
        rows += [[*rows[0][:place], number, *rows[0][place + 1 :]] for number in range(1, len(unit.options))]
    return {plan.encoding.policy_of(row).digest for row in rows}


# What is measured


def test_in_a_small_space_every_option_is_measured_alone() -> None:
    assert SMALL.is_whole
    assert alone(SMALL) <= {policy.digest for policy in SMALL.policies()}
    assert len(SMALL.policies()) <= len(alone(SMALL)) + PAIRS


def test_in_a_large_space_every_choice_is_measured_alone_and_no_more_than_can_be_afforded() -> None:
    assert not LARGE.is_whole
    assert len(alone(LARGE)) > MOST_SINGLES
    first = {parameter.name: 0 for parameter in LARGE.space.parameters}
    choices = [
        LARGE.space.policy({**first, parameter.name: index})
        for parameter in LARGE.space.parameters
        for index in range(len(parameter.choices))
    ]
    measured = {policy.digest for policy in LARGE.policies()}
    assert {policy.digest for policy in choices} <= measured
    assert len(measured) < MOST_SINGLES


def test_nothing_is_measured_twice() -> None:
    for plan in (SMALL, LARGE):
        digests = [policy.digest for policy in plan.policies()]
        assert len(digests) == len(set(digests))


def test_the_pairs_are_of_two_units_and_follow_from_the_seed() -> None:
    base = LARGE.base
    changed = [sum(policy[name] != base[name] for name in base) for policy in map(LARGE.pair, LARGE.pairs)]
    assert changed == [2] * PAIRS
    pairs = [ProfilePlan(LARGE.encoding, seed=seed).pairs for seed in (1, 1, 2)]
    assert pairs[0] == pairs[1] != pairs[2]


def test_a_space_of_one_unit_has_no_pairs() -> None:
    plan = a_plan(groups=(tuple(spec.name for spec in EVALUATOR.layers),))
    assert len(plan.units) == 1
    assert plan.pairs == ()


# What it tells


def test_each_option_costs_what_its_policy_loses_alone() -> None:
    base = measure(SMALL.base).values
    profile = profile_of(SMALL)
    for unit, costs in zip(SMALL.units, profile.costs, strict=True):
        for number, option in enumerate(unit.options):
            values = measure(SMALL.single(option)).values
            assert costs.loss[number] == pytest.approx(max(0.0, values["loss"] - base["loss"]))
            assert costs.metric[number] == pytest.approx(base["accuracy"] - values["accuracy"])
            assert costs.latency[number] == pytest.approx(values["latency_ratio"] - base["latency_ratio"])


def test_a_metric_that_is_minimised_counts_the_other_way() -> None:
    proxies = proxies_of(SMALL)
    more, less = (read_profile(SMALL, proxies, "accuracy", sign) for sign in (1, -1))
    assert more is not None
    assert less is not None
    for one, other in zip(more.costs, less.costs, strict=True):
        assert one.metric == pytest.approx(-other.metric)
    assert max(costs.metric.max() for costs in more.costs) > 0.01


def test_in_a_large_space_an_option_costs_the_sum_of_its_choices() -> None:
    """The evaluator adds up over the knobs of a layer too, but for a hair."""
    profile = profile_of(LARGE)
    base = measure(LARGE.base).values
    for row in some_rows(LARGE):
        guessed = sum(costs.loss[number] for costs, number in zip(profile.costs, row, strict=True))
        measured = measure(LARGE.encoding.policy_of(row)).values["loss"] - base["loss"]
        assert guessed == pytest.approx(measured, abs=0.08)


@pytest.mark.parametrize("plan", [SMALL, LARGE], ids=["small", "large"])
def test_the_bytes_of_every_option_are_known(plan: ProfilePlan) -> None:
    for unit, costs in zip(plan.units, profile_of(plan).costs, strict=True):
        assert costs.bytes.shape == (len(unit.options),)
        assert np.isfinite(costs.bytes).all()


@pytest.mark.parametrize(
    "plan",
    [SMALL, LARGE, a_plan(groups=(("conv1", "conv3"),)), a_plan(pinned={"conv3": {"quantization": "int8"}})],
    ids=["small", "large", "grouped", "pinned"],
)
def test_estimated_sizes_are_near_the_measured_ones(plan: ProfilePlan) -> None:
    profile = profile_of(plan)
    for row in some_rows(plan):
        estimated = profile.fixed_bytes + sum(
            costs.bytes[number] for costs, number in zip(profile.costs, row, strict=True)
        )
        assert estimated == pytest.approx(measure(plan.encoding.policy_of(row)).values["size_bytes"], rel=0.03)


def test_the_effects_of_an_additive_model_are_found_additive() -> None:
    additivity = profile_of(LARGE).additivity
    assert len(additivity.sums) == len(additivity.together) == PAIRS
    assert additivity.median_ratio == pytest.approx(1, abs=0.05)


class Clashing(AnalyticEvaluator):
    """Loses thrice as much when two layers are compressed as the two lose one by one."""

    def _values(self, policy: Policy, rung: Rung) -> dict[str, float]:
        values = super()._values(policy, rung)
        touched = sum(not decided.is_untouched for decided in policy.values())
        return {**values, "loss": values["loss"] * (3 if touched > 1 else 1)}


def test_effects_that_make_each_other_worse_are_found_so() -> None:
    profile = profile_of(LARGE, proxies_of(LARGE, Clashing()))
    assert profile.additivity.median_ratio > 2
    assert "times the sum of their parts (median)" in str(profile.additivity)


# What could not be measured


def without(proxies: Mapping[str, Proxy], is_lost: Callable[[Policy], bool]) -> dict[str, Proxy]:
    """Return the proxies without those of policies that are lost."""
    return {digest: proxy for digest, proxy in proxies.items() if not is_lost(proxy.policy)}


def is_sparse(policy: Policy) -> bool:
    return policy["conv3"].sparsity > 0.8


@pytest.mark.parametrize("plan", [a_plan({"sparsity": (0.0, 0.9), "clusters": (None,)}), LARGE], ids=["small", "large"])
def test_options_that_could_not_be_measured_are_never_taken(plan: ProfilePlan) -> None:
    whole, profile = (profile_of(plan, proxies) for proxies in (proxies_of(plan), without(proxies_of(plan), is_sparse)))
    lost = np.array([option.decided[0].sparsity > 0.8 for option in plan.units[3].options])
    assert lost.any()
    assert (np.isinf(profile.costs[3].loss) == lost).all()
    before, after = solve(plan.encoding, whole, (ACCURACY, SIZE)), solve(plan.encoding, profile, (ACCURACY, SIZE))
    assert lost[before.options[:, 3]].any()
    assert not lost[after.options[:, 3]].any()


def test_without_the_first_options_there_is_no_profile() -> None:
    proxies = proxies_of(SMALL)
    del proxies[SMALL.base.digest]
    assert read_profile(SMALL, proxies, "accuracy", 1) is None


def test_what_was_measured_besides_the_plan_changes_nothing() -> None:
    """So that a resumed search, which knows more policies, reads the same profile."""
    others = [SMALL.encoding.policy_of(row) for row in some_rows(SMALL)]
    more = {policy.digest: proxy_of("", Recipe(), policy, measure(policy)) for policy in others}
    planned = proxies_of(SMALL)
    first, second = profile_of(SMALL, planned), profile_of(SMALL, {**more, **planned})
    assert first.fixed_bytes == second.fixed_bytes
    for one, other in zip(first.costs, second.costs, strict=True):
        for name in ("loss", "metric", "latency", "bytes"):
            assert (getattr(one, name) == getattr(other, name)).all()


def test_where_latency_was_not_measured_it_is_that_of_the_number_formats() -> None:
    proxies = {
        digest: replace(proxy, values={name: value for name, value in proxy.values.items() if name != "latency_ratio"})
        if any(decided.sparsity or decided.clusters for decided in proxy.policy.values())
        else proxy
        for digest, proxy in proxies_of(SMALL).items()
    }
    for unit, costs in zip(SMALL.units, profile_of(SMALL, proxies).costs, strict=True):
        for option, latency in zip(unit.options, costs.latency, strict=True):
            plain = option.decided[0].sparsity == 0 and option.decided[0].clusters is None
            expected = measure(SMALL.single(option)).values["latency_ratio"] - 1 if plain else 0.0
            assert latency == pytest.approx(expected)


# The additive problem


def test_a_slow_measurement_of_the_uncompressed_model_makes_nothing_look_fast() -> None:
    proxies = proxies_of(SMALL)
    base = proxies[SMALL.base.digest]
    disturbed = replace(base, values={**base.values, "latency_ratio": 1.2})
    expected, found = profile_of(SMALL, proxies), profile_of(SMALL, {**proxies, SMALL.base.digest: disturbed})
    assert SMALL.base.is_untouched
    assert found.base.values["latency_ratio"] == 1
    for right, costs in zip(expected.costs, found.costs, strict=True):
        assert costs.latency == pytest.approx(right.latency)


def test_the_solved_problem_counts_the_whole_file_and_latency_only_where_it_is_an_objective() -> None:
    profile = profile_of(SMALL)
    without_latency, with_latency = (
        solve(SMALL.encoding, profile, each) for each in ((ACCURACY, SIZE), (ACCURACY, SIZE, LATENCY))
    )
    assert (without_latency.costs.shape[1], with_latency.costs.shape[1]) == (2, 3)
    assert len(with_latency) > len(without_latency)
    for front in (without_latency, with_latency):
        for costs, row in zip(front.costs, front.options, strict=True):
            values = measure(SMALL.encoding.policy_of(row.tolist())).values
            assert costs[1] == pytest.approx(values["size_bytes"], rel=0.03)
            if len(costs) == 3:
                assert costs[2] + 1 == pytest.approx(values["latency_ratio"])
