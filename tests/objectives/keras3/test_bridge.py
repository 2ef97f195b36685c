"""Keras 3 models, built and saved by the installed Keras 3, taken over into tf_keras."""

import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.objectives.keras3 import bridge as bridging
from paretune.objectives.keras3.bridge import bridge
from paretune.objectives.keras3.check import random_inputs
from paretune.objectives.keras3.layers import translate_layer
from paretune.objectives.keras_door import keras
from paretune.objectives.loading.model_source import load_model
from paretune.spaces.errors import ModelRefused

pytestmark = [
    pytest.mark.tensorflow,
    # Variables of Keras 3 predate the copy keyword of NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

keras_3: Any = importlib.import_module("keras")
layers: Any = keras_3.layers


def cnn() -> Any:
    image = keras_3.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16, offset=-0.5)(image)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU(max_value=6.0, name="rectified")(x)
    y = layers.SeparableConv2D(4, 3, padding="same", activation="relu", pointwise_regularizer="l2")(x)
    y = layers.DepthwiseConv2D(3, padding="same")(y)
    x = layers.Add(name="residual")([x, y])
    x = layers.LeakyReLU(negative_slope=0.1)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2DTranspose(3, 3, strides=2, activation="silu")(x)
    x = layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras_3.initializers.Constant(0.3))(x)
    x = layers.AveragePooling2D(2)(layers.Cropping2D(1)(layers.UpSampling2D(2)(x)))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.5, seed=1)(layers.GaussianNoise(0.1)(x))
    x = layers.Dense(3, kernel_constraint=keras_3.constraints.MaxNorm(2.0))(x)
    return keras_3.Model(image, layers.Softmax(name="classes")(x), name="cnn")


def mlp() -> Any:
    return keras_3.Sequential(
        [
            keras_3.Input((5,)),
            layers.Dense(8, activation="gelu"),
            layers.LayerNormalization(),
            layers.Reshape((4, 2)),
            layers.Conv1D(3, 2, activation="tanh"),
            layers.Flatten(),
            layers.Dense(2, name="scores"),
            layers.Activation("relu6"),
        ],
        name="mlp",
    )


def recurrent() -> Any:
    words = keras_3.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(10, 4, mask_zero=True)(words)
    x = layers.LSTM(3, return_sequences=True, recurrent_activation="sigmoid")(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False))(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    x, state = layers.GRU(3, return_state=True)(x)
    x = layers.Concatenate()([x, state])
    return keras_3.Model(words, layers.Dense(1)(x), name="recurrent")


def two_by_two() -> Any:
    left, right = keras_3.Input((4,), name="left"), keras_3.Input((3,), name="right")
    shared = layers.Dense(5, name="shared")
    a, b = shared(left), shared(layers.Dense(4)(right))
    inner_input = keras_3.Input((5,), name="inner_input")
    inner = keras_3.Model(inner_input, layers.Dense(5, name="inside")(inner_input), name="inner")
    second = layers.Maximum()([inner(a), layers.Subtract()([b, a])])
    first = layers.Dense(1, name="first")(layers.Average()([a, layers.Multiply()([a, b])]))
    return keras_3.Model({"right": right, "left": left}, [first, layers.Dense(2, name="second")(second)], name="two")


def shaken(model: Any) -> Any:
    """Give every weight a value of its own, moving statistics too, so that none can take another's place."""
    numbers = np.random.default_rng(3)
    model.set_weights([numbers.uniform(0.1, 0.9, weights.shape) for weights in model.get_weights()])
    return model


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("build", [cnn, mlp, recurrent, two_by_two])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
def test_saved_model_computes_the_same_in_tf_keras(build: Callable[[], Any], ending: str, tmp_path: Path) -> None:
    original = shaken(build())
    original.save(tmp_path / f"model{ending}")
    loaded = load_model(f"model{ending}", beside=tmp_path, trust=False)
    assert isinstance(loaded, keras.Model)
    inputs = random_inputs(loaded)
    expected = listed(keras_3.Model(original.inputs, original.outputs)(inputs))
    got = listed(loaded(inputs if len(inputs) > 1 else inputs[0]))
    for theirs, ours in zip(expected, got, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.ptp(theirs) > 1e-4  # the inputs matter


def listed(outputs: Any) -> list[Any]:
    return [np.asarray(output) for output in (outputs if isinstance(outputs, list) else [outputs])]


def layer_names(model: Any) -> set[str]:
    return {layer.name for layer in model.layers}


def test_names_of_layers_inputs_and_outputs_stay() -> None:
    loaded = bridge(two_by_two())
    assert loaded.input_names == ["left", "right"]
    assert loaded.output_names == ["first", "second"]
    assert {"shared", "inner", "first", "second"} <= layer_names(loaded)
    assert len(loaded.get_layer("shared").inbound_nodes) == 2


def test_dropout_still_drops_while_training() -> None:
    given = keras_3.Input((50,))
    loaded = bridge(keras_3.Model(given, layers.Dropout(0.5)(given)))
    assert 0 < np.count_nonzero(loaded(np.ones((1, 50)), training=True)) < 50


def test_sums_and_scalings_become_layers() -> None:
    given = keras_3.Input((4,))
    x = layers.Dense(4)(given)
    y = keras_3.ops.relu(1.0 - (x * 2.0 + x) / 4.0)
    loaded = bridge(shaken(keras_3.Model(given, y - 0.5)))
    kinds = {type(layer).__name__ for layer in loaded.layers}
    assert kinds == {"InputLayer", "Dense", "Rescaling", "Add", "Activation"}


def test_a_nested_functional_model_may_end_a_model_and_be_shared() -> None:
    inner_input = keras_3.Input((4,))
    inner = keras_3.Model(
        inner_input, layers.Dense(4, activation="hard_silu", name="inside")(inner_input), name="inner"
    )
    given = keras_3.Input((4,))
    original = shaken(keras_3.Model(given, inner(inner(given))))
    loaded = bridge(original)
    assert len(loaded.get_layer("inner").inbound_nodes) == 2
    assert len(loaded.get_weights()) == 2
    inputs = np.random.default_rng(0).standard_normal((3, 4)).astype("float32")
    np.testing.assert_allclose(loaded(inputs), original(inputs), atol=1e-5)


def test_adapted_normalization_is_taken_over() -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(5.0, 2.0, (50, 3)))
    loaded = bridge(keras_3.Sequential([keras_3.Input((3,)), normalization, layers.Dense(1)]))
    assert [type(layer).__name__ for layer in loaded.layers] == ["Normalization", "Dense"]


def test_half_precision_is_taken_over_in_float32(tmp_path: Path) -> None:
    given = keras_3.Input((4,))
    x = layers.Dense(4, dtype="mixed_float16")(given)
    keras_3.Model(given, layers.Dense(2, dtype="float32")(x)).save(tmp_path / "half.keras")
    loaded = load_model("half.keras", beside=tmp_path, trust=False)
    assert {layer.dtype_policy.name for layer in loaded.layers} == {"float32"}


def test_open_dimensions_and_float_word_numbers_are_compared_too() -> None:
    words = keras_3.Input((None,), name="words")
    x = layers.GlobalMaxPooling1D()(layers.Embedding(3, 4)(words))
    assert bridge(keras_3.Model(words, x)).input_shape == (None, None)


def test_a_subclass_of_a_functional_model_is_taken_over() -> None:
    class WithOwnStep(keras_3.Model):  # type: ignore[misc]
        pass

    given = keras_3.Input((4,))
    assert bridge(WithOwnStep(given, layers.Dense(2)(given))).output_shape == (None, 2)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ModelRefused) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rarer_layer_is_refused_by_name_and_class() -> None:
    given = keras_3.Input((4,))
    model = keras_3.Model(given, layers.RMSNormalization(name="scaled")(given))
    assert "'scaled' of the Keras 3 model is a RMSNormalization" in refused(lambda: bridge(model))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (lambda: layers.BatchNormalization(renorm=True, name="bn"), "'bn'.*`renorm: True`"),
        (lambda: layers.Dense(2, activation=layers.LeakyReLU(), name="d"), "'d'.*'LeakyReLU'"),
        (lambda: layers.Dense(2, activation="celu", name="d"), "'d'.*'celu'"),
    ],
)
def test_layer_that_means_something_else_is_refused(layer: Callable[[], Any], told: str) -> None:
    given = keras_3.Input((4,))
    with pytest.raises(ModelRefused, match=told):
        bridge(keras_3.Model(given, layer()(given)))


def test_operation_without_a_layer_is_refused_by_name() -> None:
    given = keras_3.Input((4,))
    model = keras_3.Model(given, keras_3.ops.cumsum(given, axis=-1))
    assert "is a keras.ops operation Cumsum" in refused(lambda: bridge(model))


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method:UserWarning")
def test_quantized_layer_is_refused() -> None:
    model = keras_3.Sequential([keras_3.Input((4,)), layers.Dense(2, name="squeezed")])
    model.quantize("int8")
    assert "'squeezed' (Dense) is quantized by Keras already" in refused(lambda: bridge(model))


def test_models_without_known_inputs_are_refused() -> None:
    class Own(keras_3.Model):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    assert "has no inputs" in refused(lambda: bridge(Own(name="own")))
    assert "has no inputs" in refused(lambda: bridge(keras_3.Sequential([layers.Dense(1)])))
    sparse = keras_3.Input((4,), sparse=True, name="thin")
    assert "'thin'" in refused(lambda: bridge(keras_3.Model(sparse, layers.Dense(1)(sparse))))


def test_different_outputs_are_refused_naming_the_first_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def misread(document: Any) -> tuple[str, dict[str, Any]]:
        kind, config = translate_layer(document)
        return kind, config | ({"epsilon": 0.5} if kind == "BatchNormalization" else {})

    monkeypatch.setattr(bridging, "translate_layer", misread)
    told = refused(lambda: bridge(shaken(cnn())))
    assert "the first layer that differs is 'batch_normalization" in told


def test_weights_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def misread(document: Any) -> tuple[str, dict[str, Any]]:
        kind, config = translate_layer(document)
        return kind, config | {"use_bias": False}

    monkeypatch.setattr(bridging, "translate_layer", misread)
    model = keras_3.Sequential([keras_3.Input((4,)), layers.Dense(2, name="biased")])
    assert "'biased'" in refused(lambda: bridge(model))


@pytest.mark.parametrize("extra", [{"bits": 4}, {"units": -1}])
def test_layer_that_tf_keras_cannot_build_is_refused(extra: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridging, "translate_layer", lambda _: ("Dense", {"name": "odd", "units": 1} | extra))
    model = keras_3.Sequential([keras_3.Input((4,)), layers.Dense(2, name="odd")])
    assert "'odd' of the Keras 3 model is a Dense, which tf_keras cannot build" in refused(lambda: bridge(model))


def test_file_that_keras_3_cannot_read_is_refused(tmp_path: Path) -> None:
    mlp().save(tmp_path / "whole.keras")
    with zipfile.ZipFile(tmp_path / "whole.keras") as whole, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                document = json.loads(content)
                document["config"]["layers"][1]["config"]["units"] = 9
                content = json.dumps(document).encode()
            bad.writestr(name, content)
    told = refused(lambda: load_model("bad.keras", beside=tmp_path, trust=False))
    assert told.startswith("Model 'bad.keras': Keras 3 cannot read it back: ")
