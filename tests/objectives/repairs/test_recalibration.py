"""Fresh BatchNorm statistics: of the batch, under the weights as they are, and nothing else."""

import numpy as np
import pytest

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.repairs.recalibration import _SAMPLES, Recalibration

pytestmark = pytest.mark.tensorflow

ROWS = np.random.default_rng(0).normal(2, 3, (300, 6)).astype(np.float32)


def layers_between(*between):
    """Return a dense layer, the layers given and two norms: an output that tells the statistics of both."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(4, name="dense")(inputs)
    for layer in between:
        x = layer(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.BatchNormalization(name="second")(keras.layers.Dense(3, name="next")(x))
    return keras.Model(inputs, x)


def pruned(model, layer="dense"):
    """Return the model's weights, half of one kernel zeroed."""
    weights = read_weights(model)
    kernel, *others = weights[layer]
    kernel = np.where(np.arange(kernel.size).reshape(kernel.shape) % 2, kernel, 0).astype(np.float32)
    return {**weights, layer: [kernel, *others]}


def copied(weights):
    return {name: [array.copy() for array in arrays] for name, arrays in weights.items()}


def require_equal(first, second):
    assert list(first) == list(second)
    for name in first:
        for one, other in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_the_statistics_become_those_of_the_batch_under_the_weights():
    model = layers_between()
    weights = pruned(model)
    found = Recalibration(model, [ROWS])(weights)
    kernel, bias = weights["dense"]
    reached = ROWS @ kernel + bias
    gamma, beta, mean, variance = found["norm"]
    np.testing.assert_allclose(mean, reached.mean(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(variance, reached.var(axis=0), rtol=0.01)
    # a later norm sees what the one before gives with its new statistics
    normed = (reached - reached.mean(axis=0)) / np.sqrt(reached.var(axis=0) + 1e-3) * gamma + beta
    kernel, bias = weights["next"]
    reached = np.maximum(normed, 0) @ kernel + bias
    np.testing.assert_allclose(found["second"][2], reached.mean(axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["second"][3], reached.var(axis=0), rtol=0.01)


def test_nothing_but_moving_statistics_changes():
    model = layers_between()
    weights = pruned(model)
    before = copied(weights)
    found = Recalibration(model, [ROWS])(weights)
    require_equal(weights, before)
    for name, arrays in found.items():
        kept = 2 if name in ("norm", "second") else len(arrays)
        for one, other in zip(arrays[:kept], weights[name], strict=False):
            np.testing.assert_array_equal(one, other)
    assert not np.allclose(found["norm"][2], weights["norm"][2])


def test_the_model_itself_is_only_read():
    model = layers_between()
    before = copied(read_weights(model))
    Recalibration(model, [ROWS])(pruned(model))
    require_equal(read_weights(model), before)


def test_the_same_weights_give_the_same_statistics_to_the_last_bit_whatever_came_between():
    model = layers_between(keras.layers.Dropout(0.5))
    recalibrate = Recalibration(model, [ROWS])
    first = copied(recalibrate(pruned(model)))
    recalibrate(pruned(model, "next"))
    require_equal(recalibrate(pruned(model)), first)
    require_equal(Recalibration(model, [ROWS])(pruned(model)), first)


@pytest.mark.parametrize(
    "noise", [keras.layers.Dropout(0.5), keras.layers.GaussianNoise(3.0)], ids=["dropout", "noise"]
)
def test_what_is_random_in_training_stays_inactive(noise):
    plain, noisy = layers_between(), layers_between(noise)
    expected = Recalibration(plain, [ROWS])(pruned(plain))
    found = Recalibration(noisy, [ROWS])(pruned(noisy))
    for name in ("norm", "second"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_a_model_without_batch_norm_keeps_its_weights():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, keras.layers.LayerNormalization()(keras.layers.Dense(4, name="dense")(inputs)))
    weights = pruned(model)
    assert Recalibration(model, [ROWS])(weights) is weights


def test_several_inputs_are_read_in_order():
    keras.utils.set_random_seed(1)
    first, second = keras.Input((6,), name="a"), keras.Input((2,), name="b")
    x = keras.layers.Concatenate()([keras.layers.Dense(4, name="dense")(first), second])
    model = keras.Model([first, second], keras.layers.BatchNormalization(name="norm")(x))
    others = np.random.default_rng(1).normal(7, 1, (300, 2)).astype(np.float32)
    found = Recalibration(model, [ROWS, others])(read_weights(model))
    np.testing.assert_allclose(found["norm"][2][4:], others.mean(axis=0), rtol=1e-4)


def test_one_batch_is_enough_and_the_rest_of_the_data_is_not_read():
    model = layers_between()
    many = np.concatenate([ROWS, ROWS])[:_SAMPLES]
    outliers = np.full((50, 6), 1e6, np.float32)
    require_equal(
        Recalibration(model, [np.concatenate([many, outliers])])(pruned(model)),
        Recalibration(model, [many])(pruned(model)),
    )
