"""Removed channels multiply what other decisions add up to."""

import numpy as np
import pytest

from paretune.search.additive.encoding import Encoding
from paretune.search.additive.profile import Profile, ProfilePlan, read_profile
from paretune.search.additive.solving import solve
from paretune.search.additive.widths import Widths
from paretune.search.learning.predictor import Predictor
from paretune.search.settings import SearchProblem
from paretune.spaces.policies.layers import LayerSpec, kept_share
from paretune.spaces.policies.policy import Policy, Quantization
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.proxy import Proxy
from tests.fakes import ACCURACY, LATENCY, SIZE

OBJECTIVES = (ACCURACY, SIZE, LATENCY)
FORMATS = (Quantization.FLOAT32, Quantization.INT8)


def a_layer(name: str, group: str, reads: tuple[str, ...], weights: int) -> LayerSpec:
    return LayerSpec(
        name=name,
        kind="Conv2D",
        weight_shape=(weights,),
        weights=weights,
        distinct=weights,
        channels=16 if group else 0,
        channel_group=group,
        reads=reads,
        quantizations=FORMATS,
    )


#: The second layer reads the first and is joined with it by an addition; the last must keep its channels.
LAYERS = (
    a_layer("first", "first", (), 1000),
    a_layer("second", "first", ("first",), 4000),
    a_layer("head", "", ("first",), 2000),
)
SPACE = build_space(
    LAYERS,
    SpaceSettings(choices={"channels": (1, 0.5), "sparsity": (0,), "clusters": (None,), "quantization": FORMATS}),
)
ENCODING = Encoding(SPACE)
DESCRIPTION = ModelDescription(
    architecture="a" * 64, layers=LAYERS, objectives={each.name: each for each in OBJECTIVES}
)


def measured(policy: Policy) -> Proxy:
    """A file whose bytes and time follow its weights; int8 takes a quarter, and costs some accuracy, as channels do."""
    layer_bytes = {
        spec.name: round(spec.weights * kept_share(spec, policy) * policy[spec.name].quantization.weight_bits / 8)
        for spec in LAYERS
    }
    work = sum(spec.weights * kept_share(spec, policy) for spec in LAYERS) / sum(spec.weights for spec in LAYERS)
    loss = 0.1 + sum(
        0.02 * (decided.quantization is Quantization.INT8) + 0.1 * (decided.channels < 1) for decided in policy.values()
    )
    values = {
        "accuracy": 1 - loss,
        "loss": loss,
        "size_bytes": 500.0 + sum(layer_bytes.values()),
        "latency_ratio": work,
    }
    return Proxy(base="a", policy=policy, values=values, layer_bytes=layer_bytes, seconds=0.1)


@pytest.fixture(scope="module")
def profile() -> Profile:
    plan = ProfilePlan(ENCODING)
    found = read_profile(plan, {policy.digest: measured(policy) for policy in plan.policies()}, "accuracy", 1)
    assert found is not None
    return found


def every_row() -> np.ndarray:
    return np.array(
        [ENCODING.row_of(choice) for choice in map(SPACE.choice_of, SPACE.policies()) if choice is not None]
    )


def test_how_wide_layers_are_is_a_unit_of_its_own() -> None:
    [width] = [unit for unit in ENCODING.units if unit.is_width]
    assert width.layers == ("first", "second")
    assert len(ENCODING.units) == 4


def test_a_kernel_loses_what_it_makes_and_what_it_reads() -> None:
    widths = Widths(ENCODING)
    [column] = widths.columns
    narrow = ENCODING.base
    narrow[column] = 1
    shares = {
        unit.name: widths.of_unit(number, narrow[None])[0]
        for number, unit in enumerate(ENCODING.units)
        if not unit.is_width
    }
    assert shares == {"first": 0.5, "second": 0.25, "head": 0.5}


def test_sizes_and_latencies_of_narrow_models_are_predicted_in_every_format(profile: Profile) -> None:
    problem = SearchProblem(description=DESCRIPTION, space=SPACE, objectives=OBJECTIVES)
    predictor = Predictor(problem, ENCODING, profile.base.values)
    predictor.use_profile(profile)
    rows = every_row()
    guess = predictor.predict(rows).mean
    truth = [measured(ENCODING.policy_of(row)).values for row in rows.tolist()]
    np.testing.assert_allclose(2 ** guess[:, 1], [values["size_bytes"] for values in truth], rtol=1e-3)
    np.testing.assert_allclose(guess[:, 2], [values["latency_ratio"] for values in truth], rtol=1e-9)


def test_the_solved_problem_knows_that_narrow_layers_save_less_in_fewer_bits(profile: Profile) -> None:
    front = solve(ENCODING, profile, OBJECTIVES)
    truth = [measured(ENCODING.policy_of(row)).values for row in front.options.tolist()]
    np.testing.assert_allclose(front.costs[:, 1], [values["size_bytes"] for values in truth], rtol=1e-3)
    widths = {tuple(row)[Widths(ENCODING).columns[0]] for row in front.options.tolist()}
    assert widths == {0, 1}
    assert not front.is_exact
