import pytest

from paretune.spaces.candidates.hyperspace import (
    OFF,
    Hyperparameter,
    all_values,
    default_values,
    normal_values,
    read_values,
)
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe, StructureRecipe
from paretune.spaces.candidates.variant import (
    most_steps,
    recipe_hyperparameters,
    recipe_with,
    settings_without_strangers,
    values_of_model,
)
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.building import SpaceSettings

HYPERSPACE = (
    Hyperparameter(name="kind", choices=("small", "large"), default="small"),
    Hyperparameter(name="width", choices=(8, 16, 32), default=16, conditions={"kind": ("large",)}),
)


def test_what_does_not_matter_is_off() -> None:
    assert default_values(HYPERSPACE) == {"kind": "small", "width": OFF}
    assert normal_values(HYPERSPACE, {"kind": "large", "width": 8}) == {"kind": "large", "width": 8}


def test_equal_models_come_once() -> None:
    assert list(all_values(HYPERSPACE)) == [
        {"kind": "small", "width": OFF},
        {"kind": "large", "width": 8},
        {"kind": "large", "width": 16},
        {"kind": "large", "width": 32},
    ]


def test_an_empty_hyperspace_has_one_model() -> None:
    assert list(all_values(())) == [{}]


def test_values_are_read_and_what_is_not_named_keeps_its_default() -> None:
    assert read_values(HYPERSPACE, {"kind": "large"}) == {"kind": "large", "width": 16}
    assert read_values(HYPERSPACE, {"kind": "small", "width": OFF}) == {"kind": "small", "width": OFF}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"kidn": "large"}, "Unknown hyperparameter 'kidn'; known are kind, width. Did you mean 'kind'"),
        ({"kind": "huge"}, "Hyperparameter 'kind' must be one of small, large, got 'huge'"),
        ([8], "`hyperparameters` must be a mapping"),
    ],
)
def test_impossible_values_are_told(document: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_values(HYPERSPACE, document)


def test_only_numbers_are_ordered() -> None:
    assert [each.is_ordered for each in HYPERSPACE] == [False, True]
    assert not Hyperparameter(name="flag", choices=(False, True), default=True).is_ordered


def test_a_variant_changes_the_recipe_where_its_values_say_so() -> None:
    recipe = Recipe(
        structure=StructureRecipe(epochs=4.0),
        prune=PruneRecipe(epochs=2.0),
        cluster=ClusterRecipe(epochs=2.0),
        quantize=StageRecipe(epochs=2.0),
    )
    searched = recipe_hyperparameters(recipe, {"prune": {"epochs": (2.0, 3.0)}, "quantize": {"batch_size": (64, 32)}})
    assert [each.name for each in searched] == ["recipe.prune.epochs", "recipe.quantize.batch_size"]
    values = {"width": 8, "recipe.prune.epochs": 3.0, "recipe.quantize.batch_size": 32}
    changed = recipe_with(recipe, values)
    assert (changed.prune.epochs, changed.quantize.batch_size) == (3.0, 32)
    assert changed.cluster == recipe.cluster
    assert values_of_model(values) == {"width": 8}
    # the longest of each stage: 4 epochs of 10 batches, 3 of 10, 2 of 10, 2 of 20
    assert most_steps(recipe, searched, samples=640) == 40 + 30 + 20 + 40


def test_entries_about_layers_that_a_model_does_not_have_are_left_out() -> None:
    settings = SpaceSettings(
        layers={"block3_*": {"sparsity": (0.5,)}, "head": {"sparsity": (0.0,)}},
        groups=(("block1_a", "block3_a"), ("block3_b",)),
        pinned={"block3_b": {}, "stem": {}},
    )
    left = settings_without_strangers(settings, ["stem", "block1_a", "head"])
    assert dict(left.layers) == {"head": {"sparsity": (0.0,)}}
    assert left.groups == (("block1_a",),)
    assert dict(left.pinned) == {"stem": {}}
