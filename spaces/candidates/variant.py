"""Variants: base models and recipes that one search decides policies for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter
from paretune.spaces.candidates.recipe import STAGES, Recipe, layers_under
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.building import SpaceSettings, build_space
from paretune.spaces.policies.space import Space
from paretune.spaces.results.evaluator import ModelDescription

_RECIPE = "recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A base model and a recipe.

    Attributes:
        values: Of all hyperparameters, in normal form: those that the model is built with, and those of the recipe.
        description: The model that they give.
    """

    values: Mapping[str, Any]
    description: ModelDescription


def recipe_hyperparameters(
    recipe: Recipe, choices: Mapping[str, Mapping[str, tuple[Any, ...]]]
) -> list[Hyperparameter]:
    """Return what is searched about a recipe, as hyperparameters named ``recipe.STAGE.SETTING``.

    Args:
        recipe: Of the baseline's variant: its values are the defaults.
        choices: Values by stage and setting, the default among them.
    """
    return [
        Hyperparameter(
            name=f"{_RECIPE}.{stage}.{setting}", choices=values, default=getattr(getattr(recipe, stage), setting)
        )
        for stage, settings in choices.items()
        for setting, values in settings.items()
    ]


def values_of_model(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a variant's values that its model is built with."""
    return {name: value for name, value in values.items() if not _is_of_recipe(name)}


def recipe_with(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with what a variant's values say of it."""
    changed: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if _is_of_recipe(name) and value != OFF:
            _, stage, setting = name.split(".")
            changed.setdefault(stage, {})[setting] = value
    return replace(recipe, **{stage: replace(getattr(recipe, stage), **new) for stage, new in changed.items()})


def most_steps(recipe: Recipe, searched: Sequence[Hyperparameter], samples: int) -> int:
    """Return the optimizer steps of a trial with every stage, under the choices that take the most."""
    total = 0
    for stage in STAGES:
        settings = getattr(recipe, stage)
        choices = {each.name: each.choices for each in searched}
        batch_size = min(choices.get(f"{_RECIPE}.{stage}.batch_size", (settings.batch_size,)))
        total += max(
            replace(settings, epochs=epochs, batch_size=batch_size).steps(samples, Rung.FULL)
            for epochs in choices.get(f"{_RECIPE}.{stage}.epochs", (settings.epochs,))
        )
    return total


def space_of(description: ModelDescription, settings: SpaceSettings, recipe: Recipe) -> Space:
    """Return the space of a variant's model; entries about layers that it does not have are left out.

    Args:
        description: The model.
        settings: What the experiment asks for.
        recipe: How its candidates are trained: its sparsity pattern and its decomposition leave some choices.

    Raises:
        ConfigurationError: If nothing can be searched about it.
    """
    layers = layers_under(recipe, description.layers)
    return build_space(layers, settings_without_strangers(settings, [layer.name for layer in layers]))


def settings_without_strangers(settings: SpaceSettings, names: Sequence[str]) -> SpaceSettings:
    """Return settings without the entries that match none of these layers: not every variant has all of them."""

    def matches(pattern: str) -> bool:
        return any(pattern == name or fnmatchcase(name, pattern) for name in names)

    groups = (tuple(pattern for pattern in group if matches(pattern)) for group in settings.groups)
    return replace(
        settings,
        layers={pattern: knobs for pattern, knobs in settings.layers.items() if matches(pattern)},
        groups=tuple(group for group in groups if group),
        pinned={pattern: knobs for pattern, knobs in settings.pinned.items() if matches(pattern)},
    )


def _is_of_recipe(name: str) -> bool:
    return name.startswith(f"{_RECIPE}.")
