"""Finding hyperparameters by building models: no real ones are needed for that."""

from collections.abc import Callable
from typing import Any

import pytest

from paretune.objectives.architectures.hypermodel import Hypermodel
from paretune.objectives.architectures.hyperspace import declare_hyperspace
from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter, default_values, normal_values
from paretune.spaces.errors import ModelRefused

pytestmark = pytest.mark.tensorflow


def declare(build: Callable[[Any], Any]) -> dict[str, Hyperparameter]:
    return {each.name: each for each in declare_hyperspace(Hypermodel("m:build", build))}


def refused(build: Callable[[Any], Any]) -> str:
    with pytest.raises(ModelRefused) as caught:
        declare(build)
    assert "\n" not in str(caught.value)
    assert "'m:build'" in str(caught.value)
    return str(caught.value)


def test_choices_and_defaults_come_from_what_is_declared_and_what_is_fixed_stays_out():
    def build(hp: Any) -> None:
        hp.Choice("width", [8, 16, 32], default=16)
        hp.Fixed("dropout", 0.1)
        hp.Int("only", 3, 3)
        hp.Boolean("bias")
        with hp.name_scope("train"):
            hp.Float("rate", 1e-4, 1e-2, sampling="log", default=2e-3)

    assert list(declare(build).values()) == [
        Hyperparameter(name="width", choices=(8, 16, 32), default=16),
        Hyperparameter(name="bias", choices=(False, True), default=False),
        Hyperparameter(name="train/rate", choices=(1e-4, 0.00031623, 1e-3, 2e-3, 0.0031623, 1e-2), default=2e-3),
    ]


def test_every_conditional_scope_is_entered_and_its_parents_come_first():
    def build(hp: Any) -> None:
        kind = hp.Choice("kind", ["dense", "conv", "none"])
        with hp.conditional_scope("kind", ["conv"]):
            if kind == "conv":
                pooled = hp.Boolean("pooled")
                with hp.conditional_scope("pooled", [True]):
                    if pooled:
                        hp.Choice("pool", [2, 3])
        with hp.conditional_scope("kind", ["none"]):
            if kind == "none":
                hp.Choice("scale", [1, 2])
        with hp.conditional_scope("kind", ["dense", "conv"]):
            hp.Int("units", 1, 2)

    found = declare(build)
    assert {name: each.conditions for name, each in found.items()} == {
        "kind": {},
        "units": {"kind": ("dense", "conv")},
        "pooled": {"kind": ("conv",)},
        "scale": {"kind": ("none",)},
        "pool": {"kind": ("conv",), "pooled": (True,)},
    }
    for number, each in enumerate(found.values()):
        assert set(each.conditions) <= set(list(found)[:number])
    values = {"kind": "dense", "units": 1, "pooled": OFF, "scale": OFF, "pool": OFF}
    assert default_values(tuple(found.values())) == values


def test_what_only_some_choices_declare_matters_only_with_them():
    def build(hp: Any) -> None:
        for layer in range(hp.Int("layers", 1, 3)):
            hp.Choice(f"units_{layer}", [4, 8])
        if not hp.Boolean("plain"):
            hp.Choice("extra", ["a", "b"])

    found = declare(build)
    assert {name: each.conditions for name, each in found.items()} == {
        "layers": {},
        "units_0": {},
        "plain": {},
        "extra": {"plain": (False,)},
        "units_1": {"layers": (2, 3)},
        "units_2": {"layers": (3,)},
    }
    values = {"layers": 2, "units_0": 4, "plain": True, "extra": "b", "units_1": 8, "units_2": 8}
    assert normal_values(tuple(found.values()), values) == values | {"extra": OFF, "units_2": OFF}


def test_a_parent_that_leaves_no_choice_is_no_condition():
    def build(hp: Any) -> None:
        hp.Fixed("kind", "conv")
        hp.Choice("size", [3, 5], parent_name="kind", parent_values=["conv"])
        hp.Choice("units", [3, 5], parent_name="kind", parent_values=["dense"])

    assert declare(build) == {"size": Hyperparameter(name="size", choices=(3, 5), default=3)}


def test_one_name_in_two_scopes_matters_in_both_if_the_choices_are_the_same():
    def build(hp: Any) -> None:
        hp.Choice("kind", ["dense", "conv", "none"])
        for kind in ("dense", "conv"):
            hp.Choice("units", [4, 8], parent_name="kind", parent_values=[kind])

    assert declare(build)["units"].conditions == {"kind": ("dense", "conv")}


def test_one_name_with_different_choices_is_refused():
    def build(hp: Any) -> None:
        hp.Choice("kind", ["dense", "conv"])
        hp.Choice("units", [4, 8], parent_name="kind", parent_values=["dense"])
        hp.Choice("units", [16, 32], parent_name="kind", parent_values=["conv"])

    assert refused(build) == (
        "Model 'm:build': hyperparameter 'units' must have the same choices wherever it is declared, got 4, 8 and "
        "16, 32; give each a name of its own."
    )


def test_names_of_settings_of_the_recipe_are_refused():
    assert "must have another name" in refused(lambda hp: hp.Choice("recipe.prune.epochs", [1, 2]))


def test_a_function_that_raises_is_refused():
    def build(hp: Any) -> None:
        raise RuntimeError("no weights\nhere")

    assert refused(build) == "Model 'm:build': the function raised RuntimeError: no weights"


def test_a_branch_that_raises_is_refused_but_a_choice_that_raises_is_for_its_trial_to_tell():
    def in_scope(hp: Any) -> None:
        kind = hp.Choice("kind", ["dense", "conv"])
        with hp.conditional_scope("kind", ["conv"]):
            if kind == "conv":
                raise ValueError("too small")

    assert "the function raised ValueError: too small" in refused(in_scope)

    def by_choice(hp: Any) -> None:
        if hp.Choice("size", [3, 99]) == 99:
            raise ValueError("too large")

    assert declare(by_choice)["size"].choices == (3, 99)


def test_what_no_choice_leads_to_is_left_out():
    def build(hp: Any) -> None:
        hp.Choice("kind", ["dense", "conv"])
        hp.Choice("units", [4, 8], parent_name="kind", parent_values=["recurrent"])

    assert list(declare(build)) == ["kind"]


def test_a_model_without_hyperparameters_has_an_empty_hyperspace():
    assert declare(lambda hp: None) == {}
