from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from paretune.search.additive.encoding import Encoding
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.policies.space import Space, SpaceSettings, build_space
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import layer_specs


def a_space(**settings: object) -> Space:
    return build_space(layer_specs(4), SpaceSettings(**settings))  # type: ignore[arg-type]


#: One layer on its own, two that share a decision, one about which nothing is searched.
SPACE = a_space(groups=(("conv1", "conv3"),), pinned={"conv2": {"sparsity": 0.5}})
ENCODING = Encoding(SPACE)


def test_layers_that_share_a_decision_are_one_unit_and_pinned_ones_are_none() -> None:
    assert [unit.layers for unit in ENCODING.units] == [("conv0",), ("conv1", "conv3")]
    assert [unit.name for unit in ENCODING.units] == ["conv0", "conv1"]


def test_the_first_options_take_the_first_choices() -> None:
    first = {parameter.name: 0 for parameter in SPACE.parameters}
    assert ENCODING.policy_of(ENCODING.base.tolist()) == SPACE.policy(first)
    assert ENCODING.row_of(first) == (0, 0)


@given(st.data())
def test_a_policy_goes_to_its_row_and_back(data: st.DataObject) -> None:
    choice = {name: data.draw(st.integers(0, count - 1)) for name, count in counts(SPACE).items()}
    row = ENCODING.row_of(choice)
    assert ENCODING.policy_of(row) == SPACE.policy(choice)
    assert ENCODING.row_of(ENCODING.choice_of(row)) == row


def counts(space: Space) -> dict[str, int]:
    return {parameter.name: len(parameter.choices) for parameter in space.parameters}


def test_decisions_that_mean_the_same_are_one_option() -> None:
    """int4 has 15 values: 16 or more clusters mean none there."""
    choices = {
        "sparsity": (0.0,),
        "clusters": (None, 32, 16, 8),
        "quantization": (Quantization.INT8, Quantization.INT4),
    }
    encoding = Encoding(a_space(choices=choices))
    assert encoding.option_counts.tolist() == [4 + 2] * 4
    rows = {encoding.row_of(encoding.choice_of([number, 0, 0, 0])) for number in range(6)}
    assert len(rows) == 6
    # of several spellings the first stands for all
    first = {parameter.name: 0 for parameter in encoding.space.parameters}
    int4 = [encoding.row_of({**first, "conv0.quantization": 1, "conv0.clusters": index}) for index in (0, 1, 2)]
    assert len(set(int4)) == 1
    assert encoding.choice_of(int4[0]) == {**first, "conv0.quantization": 1}


def a_trial(decided: LayerPolicy, parameters: dict[str, int]) -> Trial:
    policy, _ = SPACE.nearest(decided)
    policy = replace(policy, entries=tuple((name, decided if name != "conv2" else policy[name]) for name in policy))
    candidate = Candidate(architecture="a", recipe=Recipe(), policy=policy)
    return Trial(
        number=1, candidate=candidate, rung=Rung.FULL, state=TrialState.COMPLETE, origin="", parameters=parameters
    )


def test_the_row_of_a_trial_follows_from_its_choices_or_else_from_its_policy() -> None:
    policy, choice = SPACE.nearest(LayerPolicy(sparsity=0.5, quantization=Quantization.INT8))
    row = ENCODING.row_of(choice)
    decided = policy["conv1"]
    assert ENCODING.row_of_trial(a_trial(decided, choice)) == row
    assert ENCODING.row_of_trial(a_trial(decided, {})) == row


def test_a_trial_that_the_choices_cannot_express_has_no_row() -> None:
    assert ENCODING.row_of_trial(a_trial(LayerPolicy(clusters=5), {})) is None
