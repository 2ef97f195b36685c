import numpy as np
import pytest

from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.macs import count_macs
from paretune.objectives.working_copy.rewrites import prepare_working_copy
from paretune.spaces.errors import ModelRefused

pytestmark = pytest.mark.tensorflow

layers = keras.layers


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def randomised(model):
    """Give every variable a value that is not its initial one, so that a forgotten copy shows."""
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(array.shape) * 0.5 + 0.1 for array in model.get_weights()])
    return model


def same_outputs(model, copied, *inputs) -> bool:
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    pairs = zip(tf.nest.flatten(model(given)), tf.nest.flatten(copied(given)), strict=True)
    return all(np.allclose(want, got, atol=1e-6) for want, got in pairs)


def kinds(model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


def test_a_sequential_model_becomes_functional_and_shares_nothing_with_its_source():
    model = randomised(keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2)], name="mine"))
    before, config = [array.copy() for array in model.get_weights()], model.get_config()
    copied = prepare_working_copy(model).model
    assert not isinstance(copied, keras.Sequential)
    assert copied.name == "mine"
    assert [layer.name for layer in copied.layers[1:]] == [layer.name for layer in model.layers]
    copied.set_weights([array * 0 for array in copied.get_weights()])
    assert all((now == then).all() for now, then in zip(model.get_weights(), before, strict=True))
    assert model.get_config() == config


def test_nested_models_are_flattened_under_names_that_tell_where_layers_come_from():
    inner = keras.Sequential([layers.Dense(5, name="d"), layers.BatchNormalization(name="bn")], name="inner")
    outer = keras.Sequential([layers.Input((4,)), inner, layers.Dense(2, name="d")], name="outer")
    x = keras.Input((4,), name="x")
    model = randomised(keras.Model(x, layers.Dense(3, name="inner_d")(outer(x))))
    copy = prepare_working_copy(model)
    assert [layer.name for layer in copy.model.layers] == ["x", "outer_inner_d", "outer_inner_bn", "outer_d", "inner_d"]
    assert "Nested model 'outer_inner' was flattened; its layers are called outer_inner_..." in copy.notes
    assert same_outputs(model, copy.model, np.random.default_rng(0).random((3, 4)).astype(np.float32))


def test_a_nested_model_called_in_inference_mode_stays_in_it():
    inner = keras.Sequential([layers.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5)])
    x = keras.Input((4,))
    model = randomised(keras.Model(x, layers.Dense(2)(inner(x, training=False))))
    copied = prepare_working_copy(model).model
    batch = np.random.default_rng(0).random((8, 4)).astype(np.float32)
    assert np.allclose(model(batch, training=True), copied(batch, training=True), atol=1e-6)


def test_several_inputs_and_outputs_nested_or_not_keep_their_order_and_names():
    a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b")
    inner = keras.Model([a, b], [layers.Concatenate()([b, a]), layers.Dense(2)(b)], name="inner")
    right, left = keras.Input((3,), name="right"), keras.Input((2,), name="left")
    joined, dense = inner([left, right])
    model = randomised(keras.Model([right, left], [dense, layers.Dense(4, name="last")(joined)]))
    copied = prepare_working_copy(model).model
    assert copied.input_names == ["right", "left"]
    assert [tensor.shape[-1] for tensor in copied.outputs] == [2, 4]
    rng = np.random.default_rng(0)
    assert same_outputs(model, copied, rng.random((3, 3)).astype("f"), rng.random((3, 2)).astype("f"))


def test_a_separate_relu_is_folded_into_the_layer_before_it():
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.ReLU(name="relu")(y)
    y = layers.DepthwiseConv2D(3, name="depthwise")(y)
    y = layers.Activation("relu", name="act")(y)
    y = layers.Dense(3, name="dense")(layers.Flatten()(y))
    model = randomised(keras.Model(x, layers.ReLU(name="last")(y)))
    copy = prepare_working_copy(model)
    assert kinds(copy.model) == ["InputLayer", "Conv2D", "DepthwiseConv2D", "Flatten", "Dense"]
    assert copy.notes[0] == "ReLU 'relu' was folded into 'conv'."
    assert len(copy.notes) == 3
    assert same_outputs(model, copy.model, np.random.default_rng(0).standard_normal((3, 8, 8, 1)).astype("f"))


def test_activations_that_cannot_be_folded_stay():
    x = keras.Input((8,))
    shared = layers.Dense(8, name="read_twice")(x)
    y = layers.Add()([layers.ReLU()(shared), shared])
    y = layers.ReLU(6.0)(layers.Dense(8)(y))
    y = layers.ReLU(negative_slope=0.1)(layers.Dense(8)(y))
    y = layers.ReLU()(layers.Dense(8, activation="tanh")(y))
    y = layers.ReLU()(layers.BatchNormalization()(layers.Dense(8)(y)))
    output_too = layers.Dense(8)(y)
    model = keras.Model(x, [output_too, layers.ReLU()(output_too)])
    copied = prepare_working_copy(model).model
    assert kinds(copied).count("ReLU") == 6


def test_a_layer_used_twice_stays_one_layer():
    shared = layers.Dense(3, name="shared")
    a, b = keras.Input((2,)), keras.Input((2,))
    model = randomised(keras.Model([a, b], layers.Add()([shared(a), shared(b)])))
    copy = prepare_working_copy(model)
    assert kinds(copy.model).count("Dense") == 1


def test_operations_on_tensors_and_scaling_layers_survive():
    x = keras.Input((4,), name="x")
    y = layers.Normalization(mean=1.0, variance=4.0, name="norm")(x)
    y = layers.Dense(3)(y * 2.0 + 1.0)
    adapted = layers.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(1).random((20, 3)))
    y = tf.nn.relu(adapted(layers.Rescaling(0.5, name="scale")(y)))
    model = keras.Model(x, y[:, :2])
    copy = prepare_working_copy(model)
    assert same_outputs(model, copy.model, np.random.default_rng(0).random((3, 4)).astype("f"))
    assert "Normalization 'adapted' stays in the model as float32." in copy.notes


def test_recurrent_layers_masks_and_integer_inputs_survive():
    words = keras.Input((None,), dtype="int32", name="words")
    y = layers.Embedding(20, 4, mask_zero=True)(words)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(y)
    model = randomised(keras.Model(words, layers.GRU(2)(y)))
    copied = prepare_working_copy(model).model
    assert copied.inputs[0].dtype == tf.int32
    assert same_outputs(model, copied, np.array([[1, 2, 0, 0], [3, 4, 5, 19]], np.int32))


def test_reduced_types_become_float32_and_frozen_layers_trainable():
    policy = "mixed_bfloat16"
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(3, dtype=policy, trainable=False, name="frozen"),
            layers.BatchNormalization(trainable=False, dtype=policy),
            layers.Dense(2, dtype=keras.mixed_precision.Policy(policy)),
        ]
    )
    copy = prepare_working_copy(model)
    assert {layer.compute_dtype for layer in copy.model.layers[1:]} == {"float32"}
    assert [layer.trainable for layer in copy.model.layers[1:]] == [True, False, True]
    assert copy.notes == (
        "Frozen layers can be retrained after compression (1): frozen.",
        "Layers of type mixed_bfloat16 were made float32.",
    )


def test_models_that_cannot_be_rewritten_are_refused_in_one_line():
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    class NoConfig(layers.Layer):
        def __init__(self, size):
            super().__init__()

        def call(self, inputs):
            return inputs

    class Moody(layers.Layer):
        def call(self, inputs):
            return inputs + len(self.name)

    x = keras.Input((4,))
    nested_moody = keras.Sequential([layers.Input((4,)), Moody()], name="nested")
    refusals = {
        "must be functional or Sequential, got the subclass Subclassed": Subclassed(),
        "must know the shape of its input": keras.Sequential([layers.Dense(2)]),
        "must not be stateful": keras.Sequential([layers.Input((3, 2), batch_size=1), layers.LSTM(2, stateful=True)]),
        "must take numbers, got text": keras.Model(text := keras.Input((), dtype="string"), tf.strings.length(text)),
        r"\(NoConfig\) cannot be copied; give it get_config": keras.Model(x, NoConfig(3)(x)),
        "flattened copy must give the same outputs": keras.Model(x, nested_moody(x)),
        "must be a tf_keras model, got builtins.NoneType": None,
    }
    for message, model in refusals.items():
        with pytest.raises(ModelRefused, match=message) as error:
            prepare_working_copy(model)
        assert "\n" not in str(error.value)


def test_macs_are_counted_per_sample():
    image = keras.Input((8, 8, 2))
    y = layers.Conv2D(4, 3, padding="same", strides=2, name="conv")(image)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = layers.SeparableConv2D(6, 3, padding="same", name="separable")(y)
    y = layers.Conv2DTranspose(2, 2, strides=2, name="transpose")(y)
    y = layers.Reshape((8, 16))(y)
    y = layers.Conv1D(5, 3, groups=1, name="conv1d")(y)
    y = layers.LSTM(7, return_sequences=True, name="lstm")(y)
    model = keras.Model(image, layers.Dense(3, name="dense")(y))
    expected = {
        "conv": 16 * 9 * 2 * 4,
        "depthwise": 16 * 9 * 4,
        "separable": 16 * (9 * 4 + 4 * 6),
        "transpose": 16 * 4 * 6 * 2,
        "conv1d": 6 * 3 * 16 * 5,
        "lstm": 6 * (5 * 28 + 7 * 28),
        "dense": 6 * 7 * 3,
    }
    assert {name: count_macs(model.get_layer(name)) for name in expected} == expected


def test_macs_of_any_length_cannot_be_counted_and_shared_layers_count_every_use():
    x = keras.Input((None, 4))
    assert count_macs(keras.Model(x, layers.LSTM(3, name="lstm")(x)).get_layer("lstm")) == 0
    shared, a, b = layers.Dense(3), keras.Input((2,)), keras.Input((2,))
    assert count_macs(keras.Model([a, b], shared(a) + shared(b)).get_layer(shared.name)) == 12
