"""The recorded tables, and the evaluator that replays them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from paretune.search.settings import SamplerSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible, LimitReached
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.results.evaluator import Evaluator
from paretune.spaces.results.trial import Budget
from tests.contracts.evaluator import PRUNED, EvaluatorContract, candidate_of

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "table"))

from replay import Staircase, problem_of, replay
from tabular import TabularEvaluator, read_table

TABLES = ("cnn", "dscnn")


class TestTabularEvaluator(EvaluatorContract):
    #: The tables' policies are all of integers: the bytes of single layers in float32 were not recorded.
    test_the_layers_of_the_baseline_are_told_as_untouched = None  # type: ignore[assignment]
    #: They were recorded when files were measured by less.
    test_the_description_names_the_metric_first_and_then_what_every_file_is_measured_by = None  # type: ignore[assignment]

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        evaluator: Evaluator = TabularEvaluator(read_table("cnn"), shares_stages=False)
        return evaluator

    def candidate(self, evaluator: Evaluator, wish: LayerPolicy) -> Candidate:
        table = read_table("cnn")
        policy, _ = table.space.nearest(wish)
        return Candidate(architecture=table.description.architecture, recipe=table.recipe, policy=policy)

    def test_a_policy_that_is_not_in_the_grid_is_infeasible(self, evaluator: Evaluator) -> None:
        with pytest.raises(Infeasible, match="does not have this policy"):
            evaluator.evaluate(self.of_the_whole_space(evaluator), Rung.FULL, Limit())

    def test_another_recipe_is_refused(self, evaluator: Evaluator) -> None:
        with pytest.raises(ValueError, match="another model or recipe"):
            evaluator.evaluate(candidate_of(evaluator, PRUNED), Rung.FULL, Limit())

    def of_the_whole_space(self, evaluator: Evaluator) -> Candidate:
        asked = candidate_of(evaluator, LayerPolicy(sparsity=0.3, quantization=Quantization.FLOAT16))
        recipe = read_table("cnn").recipe
        return Candidate(architecture=asked.architecture, recipe=recipe, policy=asked.policy)


@pytest.mark.parametrize("name", TABLES)
def test_every_policy_was_measured_at_every_rung_and_got_what_it_asked_for(name: str) -> None:
    table = read_table(name)
    assert len(table.arrays["values"]) == table.space.cardinality >= {"cnn": 3000, "dscnn": 1500}[name]
    assert np.isfinite(table.arrays["values"]).all()
    assert table.arrays["clean"][:, -1].mean() > 0.99
    assert table.description.samples["validation"] >= 5000


def test_a_stage_is_charged_to_the_first_candidate_that_needs_it() -> None:
    table = read_table("cnn")
    evaluator = TabularEvaluator(table)
    policies = [
        table.space.nearest(LayerPolicy(sparsity=0.5, quantization=mode))[0]
        for mode in (Quantization.INT8, Quantization.INT4)
    ]
    steps = [
        evaluator.evaluate(
            Candidate(architecture=table.description.architecture, recipe=table.recipe, policy=policy),
            Rung.FULL,
            Limit(),
        ).training_steps
        for policy in policies
    ]
    assert steps == [168, 0]


def test_seconds_of_training_count_against_a_limit() -> None:
    table = read_table("cnn")
    policy, _ = table.space.nearest(PRUNED)
    candidate = Candidate(architecture=table.description.architecture, recipe=table.recipe, policy=policy)
    with pytest.raises(LimitReached, match="168 steps"):
        TabularEvaluator(table).evaluate(candidate, Rung.FULL, Limit(seconds=0.01))


@pytest.mark.parametrize("name", TABLES)
def test_the_funnel_finds_most_of_a_tables_front_in_a_few_full_trials(name: str) -> None:
    table = read_table(name)
    problem = problem_of(table, sampler=SamplerSettings(name="funnel"), rungs=tuple(Rung), budget=Budget(trials=15))
    course = replay(table, problem)
    assert len(course.volume) == 15
    assert course.volume == sorted(course.volume)
    assert course.volume[-1] > 0.9
    assert course.training_steps[-1] < 15 * 252


def test_the_whole_table_covers_its_own_volume() -> None:
    table = read_table("dscnn")
    values, names = table.arrays["values"][:, -1], table.about["names"]
    points = values[:, [names.index("accuracy"), names.index("size_bytes")]]
    assert Staircase(table).with_points([(float(a), float(b)) for a, b in points]) == pytest.approx(1.0)
