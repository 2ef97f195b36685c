"""Ranks: from the energies that a space offers to the whole numbers of a policy."""

from dataclasses import replace
from typing import Any

import pytest

from paretune.spaces.candidates.recipe import Recipe, layers_under, stages_of
from paretune.spaces.candidates.stage_recipes import StructureRecipe
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.known import KNOBS
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL, largest_rank, matrix_shape
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.normal_form import normal_form
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.policies.shares import kept_share
from paretune.spaces.policies.space import Space

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
        KNOBS["rank"].read_choice(value)


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
    assert normal_form(a_layer("a"), decided) == LayerPolicy(rank=3, quantization=INT8)
    assert normal_form(a_layer("a"), replace(decided, rank=6)) == LayerPolicy(
        sparsity=0.5, clusters=8, quantization=QAT
    )


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


def under(decomposition: str, *layers: LayerSpec) -> tuple[LayerSpec, ...]:
    return layers_under(Recipe(structure=StructureRecipe(decomposition=decomposition)), layers)


#: Of 3x3 windows: 36 x 4 by channels, where ranks up to 3 make it smaller, and 12 x 12 spatially.
WINDOW = a_layer("a", kind="Conv2D", weight_shape=(3, 3, 4, 4), energies=(0.6, 0.85, 0.99), spatial_energies=ENERGIES)


@pytest.mark.parametrize(
    ("shape", "by_channels", "spatial"),
    [
        ((3, 3, 4, 4), (36, 4), (12, 12)),
        ((3, 5, 4, 6), (60, 6), (12, 30)),
        ((1, 5, 4, 6), (20, 6), (20, 6)),
        ((5, 1, 4, 6), (20, 6), (20, 6)),
        ((5, 4, 6), (20, 6), (20, 6)),
        ((20, 6), (20, 6), (20, 6)),
    ],
)
def test_only_a_window_of_rows_and_columns_is_another_matrix_spatially(
    shape: tuple[int, ...], by_channels: tuple[int, int], spatial: tuple[int, int]
) -> None:
    assert (matrix_shape(shape, CHANNELS), matrix_shape(shape, SPATIAL)) == (by_channels, spatial)
    for how, (rows, columns) in ((CHANNELS, by_channels), (SPATIAL, spatial)):
        rank = largest_rank(shape, how)
        assert rank * (rows + columns) < rows * columns <= (rank + 1) * (rows + columns)


def test_energies_and_the_largest_rank_are_those_of_the_decomposition() -> None:
    dense = a_layer("b")
    for how, ranks, choices in ((CHANNELS, 3, (None, 3, 2)), (SPATIAL, 5, (None, 4, 3))):
        window, other = under(how, WINDOW, dense)
        assert (window.largest_rank, other.largest_rank) == (ranks, 5)
        assert [other.rank_of(energy) for energy in (0.9, 0.8)] == [4, 3]
        assert ranks_of(a_space(window))["a.rank"] == choices
        assert normal_form(window, LayerPolicy(rank=4)) == LayerPolicy(rank=4 if how == SPATIAL else None)


def test_the_weights_of_a_rank_are_those_of_the_decomposition_also_once_channels_are_removed() -> None:
    first = a_layer("first", channels=12, channel_group="first")
    second = replace(WINDOW, channels=4, channel_group="a", reads=("first",))
    for how, rank, weights in ((CHANNELS, None, 36), (SPATIAL, 2, 2 * (6 + 6))):  # by channels 2 * (18 + 2), no less
        space = a_space(*under(how, first, second))
        policy = space.resolve({"layers": {"first": {"channels": 0.5}, "a": {"channels": 0.5, "rank": 2}}})
        assert policy["a"].rank == rank
        assert kept_share(space.layers[1], policy) == pytest.approx(weights / 144)
