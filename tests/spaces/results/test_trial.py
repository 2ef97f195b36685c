from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement, read_fidelity
from paretune.spaces.results.trial import Budget, Trial, TrialState
from tests.spaces.strategies import layer_policies, names

faults = st.lists(st.text(max_size=20), max_size=2).map(tuple)
layers = st.builds(
    LayerFidelity,
    layer=names,
    requested=layer_policies,
    weights=st.integers(0, 10_000),
    zeros=st.integers(0, 10_000),
    rounding_zeros=st.integers(0, 10_000),
    distinct=st.integers(0, 10_000),
    distinct_scope=st.sampled_from(["tensor", "channel"]),
    stored_as=st.sampled_from(["int8", "float32"]),
    faults=faults,
)
fidelities = st.lists(layers, max_size=3).map(lambda found: Fidelity(tuple(found)))


@given(fidelities)
def test_fidelity_reads_back_equal(fidelity: Fidelity) -> None:
    assert read_fidelity(fidelity.to_document()) == fidelity


@given(fidelities)
def test_fidelity_is_clean_when_no_layer_has_a_fault(fidelity: Fidelity) -> None:
    assert fidelity.is_clean is all(not layer.faults for layer in fidelity.layers)
    assert len(fidelity.faults) == sum(len(layer.faults) for layer in fidelity.layers)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_measurement_holds_finite_values_only(value: float) -> None:
    with pytest.raises(ValueError, match="`accuracy` must be finite"):
        Measurement(values={"accuracy": value})


def test_artifacts_are_neither_compared_nor_printed() -> None:
    light = Measurement(values={"accuracy": 0.9})
    heavy = replace(light, artifacts={"model.tflite": b"x" * 1000})
    assert heavy == light
    assert "xxx" not in repr(heavy)


def test_a_trial_was_trained_when_it_spent_steps() -> None:
    candidate = Candidate(architecture="a", recipe=Recipe(), policy=Policy((("conv", LayerPolicy()),)))
    trial = Trial(number=1, candidate=candidate, rung=Rung.FULL, state=TrialState.FAILED, origin="tpe")
    assert not trial.was_trained
    assert not replace(trial, measurement=Measurement(values={})).was_trained
    assert replace(trial, measurement=Measurement(values={}, training_steps=1)).was_trained


@pytest.mark.parametrize(
    ("spent", "reason"),
    [
        ({"trials": 9, "minutes": 4.9, "training_steps": 99}, ""),
        ({"trials": 10, "minutes": 0, "training_steps": 0}, "10 trials"),
        ({"trials": 0, "minutes": 5.0, "training_steps": 0}, "5 minutes"),
        ({"trials": 0, "minutes": 0, "training_steps": 100}, "100 training steps"),
    ],
)
def test_a_budget_says_which_limit_is_reached(spent: dict[str, float], reason: str) -> None:
    assert Budget(trials=10, minutes=5.0, training_steps=100).exhausted_by(**spent) == reason  # type: ignore[arg-type]


@given(st.integers(0, 10**9), st.floats(0, 1e9), st.integers(0, 10**9))
def test_an_open_budget_is_never_exhausted(trials: int, minutes: float, steps: int) -> None:
    assert Budget().exhausted_by(trials=trials, minutes=minutes, training_steps=steps) == ""


@pytest.mark.parametrize("limits", [{"trials": 0}, {"minutes": -1.0}, {"training_steps": 0}, {"minutes": float("nan")}])
def test_a_budget_is_above_zero(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"`{next(iter(limits))}` of the budget must be above 0"):
        Budget(**limits)  # type: ignore[arg-type]
