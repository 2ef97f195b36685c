import pytest
from hypothesis import given

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.layers import LayerSpec, under_recipe
from paretune.spaces.policies.normal_form import check_possible, normal_form
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization
from tests.spaces.strategies import layer_policies, layer_specs


def a_layer(**changed: object) -> LayerSpec:
    settings = {
        "name": "conv",
        "kind": "Conv2D",
        "weight_shape": (10, 10),
        "weights": 100,
        "distinct": 100,
        "quantizations": tuple(Quantization),
    }
    return LayerSpec(**{**settings, **changed})  # type: ignore[arg-type]


@given(layer_specs(), layer_policies)
def test_the_normal_form_is_reached_in_one_step(spec: LayerSpec, decided: LayerPolicy) -> None:
    normal = normal_form(spec, decided)
    assert normal_form(spec, normal) == normal


@given(layer_specs(), layer_policies)
def test_the_normal_form_asks_for_the_same_zeros_and_format(spec: LayerSpec, decided: LayerPolicy) -> None:
    normal = normal_form(spec, decided)
    assert spec.zeros(normal.sparsity) == min(spec.zeros(decided.sparsity), spec.weights - 1)
    assert normal.quantization is decided.quantization


@given(layer_specs(), layer_policies)
def test_clusters_are_dropped_only_where_they_change_nothing(spec: LayerSpec, decided: LayerPolicy) -> None:
    normal = normal_form(spec, decided)
    if normal.clusters is not None:
        assert decided.clusters is not None
        assert normal.clusters == max(decided.clusters, 3 if normal.sparsity else 2) < spec.distinct
    elif decided.clusters is not None:
        kept = spec.weights - spec.zeros(normal.sparsity)
        levels = decided.quantization.weight_levels or spec.distinct
        asked = max(decided.clusters, 3 if normal.sparsity else 2)
        assert asked >= min(spec.distinct, kept + (kept < spec.weights), levels)


@pytest.mark.parametrize(
    ("weights", "sparsity", "zeros"), [(100, 0.5, 50), (7, 0.5, 3), (10, 0.25, 2), (10, 0.0, 0), (3, 0.99, 3)]
)
def test_zeros_are_counted_as_pruning_counts_them(weights: int, sparsity: float, zeros: int) -> None:
    # n - round(n * (1 - s)), with Python's rounding to even
    assert a_layer(weights=weights).zeros(sparsity) == zeros


def test_a_layer_always_keeps_a_weight() -> None:
    assert normal_form(a_layer(weights=3), LayerPolicy(sparsity=0.99)).sparsity == pytest.approx(2 / 3)


def test_a_cluster_count_no_format_can_tell_apart_becomes_none() -> None:
    layer = a_layer(weights=10_000, distinct=10_000)
    assert normal_form(layer, LayerPolicy(clusters=16, quantization=Quantization.INT4)).clusters is None
    assert normal_form(layer, LayerPolicy(clusters=14, quantization=Quantization.INT4)).clusters == 14
    assert normal_form(layer, LayerPolicy(clusters=255, quantization=Quantization.INT8)).clusters is None
    assert normal_form(layer, LayerPolicy(clusters=255)).clusters == 255


def test_two_clusters_of_a_pruned_layer_are_three_when_chosen_and_an_error_when_asked() -> None:
    layer, two = a_layer(), LayerPolicy(sparsity=0.5, clusters=2)
    assert normal_form(layer, two).clusters == 3
    assert normal_form(layer, LayerPolicy(clusters=2)).clusters == 2
    with pytest.raises(ConfigurationError, match=r"at least 3 \(zero is one\), got 2 \(layer 'conv'\)"):
        check_possible(layer, two)
    check_possible(layer, LayerPolicy(sparsity=0.001, clusters=2))  # too few weights for a zero


def test_what_a_layer_does_not_support_is_told_with_the_doctors_reason() -> None:
    layer = a_layer(
        prunable=False,
        clusterable=False,
        quantizations=(Quantization.FLOAT32,),
        refusals={"sparsity": "tfmot does not prune it.", "int4": "it would silently stay float."},
    )
    for decided, said in (
        (LayerPolicy(sparsity=0.5), "Layer 'conv' cannot be pruned: tfmot does not prune it."),
        (LayerPolicy(clusters=4), "Layer 'conv' cannot be clustered: Conv2D layers do not support it."),
        (LayerPolicy(quantization=Quantization.INT4), "cannot be stored as int4: it would silently stay float."),
    ):
        with pytest.raises(ConfigurationError) as caught:
            check_possible(layer, decided)
        assert said in str(caught.value)
    check_possible(layer, LayerPolicy())


def test_a_pattern_with_zeros_of_its_own_makes_smaller_sparsities_one_and_the_same() -> None:
    fits, does_not = a_layer(pattern_floors={"2:4": 0.5}), a_layer(name="stem")
    patterned, free = under_recipe((fits, does_not), pattern="2:4", decomposition=CHANNELS)
    normal = {normal_form(patterned, LayerPolicy(sparsity=sparsity)) for sparsity in (0.1, 0.3, 0.5)}
    assert normal == {LayerPolicy(sparsity=0.5)}
    assert normal_form(patterned, LayerPolicy()) == LayerPolicy()
    assert normal_form(patterned, LayerPolicy(sparsity=0.7)).sparsity == pytest.approx(0.7)
    assert normal_form(free, LayerPolicy(sparsity=0.3)).sparsity == pytest.approx(0.3)
    (blocks,) = under_recipe((fits,), pattern="1x4", decomposition=CHANNELS)
    assert normal_form(blocks, LayerPolicy(sparsity=0.3)).sparsity == pytest.approx(0.3)
