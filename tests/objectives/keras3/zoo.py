"""Writes models with real Keras 3, and what they compute; run as a program, in a process without tf_keras.

Each model of :data:`MODELS` becomes ``NAME.keras``, ``NAME.h5`` and ``NAME.npz``, which holds inputs (``in0`` ...) and
outputs (``out0`` ...).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops


def functional() -> Any:
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(4, 3, activation="hard_swish")(layers.MaxPooling2D()(x))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(8, activation="gelu"),
            layers.Reshape((4, 2)),
            layers.Conv1D(3, 2, activation="hard_sigmoid"),
            layers.GlobalMaxPooling1D(),
            layers.Dense(2),
        ]
    )


def nested() -> Any:
    """End in a nested functional model, whose calls are numbered otherwise than all others."""
    inner_input = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, name="conv")(inner_input))
    backbone = keras.Model(inner_input, layers.GlobalAveragePooling2D()(x), name="backbone")
    head_input = keras.Input((4,))
    head = keras.Model(head_input, [layers.Dense(2)(head_input), layers.Dense(3)(head_input)], name="head")
    neck = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu")], name="neck")
    image = keras.Input((8, 8, 3))
    return keras.Model(image, head(neck(backbone(image))))


def many_inputs_and_outputs() -> Any:
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    both = layers.Concatenate()([left, right])
    return keras.Model({"right": right, "left": left}, {"q": layers.Dense(2)(left), "b": layers.Dense(3)(both)})


def recurrent() -> Any:
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(10, 4, mask_zero=True)(words)
    x = layers.LSTM(3, return_sequences=True, dropout=0.1)(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum")(x)
    x = layers.RNN(layers.LSTMCell(3), return_sequences=True)(x)
    x, state = layers.GRU(3, return_state=True, reset_after=False)(x)
    return keras.Model(words, layers.Dense(1)(layers.Concatenate()([x, state])))


def encoder_and_decoder() -> Any:
    read, written = keras.Input((6, 3), name="read"), keras.Input((4, 2), name="written")
    _, h, c = layers.LSTM(5, return_state=True)(read)
    x = layers.LSTM(5, return_sequences=True)(written, initial_state=[h, c])
    return keras.Model([read, written], layers.TimeDistributed(layers.Dense(3))(x))


def separable() -> Any:
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SeparableConv2D(4, 3, depth_multiplier=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2),
            layers.ReLU(6.0),
            layers.Conv2D(4, 1),
            layers.GlobalAveragePooling2D(),
        ]
    )


def residual() -> Any:
    """Add with operators: in HDF5 these have the name of the layer ``Add``."""
    given = keras.Input((8, 8, 4))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(given) + given)
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same")(x)])
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return keras.Model(given, x * gate * 0.5)


def preprocessing() -> Any:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(1).normal(5, 2, (50, 8, 8, 3)))
    image = keras.Input((9, 9, 3))
    x = layers.Rescaling([0.5, 0.3, 0.2], offset=[0.0, 1.0, 2.0])(layers.Resizing(8, 8)(image))
    x = layers.CenterCrop(6, 6)(normalization(x))
    x = layers.RandomZoom(0.1)(layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(x)))
    return keras.Model(image, layers.Flatten()(layers.Conv2D(2, 3)(layers.RandomContrast(0.1)(x))))


def shared() -> Any:
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    steps = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D(), layers.Dense(4)]

    def seen(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return keras.Model([left, right], ops.abs(seen(left) - seen(right)))


def attention() -> Any:
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(10, 4, mask_zero=True)(words) + np.linspace(0, 1, 24, dtype="float32").reshape(6, 4)
    y = layers.MultiHeadAttention(2, 3, name="heads")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.Concatenate()([layers.Attention()([x, x]), layers.AdditiveAttention()([x, x])])
    x = layers.EinsumDense("abc,cd->abd", output_shape=(None, 5), bias_axes="d")(x)
    return keras.Model(words, [x[:, 0], ops.mean(x, axis=1), ops.transpose(x, (0, 2, 1))[..., ::2]])


def half_precision() -> Any:
    keras.config.set_dtype_policy("mixed_float16")
    x0 = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x0))) + 1.0
    model = keras.Model(x0, layers.Dense(3, dtype="float32")(layers.GlobalAveragePooling2D()(x)))
    keras.config.set_dtype_policy("float32")
    return model


def half_precision_weights() -> Any:
    x0 = keras.Input((6, 3))
    x = layers.Bidirectional(layers.LSTM(4, dtype="float16"), dtype="float16")(x0)
    return keras.Model(x0, layers.Dense(3, dtype="float16")(x))


def quantized() -> Any:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(16, activation="relu", name="squeezed")])
    model.quantize("int8")
    return model


def text() -> Any:
    vectorization = layers.TextVectorization(output_sequence_length=4, name="reader")
    vectorization.adapt(["hello world", "good bye"])
    words = keras.Input((1,), dtype="string")
    return keras.Model(words, layers.Flatten()(layers.Embedding(10, 2)(vectorization(words))))


def lookup() -> Any:
    words = keras.Input((3,), dtype="string")
    numbers = layers.StringLookup(vocabulary=["a", "b"], name="table")(words)
    return keras.Model(words, layers.Flatten()(layers.Embedding(4, 2)(numbers)))


def _around(inner_layer: Any) -> Any:
    inner_input = keras.Input((4,))
    inner = keras.Model(inner_input, inner_layer(inner_input), name="inner")
    given = keras.Input((4,))
    return keras.Model(given, layers.Dense(2)(inner(given)))


def with_lambda() -> Any:
    return _around(layers.Lambda(lambda x: x * 2, output_shape=(4,), name="own_code"))


@keras.saving.register_keras_serializable("own")
def doubled(x: Any) -> Any:
    return x * 2


@keras.saving.register_keras_serializable("own")
class Doubled(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x * 2


def with_registered_lambda() -> Any:
    return _around(layers.Lambda(doubled, output_shape=(4,), name="own_code"))


def with_registered_layer() -> Any:
    return _around(Doubled(name="own_code"))


def with_registered_activation() -> Any:
    return _around(layers.Dense(4, activation=doubled, name="own_code"))


MODELS: tuple[Callable[[], Any], ...] = (
    functional, sequential, nested, many_inputs_and_outputs, recurrent, encoder_and_decoder, separable, residual,
    preprocessing, shared, attention, half_precision, half_precision_weights, quantized, text, lookup, with_lambda,
    with_registered_lambda, with_registered_layer, with_registered_activation,
)  # fmt: skip
_AS_MADE = (preprocessing, quantized, text, lookup)


def write(model: Any, place: Path, name: str) -> None:
    numbers = np.random.default_rng(20)
    for ending in (".keras", ".h5"):
        model.save(place / f"{name}{ending}")
    if "string" in {tensor.dtype for tensor in model.inputs}:
        return
    inputs = [
        (numbers.integers(0, 8, shape) if "int" in tensor.dtype else numbers.standard_normal(shape)).astype(
            tensor.dtype if "int" in tensor.dtype else "float32"
        )
        for tensor in model.inputs
        for shape in [(3, *tensor.shape[1:])]
    ]
    outputs = keras.Model(list(model.inputs), list(model.outputs))(inputs, training=False)
    arrays = {f"in{index}": array for index, array in enumerate(inputs)}
    for index, output in enumerate(outputs if isinstance(outputs, list) else [outputs]):
        arrays[f"out{index}"] = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
    np.savez(place / f"{name}.npz", **arrays)


if __name__ == "__main__":
    for build in MODELS:
        made = build()
        if build not in _AS_MADE:  # every weight a value of its own, so that none can take another's place
            draws = np.random.default_rng(3)
            made.set_weights([draws.uniform(0.1, 0.9, weights.shape) for weights in made.get_weights()])
        write(made, Path(sys.argv[1]), build.__name__)
