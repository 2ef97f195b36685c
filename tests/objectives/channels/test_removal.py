"""What is removed, and that nothing depends on it any more."""

import numpy as np
import pytest

from paretune.objectives.channels.ranking import rank_channels
from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.spaces.policies.policy import LayerPolicy, Policy
from tests.objectives.channels.test_groups import varied

pytestmark = pytest.mark.tensorflow

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.normal(size=(40, 6, 6, 2)).astype(np.float32)
NARROW = Policy(
    tuple(
        (name, LayerPolicy(channels=channels))
        for name, channels in {
            "stem": 0.5,
            "outer": 0.5,
            "inner": 1.0,
            "left": 0.25,
            "right": 1.0,
            "hidden": 0.6,
        }.items()
    )
)


@pytest.fixture(scope="module")
def weights():
    """Random ones, biases and norms included."""
    return {
        name: [GENERATOR.normal(size=array.shape).astype(np.float32) for array in arrays]
        for name, arrays in read_weights(varied()).items()
    }


@pytest.fixture(scope="module")
def removal(weights):
    return ChannelRemover(varied(), weights, [IMAGES]).removal(NARROW, "l1")


def test_the_kept_share_of_channels_stays_in_every_layer_of_a_group(removal):
    kept = removal.kept()
    assert {name: int(mask.sum()) for name, mask in kept.items()} == {"stem": 4, "outer": 4, "left": 1, "hidden": 3}
    assert (kept["stem"] == kept["outer"]).all()
    assert removal.narrowed == {"stem", "norm", "inner", "outer", "depthwise", "left", "right", "hidden", "head"}


def test_the_outputs_do_not_depend_on_what_makes_removed_channels(removal, weights):
    """So that it can be taken out of the file: only what reads them counts, and that is zero."""
    without = removal.without(weights)
    noisy = {name: [array.copy() for array in arrays] for name, arrays in without.items()}
    for name, mask in removal.kept().items():
        for array in noisy[name]:  # kernel and bias
            array[..., ~mask] += GENERATOR.normal(size=array[..., ~mask].shape).astype(np.float32)
    before, after = (fresh_copy(varied(), each).predict(IMAGES, verbose=0) for each in (without, noisy))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    assert not np.allclose(before, fresh_copy(varied(), weights).predict(IMAGES, verbose=0), atol=1e-3)


def test_a_policy_that_keeps_all_channels_changes_nothing(weights):
    whole = ChannelRemover(varied(), weights, [IMAGES]).removal(Policy((("stem", LayerPolicy()),)), "l1")
    assert whole.kept() == {}
    assert whole.narrowed == frozenset()
    assert all(
        (one == other).all()
        for name, arrays in whole.without(weights).items()
        for one, other in zip(arrays, weights[name], strict=True)
    )


def two_layers():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(keras.layers.Dense(4, "relu", name="first")(inputs)))


def removed_first(criterion, kernel, bias, inputs):
    model = two_layers()
    weights = {
        "first": [np.array(kernel, np.float32), np.array(bias, np.float32)],
        "head": [np.ones((4, 1)), np.zeros(1)],
    }
    model.get_layer("first").set_weights(weights["first"])
    channels = ChannelRemover(model, weights, [inputs]).channels
    (group,) = channels.groups
    ranking = rank_channels(criterion, model, channels, weights, [inputs])["first"]
    return [group.orders[0].tolist().index(label) for label in ranking.tolist()]


def test_the_filters_with_the_smallest_norms_go_first():
    kernel = [[3, -1, 0, 2], [3, -1, 0.5, 2], [3, -1, 0, 2]]
    assert removed_first("l1", kernel, np.zeros(4), np.ones((10, 3), np.float32)) == [2, 1, 3, 0]


def test_the_channels_that_tell_samples_apart_least_go_first():
    rows = np.random.default_rng(0).uniform(size=(500, 3)).astype(np.float32)
    # never active; always the same; active for a few; spread out, by weights that are smaller than all others
    kernel = [[-5, 0, 2, 0.1], [-5, 0, 2, 0.1], [-5, 0, 2, 0.1]]
    order = removed_first("entropy", kernel, [0, 7, -4.5, 0], rows)
    assert set(order[:2]) == {0, 1}
    assert order[2:] == [2, 3]
