from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.additive.encoding import Encoding
from paretune.search.funnel.stems import TrainingCost
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import STAGES, stage_share, stages_of, training_steps_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import AnalyticEvaluator, layer_specs
from tests.search.problems import a_problem

EVALUATOR = AnalyticEvaluator(layers=layer_specs(3))
#: With int4, 16 clusters mean none, which is another stem.
CHOICES = {
    "sparsity": (0.0, 0.5),
    "clusters": (None, 16),
    "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT, Quantization.INT4),
}
PROBLEM = a_problem(EVALUATOR, choices=CHOICES)
ENCODING = Encoding(PROBLEM.space)
#: Of the stages that this space can ask for: no channels can go.
STEPS = sum(getattr(PROBLEM.recipe, stage).steps(960) for stage in STAGES if stage != "structure")

ROWS = st.tuples(*[st.integers(0, count - 1) for count in ENCODING.option_counts.tolist()])


def candidate_of(row: Sequence[int], encoding: Encoding = ENCODING) -> Candidate:
    return PROBLEM.candidate(encoding.policy_of(row))


def told(
    rows: Sequence[Sequence[int]],
    encoding: Encoding = ENCODING,
    *,
    state: TrialState = TrialState.COMPLETE,
    rung: Rung = Rung.FULL,
) -> TrainingCost:
    cost = TrainingCost(PROBLEM, encoding)
    for row in rows:
        candidate = candidate_of(row, encoding)
        cost.tell(row, Trial(number=1, candidate=candidate, rung=rung, state=state, origin="tried"))
    return cost


def stage_keys(row: Sequence[int]) -> set[tuple[str, ...]]:
    """Return what decides the weights of each stage that a row needs: its own share, and those of the stages before."""
    policy = ENCODING.policy_of(row)
    shares = [repr(sorted(stage_share(stage, policy).items())) for stage in STAGES]
    return {(stage, *shares[: STAGES.index(stage) + 1]) for stage in stages_of(policy)}


def trained_by(rows: Sequence[Sequence[int]]) -> set[tuple[str, ...]]:
    return {key for row in rows for key in stage_keys(row)}


@given(trained=st.lists(ROWS, max_size=6), asked=ROWS)
def test_a_leaf_needs_stages_and_all_of_them_have_been_trained(
    trained: list[tuple[int, ...]], asked: tuple[int, ...]
) -> None:
    keys = stage_keys(asked)
    assert told(trained).is_leaf(asked) == (bool(keys) and keys <= trained_by(trained))


@given(trained=st.lists(ROWS, max_size=4), asked=ROWS)
def test_a_candidate_costs_the_steps_of_the_stages_that_it_adds(
    trained: list[tuple[int, ...]], asked: tuple[int, ...]
) -> None:
    untouched, costs = told(trained).of(np.array([[0, 0, 0], asked]))
    new = stage_keys(asked) - trained_by(trained)
    steps = sum(getattr(PROBLEM.recipe, key[0]).steps(960) for key in new)
    assert costs - untouched == pytest.approx(steps / STEPS)
    assert untouched > 0
    if not trained:
        assert steps == training_steps_of(candidate_of(asked).policy, PROBLEM.recipe, Rung.FULL, 960)


def neighbours(row: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return every row that differs in one unit."""
    return [
        (*row[:unit], option, *row[unit + 1 :])
        for unit, count in enumerate(ENCODING.option_counts.tolist())
        for option in range(count)
        if option != row[unit]
    ]


@given(parent=ROWS)
def test_the_leaves_of_a_row_are_all_that_share_its_stem_and_differ_in_one_unit(parent: tuple[int, ...]) -> None:
    stem = candidate_of(parent).stem_digest
    expected = {row for row in neighbours(parent) if candidate_of(row).stem_digest == stem}
    cost = told([parent])
    found = [tuple(row) for row in cost.leaves([parent]).tolist()]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert all(cost.is_leaf(row) == bool(stages_of(candidate_of(row).policy)) for row in found)


def test_no_rows_have_no_leaves() -> None:
    assert TrainingCost(PROBLEM, ENCODING).leaves([]).shape == (0, 3)


def test_what_was_not_trained_to_the_end_is_no_stem() -> None:
    row = tuple(count - 1 for count in ENCODING.option_counts.tolist())
    assert told([row]).is_leaf(row)
    assert not told([row], rung=Rung.SHORT).is_leaf(row)
    assert not told([row], state=TrialState.FAILED).is_leaf(row)


def test_layers_about_which_nothing_is_searched_need_their_stages_all_the_same() -> None:
    settings = SpaceSettings(choices=CHOICES, pinned={"conv1": {"sparsity": 0.5}})
    pinned = Encoding(build_space(EVALUATOR.layers, settings))
    _, choice = pinned.space.nearest(LayerPolicy(quantization=Quantization.INT8))
    untouched, int8 = tuple(pinned.base.tolist()), pinned.row_of(choice)
    assert stages_of(pinned.policy_of(untouched)) == stages_of(pinned.policy_of(int8)) == ("prune",)
    before, after = told([], pinned), told([untouched], pinned)
    assert (before.is_leaf(int8), after.is_leaf(int8)) == (False, True)
    assert before.of(np.array([int8])) > after.of(np.array([int8]))
