"""What is tried of the hyperparameters that Keras Tuner declares."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.objectives.architectures.choices import choices_of

pytestmark = pytest.mark.tensorflow


def declared(kind: str, *arguments: Any, **settings: Any) -> Any:
    from keras_tuner import HyperParameters

    hp = HyperParameters()
    getattr(hp, kind)("x", *arguments, **settings)
    return hp.space[0]


@pytest.mark.parametrize(
    ("kind", "arguments", "settings", "choices"),
    [
        ("Choice", (["relu", "tanh"],), {"default": "tanh"}, ("relu", "tanh")),
        ("Choice", ([3, 1, 2],), {}, (3, 1, 2)),
        ("Boolean", (), {"default": True}, (False, True)),
        ("Fixed", (0.5,), {}, (0.5,)),
        ("Int", (1, 3), {}, (1, 2, 3)),
        ("Int", (8, 48), {"step": 8}, (8, 16, 24, 32, 40, 48)),
        ("Int", (0, 100), {}, (0, 20, 40, 60, 80, 100)),
        ("Int", (0, 100), {"default": 7}, (0, 7, 20, 40, 60, 80, 100)),
        ("Int", (1, 10**15), {"step": 10**14}, (1, *(1 + n * 10**14 for n in (2, 4, 5, 7, 9)))),
        ("Int", (4, 64), {"step": 2, "sampling": "log"}, (4, 8, 16, 32, 64)),
        ("Int", (1, 10_000), {"sampling": "log"}, (1, 10, 100, 1000, 10_000)),
        ("Int", (1, 5), {"sampling": "log"}, (1, 2, 3, 5)),
        ("Int", (1234567, 12345678), {"sampling": "log"}, (1234567, 2195400, 3904000, 6942500, 12345678)),
        ("Float", (0.0, 0.5), {}, (0.0, 0.125, 0.25, 0.375, 0.5)),
        ("Float", (0.0, 0.9), {"step": 0.3}, (0.0, 0.3, 0.6, 0.9)),
        ("Float", (1e-4, 1e-2), {"sampling": "log"}, (1e-4, 0.00031623, 1e-3, 0.0031623, 1e-2)),
        ("Float", (0.1, 0.9), {"default": 1 / 3}, (0.1, 0.3, 1 / 3, 0.5, 0.7, 0.9)),
        ("Float", (2.0, 2.0), {}, (2.0,)),
    ],
)
def test_a_few_values_are_spread_as_the_hyperparameter_is_sampled(kind, arguments, settings, choices):
    got = choices_of(declared(kind, *arguments, **settings))
    assert got == choices
    assert [type(value) for value in got] == [type(value) for value in choices]


def test_values_near_the_upper_end_are_the_denser_ones_where_the_logarithm_is_reversed():
    got = choices_of(declared("Float", 1.0, 1000.0, sampling="reverse_log"))
    assert (got[0], got[-1]) == (1.0, 1000.0)
    gaps = [after - before for before, after in pairwise(got)]
    assert gaps == sorted(gaps, reverse=True)


@settings(deadline=None)
@given(
    low=st.floats(1e-6, 1e3),
    ratio=st.floats(1.0, 1e6),
    share=st.floats(0, 1),
    sampling=st.sampled_from(["linear", "log", "reverse_log"]),
)
def test_the_default_is_a_choice_and_all_are_within_the_range(low, ratio, share, sampling):
    high = low * ratio
    default = min(high, low + share * (high - low))
    got = choices_of(declared("Float", low, high, sampling=sampling, default=default))
    assert default in got
    assert low <= got[0] <= got[-1] <= high
    assert list(got) == sorted(set(got))
    assert len(got) <= 6
