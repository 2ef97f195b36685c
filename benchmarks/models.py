"""Models and data of the benchmarks, beside those of ``paretune.objectives.zoo``: all generated, all seeded.

An experiment names them as ``models:ds_cnn``, ``models:keywords_data``, ... They are trained for seconds: their
accuracy is real, and far enough from 1 that damage shows, but nothing to be proud of.
"""

from typing import Any

import numpy as np
from scipy.ndimage import zoom

from paretune.objectives.keras_door import keras
from paretune.objectives.zoo import digits_data

_SEED = 0
_KEYWORDS = 12
_TEXTURES = 4
_FRAMES, _BANDS = 49, 10
_PIXELS = 96
_CLASSIC_PIXELS = 28


def ds_cnn() -> Any:
    """Return a keyword spotter of 64 channels and four depthwise-separable blocks, trained on :func:`keywords_data`.

    References:
        Zhang et al. (2017), Hello Edge: Keyword Spotting on Microcontrollers, table 5 (DS-CNN, small).
    """
    keras.utils.set_random_seed(_SEED)
    spectrogram = keras.Input((_FRAMES, _BANDS, 1), name="spectrogram")
    x = keras.layers.Conv2D(64, (10, 4), strides=2, padding="same", use_bias=False, name="stem")(spectrogram)
    x = _normed(x, "stem")
    for block in range(1, 5):
        x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"block{block}_depthwise")(x)
        x = _normed(x, f"block{block}_depthwise")
        x = keras.layers.Conv2D(64, 1, use_bias=False, name=f"block{block}_pointwise")(x)
        x = _normed(x, f"block{block}_pointwise")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(spectrogram, keras.layers.Dense(_KEYWORDS, name="logits")(x), name="ds_cnn")
    return _trained(model, keywords_data(), steps=168, batch_size=64, learning_rate=3e-3)


def keywords_data() -> dict[str, np.ndarray]:
    """Return made-up spectrograms of shape (49, 10, 1) with labels 0..11: two gliding tones a word, in loud noise."""
    return _splits(_keywords, {"train": 2688, "val": 960, "test": 480})


def mobilenet_v2() -> Any:
    """Return Keras' MobileNetV2 for 96x96 pixels (alpha 1.0, 2.3 million parameters), trained on textures."""
    keras.utils.set_random_seed(_SEED)
    model = keras.applications.MobileNetV2(
        (_PIXELS, _PIXELS, 3), alpha=1.0, weights=None, classes=_TEXTURES, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # 0.999 needs thousands of steps until inference mode works at all
    return _trained(model, textures_data(), steps=120, batch_size=16, learning_rate=1e-3)


def mobilenet_v2_untrained() -> Any:
    """Return the same MobileNetV2 with random weights; its norms have seen the textures, so that nothing fades away."""
    keras.utils.set_random_seed(_SEED)
    model = keras.applications.MobileNetV2(
        (_PIXELS, _PIXELS, 3), alpha=1.0, weights=None, classes=_TEXTURES, classifier_activation=None
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(textures_data()["x_train"][:64], training=True)
    return model


def classic_cnn() -> Any:
    """Return the network of the first guides to pruning with Keras (3.3 million parameters), trained on digits.

    References:
        TensorFlow (2019), Train sparse TensorFlow models with Keras; without its BatchNorm and dropout.
    """
    keras.utils.set_random_seed(_SEED)
    image = keras.Input((_CLASSIC_PIXELS, _CLASSIC_PIXELS, 1), name="image")
    x = image
    for number, filters in enumerate((32, 64), start=1):
        x = keras.layers.Conv2D(filters, 5, padding="same", activation="relu", name=f"conv{number}")(x)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{number}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(1024, activation="relu", name="hidden")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="classic_cnn")
    return _trained(model, large_digits_data(), steps=608, batch_size=64, learning_rate=1e-3)


def large_digits_data() -> dict[str, np.ndarray]:
    """Return the digits of the ready-made experiments, in nine positions each, drawn up to shape (28, 28, 1)."""
    data = digits_data()
    scale = _CLASSIC_PIXELS / data["x_train"].shape[1]
    return {
        name: zoom(values, (1, scale, scale, 1), order=1) if name.startswith("x_") else values
        for name, values in data.items()
    }


def digits_mlp() -> Any:
    """Return a network of two hidden Dense layers of 512 (301,000 parameters), trained on the digits."""
    keras.utils.set_random_seed(_SEED)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    for number in (1, 2):
        x = keras.layers.Dense(512, activation="relu", name=f"hidden{number}")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="digits_mlp")
    return _trained(model, digits_data(), steps=1520, batch_size=64, learning_rate=1e-3)


def textures_data() -> dict[str, np.ndarray]:
    """Return made-up images of shape (96, 96, 3) with labels 0..3: stripes in four directions, in noise."""
    return _splits(_textures, {"train": 384, "val": 160, "test": 80})


def _keywords(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    tones = np.random.default_rng(_SEED).uniform(0, _BANDS, (_KEYWORDS, 2, 2))[labels]  # start and end of each tone
    frames = np.arange(_FRAMES) - rng.uniform(-8, 8, (len(labels), 1))
    share = np.clip(frames / _FRAMES, 0, 1)[:, None, :]
    pitch = tones[..., :1] * (1 - share) + tones[..., 1:] * share + rng.normal(0, 0.5, (len(labels), 2, 1))
    loudness = np.exp(-((pitch[..., None] - np.arange(_BANDS)) ** 2)).sum(axis=1)
    loudness *= rng.uniform(0.4, 1.2, (len(labels), 1, 1))
    return (loudness + rng.normal(0, 0.8, loudness.shape))[..., None]


def _textures(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[:_PIXELS, :_PIXELS] / _PIXELS
    angle = (labels * np.pi / _TEXTURES + rng.normal(0, 0.15, len(labels)))[:, None, None]
    waves = rng.uniform(4, 8, (len(labels), 1, 1))
    phase = rng.uniform(0, 2 * np.pi, (len(labels), 1, 1))
    stripes = np.sin(2 * np.pi * waves * (np.cos(angle) * rows + np.sin(angle) * columns) + phase)[..., None]
    colour = rng.uniform(0.2, 1, (len(labels), 1, 1, 3))
    return stripes * colour + rng.normal(0, 0.3, (*stripes.shape[:3], 3))


def _splits(draw: Any, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    arrays = {}
    for number, (split, size) in enumerate(sizes.items(), start=1):
        rng = np.random.default_rng([_SEED, number])
        labels = rng.integers(0, _KEYWORDS if draw is _keywords else _TEXTURES, size)
        arrays[f"x_{split}"] = draw(rng, labels).astype(np.float32)
        arrays[f"y_{split}"] = labels.astype(np.int32)
    return arrays


def _normed(x: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _trained(model: Any, data: dict[str, np.ndarray], *, steps: int, batch_size: int, learning_rate: float) -> Any:
    rng = np.random.default_rng(_SEED)
    samples = len(data["x_train"])
    epochs = -(-steps * batch_size // samples)
    order = np.concatenate([rng.permutation(samples) for _ in range(epochs)])[: steps * batch_size]
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data["x_train"][order], data["y_train"][order], batch_size=batch_size, shuffle=False, verbose=0)
    return model
