"""What every knob promises, and what each says of its values."""

from typing import Any

import pytest

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob
from paretune.spaces.knobs.known import KNOBS
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.policies.quantization import Quantization

each_knob = pytest.mark.parametrize("knob", KNOBS.values(), ids=list(KNOBS))


@each_knob
def test_a_policy_without_decisions_holds_what_leaves_a_layer_as_it_was(knob: Knob) -> None:
    assert getattr(LayerPolicy(), knob.name) == knob.untouched


@each_knob
def test_nothing_is_milder_than_untouched(knob: Knob) -> None:
    assert knob.default_choices[0] == knob.untouched
    assert all(knob.strength(knob.untouched) <= knob.strength(choice) for choice in knob.default_choices)


@each_knob
def test_default_choices_stand_in_order(knob: Knob) -> None:
    assert knob.ordered(knob.default_choices[::-1]) == knob.default_choices


@each_knob
def test_every_choice_is_nearest_to_itself(knob: Knob) -> None:
    for index, choice in enumerate(knob.default_choices):
        assert knob.nearest(knob.default_choices, choice) == index


@each_knob
def test_what_is_written_is_read_back(knob: Knob) -> None:
    for choice in knob.default_choices:
        assert knob.read(choice if choice is None or isinstance(choice, int | float) else str(choice)) == choice


@each_knob
@pytest.mark.parametrize("value", [True, "much", -1, [0.5], float("nan")], ids=str)
def test_nonsense_is_refused_by_name(knob: Knob, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=knob.name):
        knob.read(value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("channels", 0.75, "75%"),
        ("channels", 1, "100%"),
        ("sparsity", 0.4983, "49.8%"),
        ("rank", None, "none"),
        ("clusters", 16, "16"),
        ("quantization", Quantization.INT8_QAT, "int8_qat"),
    ],
)
def test_values_are_told_as_people_read_them(name: str, value: Any, text: str) -> None:
    assert KNOBS[name].text(value) == text
