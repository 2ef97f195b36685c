"""The two models of the tables and their data: generated, seeded, trained in seconds.

They are small on purpose: every policy of a grid is trained. They are noisy enough that damage shows long before a
model fails, and validated on so many images that a tenth of a point of accuracy means something.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from paretune.objectives.keras_door import keras

_SEED = 0
_CANVAS = 12
_WORDS, _FRAMES, _BANDS = 12, 24, 8


def canvas_cnn() -> Any:
    """Return a network of four convolutions with BatchNorm and a dense layer, trained on :func:`canvas_data`."""
    keras.utils.set_random_seed(_SEED)
    image = keras.Input((_CANVAS, _CANVAS, 1), name="image")
    x = image
    for number, (filters, stride) in enumerate(((8, 2), (16, 1), (32, 2), (64, 1)), start=1):
        x = keras.layers.Conv2D(filters, 3, strides=stride, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = _normed(x, f"conv{number}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, keras.layers.Dense(10, name="logits")(x), name="canvas_cnn")
    return _trained(model, canvas_data(), epochs=12, learning_rate=5e-3)


def canvas_data() -> dict[str, np.ndarray]:
    """Return handwritten digits of scikit-learn on a noisy canvas of (12, 12, 1), at random places, with their labels.

    A digit is in one split only: 1,078 of them for training, four pictures each; 359 for validation, 14 pictures each.
    """
    images, labels = load_digits(return_X_y=True)
    train, held_out = train_test_split(np.arange(len(images)), test_size=0.4, random_state=_SEED, stratify=labels)
    validation, test = train_test_split(held_out, test_size=0.5, random_state=_SEED, stratify=labels[held_out])
    arrays = {}
    for number, (split, rows, copies) in enumerate((("train", train, 4), ("val", validation, 14), ("test", test, 4))):
        rows = np.repeat(rows, copies)
        arrays[f"x_{split}"] = _on_canvas(images[rows].reshape(-1, 8, 8) / 16, np.random.default_rng([_SEED, number]))
        arrays[f"y_{split}"] = labels[rows].astype(np.int32)
    return arrays


def word_ds_cnn() -> Any:
    """Return a small keyword spotter of three depthwise-separable blocks, trained on :func:`word_data`.

    References:
        Zhang et al. (2017), Hello Edge: Keyword Spotting on Microcontrollers (DS-CNN).
    """
    keras.utils.set_random_seed(_SEED)
    spectrogram = keras.Input((_FRAMES, _BANDS, 1), name="spectrogram")
    x = keras.layers.Conv2D(48, (6, 4), strides=2, padding="same", use_bias=False, name="stem")(spectrogram)
    x = _normed(x, "stem")
    for block, (filters, stride) in enumerate(((64, 1), (96, 2), (96, 1)), start=1):
        name = f"block{block}_depthwise"
        x = keras.layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=name)(x)
        x = _normed(x, name)
        x = keras.layers.Conv2D(filters, 1, use_bias=False, name=f"block{block}_pointwise")(x)
        x = _normed(x, f"block{block}_pointwise")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(spectrogram, keras.layers.Dense(_WORDS, name="logits")(x), name="word_ds_cnn")
    return _trained(model, word_data(), epochs=8, learning_rate=3e-3)


def word_data() -> dict[str, np.ndarray]:
    """Return made-up spectrograms of shape (24, 8, 1) with labels 0..11: two gliding tones a word, in loud noise."""
    arrays = {}
    for number, (split, size) in enumerate((("train", 4032), ("val", 5040), ("test", 1008))):
        rng = np.random.default_rng([_SEED, number])
        labels = rng.integers(0, _WORDS, size)
        arrays[f"x_{split}"] = _spectrograms(rng, labels).astype(np.float32)
        arrays[f"y_{split}"] = labels.astype(np.int32)
    return arrays


def _on_canvas(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    canvas = rng.normal(0, 0.15, (len(digits), _CANVAS, _CANVAS))
    down, right = rng.integers(0, _CANVAS - 8 + 1, (2, len(digits)))
    for row, digit in enumerate(digits):
        canvas[row, down[row] : down[row] + 8, right[row] : right[row] + 8] += digit
    return canvas[..., None].astype(np.float32)


def _spectrograms(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    tones = np.random.default_rng(_SEED).uniform(0, _BANDS, (_WORDS, 2, 2))[labels]  # start and end of each tone
    frames = np.arange(_FRAMES) - rng.uniform(-4, 4, (len(labels), 1))
    share = np.clip(frames / _FRAMES, 0, 1)[:, None, :]
    pitch = tones[..., :1] * (1 - share) + tones[..., 1:] * share + rng.normal(0, 0.5, (len(labels), 2, 1))
    loudness = np.exp(-((pitch[..., None] - np.arange(_BANDS)) ** 2)).sum(axis=1)
    loudness *= rng.uniform(0.4, 1.2, (len(labels), 1, 1))
    return (loudness + rng.normal(0, 0.8, loudness.shape))[..., None]


def _normed(x: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _trained(model: Any, data: dict[str, np.ndarray], *, epochs: int, learning_rate: float) -> Any:
    rng = np.random.default_rng(_SEED)
    order = np.concatenate([rng.permutation(len(data["x_train"])) for _ in range(epochs)])
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, -(-len(order) // 64))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.1), loss)
    model.fit(data["x_train"][order], data["y_train"][order], batch_size=64, shuffle=False, verbose=0)
    return model
