from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.choices import DEFAULT_CHOICES
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import KNOBS, LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import Space, SpaceSettings, build_space, matching
from tests.spaces.strategies import layer_policies, models, supported_policies

FLOAT32, INT8, INT4 = Quantization.FLOAT32, Quantization.INT8, Quantization.INT4


def a_layer(name: str, **changed: Any) -> LayerSpec:
    spec = LayerSpec(
        name=name,
        kind="Conv2D",
        weight_shape=(10, 100),
        weights=1000,
        distinct=1000,
        quantizations=tuple(Quantization),
    )
    return replace(spec, **changed)


MODEL = (a_layer("stem"), a_layer("block1/conv"), a_layer("block2/conv"), a_layer("head"))
SPACE = build_space(MODEL, SpaceSettings())


def choices_of(space: Space) -> dict[str, tuple[Any, ...]]:
    return {parameter.name: parameter.choices for parameter in space.parameters}


# Building


def test_every_layer_has_every_knob_by_default() -> None:
    searched = [knob for knob in KNOBS if knob not in ("channels", "rank")]  # these layers have neither
    assert choices_of(SPACE) == {f"{spec.name}.{knob}": DEFAULT_CHOICES[knob] for spec in MODEL for knob in searched}
    assert SPACE.cardinality == (6 * 5 * 8) ** 4


def test_choices_are_put_in_order_and_read_once() -> None:
    given_choices = {"sparsity": (0.8, 0, 0.5, 0.5), "clusters": (8, 32, "none"), "quantization": ("int8", "float32")}
    space = build_space((a_layer("a"),), SpaceSettings(choices=given_choices))
    assert choices_of(space) == {
        "a.sparsity": (0.0, 0.5, 0.8),
        "a.clusters": (None, 32, 8),
        "a.quantization": (FLOAT32, INT8),
    }
    assert [parameter.is_ordered for parameter in space.parameters] == [True, True, False]


def test_a_layer_offers_only_what_it_supports() -> None:
    layer = a_layer("a", prunable=False, distinct=10, quantizations=(FLOAT32, INT8))
    assert choices_of(build_space((layer,), SpaceSettings())) == {
        "a.clusters": (None, 8, 4),
        "a.quantization": (FLOAT32, INT8),
    }
    rigid = replace(layer, clusterable=False, quantizations=(FLOAT32,))
    assert build_space((rigid, MODEL[0]), SpaceSettings()).fixed["a"] == {
        "rank": None,
        "sparsity": 0.0,
        "clusters": None,
        "quantization": FLOAT32,
    }


def test_later_entries_for_a_layer_win_over_earlier_ones_and_both_over_the_rest() -> None:
    settings = SpaceSettings(
        choices={"sparsity": (0.0, 0.5)},
        layers={"block*": {"sparsity": (0.0, 0.7)}, "block2/conv": {"sparsity": (0.0, 0.9), "clusters": (None,)}},
    )
    choices = choices_of(build_space(MODEL, settings))
    assert choices["stem.sparsity"] == (0.0, 0.5)
    assert choices["block1/conv.sparsity"] == (0.0, 0.7)
    assert choices["block2/conv.sparsity"] == (0.0, 0.9)
    assert "block2/conv.clusters" not in choices


def test_a_group_shares_one_decision_of_what_all_its_layers_support() -> None:
    model = (MODEL[0], replace(MODEL[1], quantizations=(FLOAT32, INT8)), *MODEL[2:])
    space = build_space(model, SpaceSettings(groups=(("block*",),)))
    parameter = {parameter.name: parameter for parameter in space.parameters}["block1/conv.quantization"]
    assert parameter.layers == ("block1/conv", "block2/conv")
    assert parameter.choices == (FLOAT32, INT8)
    assert not [name for name in choices_of(space) if name.startswith("block2/conv")]
    policy = space.policy({name: len(values) - 1 for name, values in choices_of(space).items()})
    assert policy["block1/conv"] == policy["block2/conv"]


def test_a_pinned_layer_is_decided_and_not_searched() -> None:
    space = build_space(MODEL, SpaceSettings(pinned={"head": {"quantization": "int8"}, "st*": {"sparsity": 0.3}}))
    assert not [name for name in choices_of(space) if name.startswith(("head", "stem"))]
    policy = space.policy(dict.fromkeys(choices_of(space), 0))
    assert policy["head"] == LayerPolicy(quantization=INT8)
    assert policy["stem"] == LayerPolicy(sparsity=0.3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": {"blok*": {}}}, "No layer matches 'blok*'; the layers are stem, block1/conv, block2/conv, head."),
        ({"pinned": {"haed": {}}}, "Did you mean 'head'?"),
        ({"groups": (("block*",), ("*1*",))}, "Layer 'block1/conv' is in two groups."),
        ({"groups": (("*",),), "pinned": {"head": {}}}, "Layer 'head' is pinned and cannot be in a group."),
        ({"pinned": {"head": {"sparsity": 1.5}}}, "`sparsity` must be in [0, 1), got 1.5. (layer 'head')"),
        ({"choices": {"sparsity": (0.0, 1.5)}}, "`sparsity` must be in [0, 1), got 1.5."),
        ({"choices": {"clusters": (1,)}}, "`clusters` must be none or a whole number of at least 2, got 1."),
        ({"choices": {"quantization": ("int7",)}}, "Unknown quantization 'int7'"),
        ({"layers": {"stem": {"clusters": (4000,)}}}, "Layer 'stem' supports none of the `clusters` choices ['4000']."),
        (
            {"groups": (("block*",),), "layers": {"block1*": {"sparsity": (0,)}, "block2*": {"sparsity": (0.5,)}}},
            "The group of 'block1/conv' has no `sparsity` in common.",
        ),
    ],
)
def test_settings_that_make_no_sense_name_the_layer(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build_space(MODEL, SpaceSettings(**settings))
    assert said in str(caught.value)


def test_what_a_layer_cannot_do_is_told_with_the_doctors_reason() -> None:
    layer = a_layer("lstm", prunable=False, refusals={"sparsity": "Bidirectional layers are not pruned."})
    with pytest.raises(ConfigurationError, match="Bidirectional layers are not pruned"):
        build_space((layer,), SpaceSettings(choices={"sparsity": (0.5,)}))


def test_a_model_without_layers_has_no_space() -> None:
    with pytest.raises(ConfigurationError, match="no layer that can be compressed"):
        build_space((), SpaceSettings())


def test_a_name_is_itself_before_it_is_a_glob() -> None:
    assert matching("conv[1]", ["conv1", "conv[1]"]) == ["conv[1]"]
    assert matching("conv*", ["conv1", "dense", "conv[1]"]) == ["conv1", "conv[1]"]


# Reading policies


@given(models.flatmap(lambda layers: st.tuples(st.just(layers), supported_policies(layers))))
def test_a_resolved_policy_reads_back_equal(drawn: tuple[tuple[LayerSpec, ...], Policy]) -> None:
    layers, policy = drawn
    space = Space(layers=layers, parameters=(), fixed={})
    again = space.resolve(policy.to_document())
    assert again == policy
    assert again.digest == policy.digest


def test_entries_apply_in_order_knob_by_knob_and_the_rest_stays_untouched() -> None:
    document = {
        "layers": {
            "block*": {"sparsity": 0.5, "quantization": "int8"},
            "block2/conv": {"sparsity": 0.8},
            "head": {"clusters": 16},
        }
    }
    assert dict(SPACE.resolve(document)) == {
        "stem": LayerPolicy(),
        "block1/conv": LayerPolicy(sparsity=0.5, quantization=INT8),
        "block2/conv": LayerPolicy(sparsity=0.8, quantization=INT8),
        "head": LayerPolicy(clusters=16),
    }


def test_spellings_of_the_same_effect_share_a_digest() -> None:
    one = SPACE.resolve({"layers": {"stem": {"sparsity": 0.5, "clusters": 15, "quantization": "int4"}}})
    other = SPACE.resolve({"layers": {"stem": {"sparsity": 0.5004, "quantization": "int4"}}})
    assert one.digest == other.digest


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "A policy needs `layers:`, a mapping of layer names; got None."),
        ({"layers": ["stem"]}, "A policy needs `layers:`"),
        ({"layers": {"stem": 0.5}}, "Layer 'stem' needs a mapping of knobs, got 0.5."),
        ({"layers": {"stem": {"sparsty": 0.5}}}, "Did you mean 'sparsity'? (layer 'stem')"),
        ({"layers": {"stem": {"sparsity": 2}}}, "`sparsity` must be in [0, 1), got 2.0. (layer 'stem')"),
        ({"layers": {"stem": {"clusters": "many"}}}, "got 'many'. (layer 'stem')"),
        ({"layers": {"stme": {"sparsity": 0.5}}}, "Did you mean 'stem'?"),
    ],
)
def test_a_policy_that_cannot_be_read_names_the_layer(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SPACE.resolve(document)
    assert said in str(caught.value)


def test_a_policy_a_layer_does_not_support_is_refused_even_outside_the_choices() -> None:
    space = build_space((a_layer("a", quantizations=(FLOAT32,)),), SpaceSettings(choices={"sparsity": (0.0,)}))
    assert space.resolve({"layers": {"a": {"sparsity": 0.42}}})["a"].sparsity == 0.42
    with pytest.raises(ConfigurationError, match="Layer 'a' cannot be stored as int8"):
        space.resolve({"layers": {"*": {"quantization": "int8"}}})


# Choices


def not_all_cluster(layers: tuple[LayerSpec, ...]) -> bool:
    return any(not spec.clusterable or spec.distinct <= 32 for spec in layers)


@st.composite
def spaces_with_choices(draw: st.DrawFn) -> tuple[Space, dict[str, int]]:
    """Draw a space, sometimes with a group, and with choices that normal forms make equal."""
    layers = draw(models)
    clusters = draw(st.sampled_from([(None, 32, 8), (None,)]) if not_all_cluster(layers) else st.just((32, 20, 8)))
    drawn = {"sparsity": (0.0, 0.1, 0.2, 0.9), "clusters": clusters, "quantization": tuple(Quantization)}
    groups = ((layers[0].name, layers[-1].name),) if draw(st.booleans()) else ()
    try:
        space = build_space(layers, SpaceSettings(choices=drawn, groups=groups))
    except ConfigurationError:
        space = build_space(layers, SpaceSettings())
    return space, {parameter.name: draw(st.integers(0, len(parameter.choices) - 1)) for parameter in space.parameters}


@given(spaces_with_choices())
def test_a_choice_gives_a_resolved_policy(drawn: tuple[Space, dict[str, int]]) -> None:
    space, choice = drawn
    policy = space.policy(choice)
    assert space.resolve(policy.to_document()) == policy
    assert list(policy) == [spec.name for spec in space.layers]


@given(spaces_with_choices())
def test_the_choice_of_a_policy_gives_that_policy(drawn: tuple[Space, dict[str, int]]) -> None:
    space, choice = drawn
    policy = space.policy(choice)
    found = space.choice_of(policy)
    assert found is not None
    assert space.policy(found) == policy


def test_a_choice_that_means_the_same_as_another_spelling_is_found() -> None:
    choices = {"clusters": (32, 8), "sparsity": (0.0,), "quantization": (INT4, FLOAT32)}
    space = build_space((a_layer("a"),), SpaceSettings(choices=choices))
    # 32 clusters are none in int4
    assert space.choice_of(space.resolve({"layers": {"a": {"quantization": "int4"}}})) is not None
    unequal = (a_layer("a", weights=2, distinct=2), a_layer("b"))
    only = {"sparsity": (0.0, 0.1, 0.2), "clusters": (None,), "quantization": (FLOAT32,)}
    space = build_space(unequal, SpaceSettings(groups=(("*",),), choices=only))
    # which sparsity it is shows in the larger layer of the group alone
    assert [space.choice_of(policy) for policy in space.policies()] == [{"a.sparsity": index} for index in range(3)]


def test_a_policy_beyond_the_choices_has_none() -> None:
    assert SPACE.choice_of(SPACE.resolve({"layers": {"stem": {"sparsity": 0.42}}})) is None
    assert SPACE.choice_of(SPACE.resolve({"layers": {"stem": {"clusters": 7}}})) is None
    grouped = build_space(MODEL, SpaceSettings(groups=(("block*",),)))
    assert grouped.choice_of(grouped.resolve({"layers": {"block1*": {"sparsity": 0.5}}})) is None


@given(models, layer_policies)
@settings(max_examples=50)
def test_the_nearest_policy_to_a_choice_of_every_layer_is_in_the_space(
    layers: tuple[LayerSpec, ...], wish: LayerPolicy
) -> None:
    space = build_space(layers, SpaceSettings())
    policy, choice = space.nearest(wish)
    assert space.policy(choice) == policy


@pytest.mark.parametrize(
    ("wish", "nearest"),
    [
        (LayerPolicy(sparsity=0.62), LayerPolicy(sparsity=0.7)),
        (LayerPolicy(clusters=12), LayerPolicy(clusters=16)),
        (LayerPolicy(clusters=1000), LayerPolicy()),
        (LayerPolicy(quantization=INT8), LayerPolicy(quantization=INT8)),
        (LayerPolicy(quantization=Quantization.INT8_QAT), LayerPolicy(quantization=INT8)),
        (LayerPolicy(quantization=Quantization.FLOAT16), LayerPolicy()),
    ],
)
def test_a_wish_is_snapped_to_the_nearest_choice(wish: LayerPolicy, nearest: LayerPolicy) -> None:
    space = build_space((a_layer("a", quantizations=(FLOAT32, INT8)),), SpaceSettings())
    assert space.nearest(wish)[0]["a"] == nearest


def test_all_policies_are_as_many_as_there_are_combinations() -> None:
    choices = {"sparsity": (0.0, 0.5), "clusters": (None, 8), "quantization": (FLOAT32, INT8, INT4)}
    space = build_space(MODEL[:2], SpaceSettings(choices=choices))
    policies = list(space.policies())
    assert len(policies) == space.cardinality == 144
    assert len(set(policies)) == 144


def test_the_smallest_policies_take_every_knob_to_its_end() -> None:
    smallest = SPACE.smallest()
    assert {policy["head"].quantization for policy in smallest} == set(Quantization)
    for policy in smallest:
        assert {decided.sparsity for decided in policy.values()} == {0.9}
        assert {decided.clusters for decided in policy.values()} in ({None}, {4})


def test_knobs_that_are_not_searched_stay_in_the_smallest_policies() -> None:
    choices = {"sparsity": (0.5,), "clusters": (None,), "quantization": (INT8,)}
    [policy] = build_space(MODEL, SpaceSettings(choices=choices)).smallest()
    assert set(policy.values()) == {LayerPolicy(sparsity=0.5, quantization=INT8)}
