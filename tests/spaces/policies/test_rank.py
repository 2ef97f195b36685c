"""Ranks: from the energies that a space offers to the whole numbers of a policy."""

from dataclasses import replace
from typing import Any

import pytest

from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy, Quantization, read_choice
from paretune.spaces.policies.space import Space, SpaceSettings, build_space

FLOAT32, INT8, QAT = Quantization.FLOAT32, Quantization.INT8, Quantization.INT8_QAT
#: Of a kernel of 12 x 12, ranks up to 5 make it smaller.
ENERGIES = (0.5, 0.7, 0.8, 0.9, 0.95)


def a_layer(name: str, **changed: Any) -> LayerSpec:
    spec = LayerSpec(
        name=name,
        kind="Dense",
        weight_shape=(12, 12),
        weights=144,
        distinct=144,
        energies=ENERGIES,
        quantizations=(FLOAT32, INT8, QAT),
    )
    return replace(spec, **changed)


def a_space(*layers: LayerSpec, ranks: tuple[Any, ...] = (None, 0.9, 0.8), **settings: Any) -> Space:
    choices = {"sparsity": (0.0, 0.5), "clusters": (None,), "quantization": ("float32", "int8_qat"), "rank": ranks}
    return build_space(layers, SpaceSettings(choices={**choices, **settings.pop("choices", {})}, **settings))


def ranks_of(space: Space) -> dict[str, tuple[int | None, ...]]:
    return {each.name: each.choices for each in space.parameters if each.knob == "rank"}


def test_an_energy_becomes_the_lowest_rank_that_keeps_it() -> None:
    layer = a_layer("a")
    assert [layer.rank_of(energy) for energy in (0.2, 0.5, 0.51, 0.9, 0.951, None)] == [1, 1, 2, 4, None, None]


def test_choices_that_do_not_shrink_a_layer_or_mean_the_same_are_left_out() -> None:
    space = a_space(a_layer("a"), a_layer("b", energies=()), ranks=(None, 0.99, 0.9, 0.89, 0.6))
    assert ranks_of(space) == {"a.rank": (None, 4, 2)}


def test_no_rank_is_searched_unless_it_is_asked_for() -> None:
    assert not ranks_of(build_space([a_layer("a")], SpaceSettings()))


def test_a_group_keeps_the_rank_that_the_most_demanding_of_its_layers_needs() -> None:
    small = a_layer("small", weight_shape=(6, 12), weights=72, energies=(0.7, 0.88, 0.93))
    space = a_space(a_layer("a"), small, groups=(("a", "small"),))
    assert ranks_of(space) == {"a.rank": (None, 4, 3)}
    lowered = space.policy({parameter.name: int(parameter.knob == "rank") for parameter in space.parameters})
    assert (lowered["a"].rank, lowered["small"].rank) == (4, None)  # 4 would not make the small one smaller


@pytest.mark.parametrize("value", [0, 1, 1.0, 16, "low", True])
def test_a_choice_is_an_energy_and_no_rank(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"`rank` choices must be none or shares .* in \(0, 1\), got"):
        read_choice("rank", value)


@pytest.mark.parametrize("rank", [0, 0.9, True, "4"])
def test_the_rank_of_a_policy_is_a_whole_number(rank: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`rank` must be none or a whole number of at least 1, got"):
        LayerPolicy(rank=rank)


def test_a_layer_that_cannot_have_a_rank_says_why() -> None:
    layer = a_layer("a", energies=(), refusals={"rank": "No two kernels are smaller than this one."})
    with pytest.raises(ConfigurationError, match="Layer 'a' cannot have a rank: No two kernels are smaller"):
        a_space(layer).resolve({"layers": {"a": {"rank": 2}}})


def test_a_layer_with_a_rank_has_neither_sparsity_nor_clusters_and_is_not_trained_quantized() -> None:
    decided = LayerPolicy(rank=3, sparsity=0.5, clusters=8, quantization=QAT)
    assert a_layer("a").normal_form(decided) == LayerPolicy(rank=3, quantization=INT8)
    assert a_layer("a").normal_form(replace(decided, rank=6)) == LayerPolicy(sparsity=0.5, clusters=8, quantization=QAT)


def test_a_rank_that_saves_nothing_once_channels_are_removed_is_none() -> None:
    first = a_layer("a", channels=12, channel_group="a")
    space = a_space(first, a_layer("b", reads=("a",)))
    whole, narrow = (
        space.resolve({"layers": {"a": {"channels": channels}, "b": {"rank": 4, "sparsity": 0.5}}})
        for channels in (1.0, 0.5)
    )
    assert whole["b"] == LayerPolicy(rank=4)
    assert narrow["b"] == LayerPolicy(sparsity=0.5)  # 4 * (6 + 12) = 6 * 12


def test_every_choice_is_found_again() -> None:
    first = a_layer("a", channels=12, channel_group="a")
    space = a_space(first, a_layer("b", reads=("a",)), choices={"sparsity": (0.5,), "quantization": ("int8_qat",)})
    for policy in space.policies():
        choice = space.choice_of(policy)
        assert choice is not None
        assert space.policy(choice) == policy


def test_the_nearest_policy_to_one_without_ranks_has_none() -> None:
    policy, _ = a_space(a_layer("a"), ranks=(0.8, None, 0.9)).nearest(LayerPolicy())
    assert policy["a"].rank is None


def test_the_smallest_policies_have_ranks_where_they_leave_fewer_weights_than_sparsity_does() -> None:
    space = a_space(a_layer("a"), a_layer("b"), ranks=(None, 0.5), layers={"b": {"sparsity": (0.0, 0.9)}})
    found = {(policy["a"].rank, policy["b"].rank) for policy in space.smallest()}
    assert found == {(None, None), (1, None)}  # 24 of 144 weights, against 72 and 14


def test_a_rank_is_trained_in_the_stage_that_shapes_layers() -> None:
    space = a_space(a_layer("a"))
    assert stages_of(space.resolve({"layers": {"a": {"rank": 2}}})) == ("structure",)
    assert stages_of(space.resolve({"layers": {}})) == ()
