import random
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.additive.encoding import Encoding
from paretune.search.learning.untrained import TrainsNothing
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from tests.fakes import AnalyticEvaluator, layer_specs
from tests.search.problems import a_problem

CHOICES = {
    "sparsity": (0.0, 0.5),
    "clusters": (None, 16),
    "quantization": (Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT, Quantization.INT4),
}
ENCODING = Encoding(a_problem(AnalyticEvaluator(layers=layer_specs(3)), choices=CHOICES).space)
#: Many of these train nothing.
DENSE_ROWS = st.tuples(
    *[
        st.sampled_from([number for number, option in enumerate(unit.options) if not option.decided[0].sparsity])
        for unit in ENCODING.units
    ]
)
ROWS = st.tuples(*[st.integers(0, count - 1) for count in ENCODING.option_counts.tolist()])


def decided(row: Sequence[int]) -> int:
    return sum(index > 0 for index in ENCODING.choice_of(row).values())


@given(st.lists(ROWS, min_size=1))
def test_what_trains_nothing_needs_no_stage(rows: list[tuple[int, ...]]) -> None:
    needs = [bool(stages_of(ENCODING.policy_of(row))) for row in rows]
    assert TrainsNothing(ENCODING)(np.array(rows)).tolist() == [not need for need in needs]


def test_nothing_is_untrained_where_a_layer_beside_the_search_is_trained() -> None:
    layers = layer_specs(2)
    pinned = {layers[0].name: {"sparsity": 0.5, "clusters": None, "quantization": Quantization.INT8}}
    settings = SpaceSettings(pinned=pinned, layers={layers[1].name: CHOICES})
    encoding = Encoding(build_space(layers, settings))
    assert encoding.pinned[layers[0].name] == LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
    rows = np.arange(encoding.option_counts[0])[:, None]
    assert not TrainsNothing(encoding)(rows).any()


@given(st.sets(DENSE_ROWS, max_size=60), st.integers(0, 9))
def test_decisions_alone_are_told_from_the_rest_in_any_order(rows: set[tuple[int, ...]], seed: int) -> None:
    shuffled = random.Random(seed).sample(sorted(rows), len(rows))  # noqa: S311  # no secret depends on it
    idle = TrainsNothing(ENCODING)
    alone, others = idle.among(shuffled)
    assert all(decided(row) <= 1 for row in alone.tolist())
    assert all(decided(row) > 1 for row in others.tolist())
    found = {tuple(row) for row in [*alone.tolist(), *others.tolist()]}
    assert found == {row for row in rows if not stages_of(ENCODING.policy_of(row))}
    assert [each.tolist() for each in idle.among(rows)] == [alone.tolist(), others.tolist()]
