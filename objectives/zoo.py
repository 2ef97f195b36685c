"""The models and data of the ready-made experiments, on data that scikit-learn ships.

Everything here is what a user writes for an experiment of their own: a function without arguments that returns a
trained Keras model, or one that builds an untrained model of given hyperparameters, and one that returns its data as a
mapping of arrays. An experiment file names them as ``paretune.objectives.zoo:digits_resnet`` and
``paretune.objectives.zoo:digits_data``.

Every process of a search calls them anew, so they must return the same thing each time: seeds are fixed, and where a
function trains its model, the order of the training samples is drawn by NumPy rather than by ``fit``.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from paretune.objectives.keras_door import keras

_SEED = 0


def digits_data() -> dict[str, np.ndarray]:
    """Return handwritten digits as images of shape (8, 8, 1) in [0, 1], with their labels 0..9.

    Every image comes in nine positions, moved by up to one pixel: a reader should not mind, and nine times as many
    samples tell models apart that are nearly as good as each other. All positions of an image are in the same split.
    """
    images, labels = load_digits(return_X_y=True)
    data = _split(images.reshape(-1, 8, 8, 1) / 16.0, labels, stratify=True)
    return {name: _moved(values) if name.startswith("x_") else np.repeat(values, 9) for name, values in data.items()}


def digits_resnet() -> Any:
    """Return a ResNet-8 with BatchNorm (78,000 parameters), trained on :func:`digits_data`; its outputs are logits."""
    keras.utils.set_random_seed(_SEED)
    images = keras.Input((8, 8, 1), name="image")
    x = _convolution(images, 16, 3, "stem")
    x = keras.layers.ReLU(name="stem_relu")(x)
    for block, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        x = _residual_block(x, filters, stride, f"block{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="digits_resnet")

    data = digits_data()
    x_train, y_train = _shuffled_copies(data["x_train"], data["y_train"], copies=5)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # strong weight decay leaves many weights that can go: 80 % of them, with 16 values for the rest, cost under 1 %
    return _train(model, x_train, y_train, loss=loss, learning_rate=8e-3, weight_decay=0.5, batch_size=64)


def digits_mlp() -> Any:
    """Return two wide dense layers (301,066 parameters), trained on :func:`digits_data`; the outputs are logits."""
    keras.utils.set_random_seed(_SEED)
    images = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Flatten(name="pixels")(images)
    x = keras.layers.Dense(512, activation="relu", name="hidden1")(x)
    x = keras.layers.Dense(512, activation="relu", name="hidden2")(x)
    model = keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="digits_mlp")

    data = digits_data()
    x_train, y_train = _shuffled_copies(data["x_train"], data["y_train"], copies=3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _train(model, x_train, y_train, loss=loss, learning_rate=2e-3, weight_decay=0.1, batch_size=64)


def digits_cnn(hp: Any) -> Any:
    """Return a small convolutional network for :func:`digits_data`, untrained; its outputs are logits.

    Args:
        hp: ``keras_tuner.HyperParameters``: filters of the first block, number of blocks, learning rate.
    """
    width = hp.Choice("width", [8, 16, 32], default=16)
    depth = hp.Int("depth", 1, 3, default=2)
    images = keras.Input((8, 8, 1), name="image")
    x = images
    for block in range(1, depth + 1):
        for layer, stride in ((1, 1 if block == 1 else 2), (2, 1)):
            x = _convolution(x, width * 2 ** (block - 1), 3, f"block{block}_conv{layer}", stride)
            x = keras.layers.ReLU(name=f"block{block}_relu{layer}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(images, keras.layers.Dense(10, name="logits")(x), name="digits_cnn")
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Choice("learning_rate", [1e-3, 3e-3, 1e-2], default=3e-3)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def digit_rows_data() -> dict[str, np.ndarray]:
    """Return handwritten digits as sequences of 8 rows of 8 pixels in [0, 1], with their labels 0..9."""
    images, labels = load_digits(return_X_y=True)
    return _split(images.reshape(-1, 8, 8) / 16.0, labels, stratify=True)


def digit_rows_lstm() -> Any:
    """Return an LSTM that reads :func:`digit_rows_data` row by row, trained; its outputs are probabilities."""
    keras.utils.set_random_seed(_SEED)
    rows = keras.Input((8, 8), name="rows")
    x = keras.layers.LSTM(64, name="reader")(rows)
    x = keras.layers.Dense(32, activation="relu", name="hidden")(x)
    model = keras.Model(rows, keras.layers.Dense(10, activation="softmax", name="digit")(x), name="digit_rows_lstm")

    data = digit_rows_data()
    x_train, y_train = _shuffled_copies(data["x_train"], data["y_train"], copies=40)
    return _train(model, x_train, y_train, loss="sparse_categorical_crossentropy", learning_rate=5e-3, batch_size=64)


def breast_cancer_data() -> dict[str, np.ndarray]:
    """Return 30 measurements of cell nuclei, standardised, with labels 1 (benign) and 0 (malignant)."""
    return _standardised(_split(*load_breast_cancer(return_X_y=True), stratify=True))


def breast_cancer_mlp() -> Any:
    """Return a small dense network trained on :func:`breast_cancer_data`; its output is a probability."""
    keras.utils.set_random_seed(_SEED)
    measurements = keras.Input((30,), name="measurements")
    x = keras.layers.Dense(64, activation="relu", kernel_regularizer="l2", name="hidden1")(measurements)
    x = keras.layers.Dense(32, activation="relu", kernel_regularizer="l2", name="hidden2")(x)
    benign = keras.layers.Dense(1, activation="sigmoid", name="benign")(x)
    model = keras.Model(measurements, benign, name="breast_cancer_mlp")

    data = breast_cancer_data()
    x_train, y_train = _shuffled_copies(data["x_train"], data["y_train"], copies=60)
    return _train(model, x_train, y_train, loss="binary_crossentropy", learning_rate=2e-3)


def diabetes_data() -> dict[str, np.ndarray]:
    """Return 10 standardised findings on diabetes patients; the target is the progress after a year, in hundreds."""
    findings, progress = load_diabetes(return_X_y=True)
    return _standardised(_split(findings, progress / 100, stratify=False))


def diabetes_mlp() -> Any:
    """Return a small dense network trained on :func:`diabetes_data` to predict the progress (0.25..3.46)."""
    keras.utils.set_random_seed(_SEED)
    findings = keras.Input((10,), name="findings")
    x = keras.layers.Dense(64, activation="relu", kernel_regularizer="l2", name="hidden1")(findings)
    x = keras.layers.Dense(32, activation="relu", kernel_regularizer="l2", name="hidden2")(x)
    progress = keras.layers.Dense(1, name="progress")(x)
    model = keras.Model(findings, progress, name="diabetes_mlp")

    data = diabetes_data()
    x_train, y_train = _shuffled_copies(data["x_train"], data["y_train"], copies=30)
    return _train(model, x_train, y_train, loss="mean_absolute_error", learning_rate=3e-3, weight_decay=1.0)


def _residual_block(x: Any, filters: int, stride: int, name: str) -> Any:
    shortcut = x if stride == 1 else _convolution(x, filters, 1, f"{name}_shortcut", stride)
    x = _convolution(x, filters, 3, f"{name}_conv1", stride)
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = _convolution(x, filters, 3, f"{name}_conv2")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu2")(x)


def _convolution(x: Any, filters: int, size: int, name: str, stride: int = 1) -> Any:
    x = keras.layers.Conv2D(filters, size, strides=stride, padding="same", use_bias=False, name=name)(x)
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _train(
    model: Any,
    x: np.ndarray,
    y: np.ndarray,
    *,
    loss: Any,
    learning_rate: float,
    weight_decay: float = 0.0,
    batch_size: int = 32,
) -> Any:
    """Pass once over ``x``, which holds every epoch in order, while the learning rate decays to 0."""
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=-(-len(x) // batch_size))
    model.compile(optimizer=keras.optimizers.AdamW(schedule, weight_decay=weight_decay), loss=loss)
    model.fit(x, y, batch_size=batch_size, shuffle=False, verbose=0)
    return model


def _moved(images: np.ndarray) -> np.ndarray:
    """Return every image in nine positions, one after another; edges are filled with 0."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    positions = [padded[:, down : down + height, right : right + width] for down in range(3) for right in range(3)]
    return np.stack(positions, axis=1).reshape(-1, *images.shape[1:])


def _shuffled_copies(x: np.ndarray, y: np.ndarray, *, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``copies`` epochs of the same samples, every epoch in another order."""
    rng = np.random.default_rng(_SEED)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(copies)])
    return x[order], y[order]


def _split(x: np.ndarray, y: np.ndarray, *, stratify: bool) -> dict[str, np.ndarray]:
    """Split into 60 % for training, 20 % to steer the search and 20 % that it never sees."""
    rows = np.arange(len(x))
    labels = y if stratify else None
    train, held_out = train_test_split(rows, test_size=0.4, random_state=_SEED, stratify=labels)
    labels = y[held_out] if stratify else None
    validation, test = train_test_split(held_out, test_size=0.5, random_state=_SEED, stratify=labels)
    y = y.astype(np.int32 if stratify else np.float32)
    parts = {"train": train, "val": validation, "test": test}
    arrays = {f"x_{name}": x[chosen].astype(np.float32) for name, chosen in parts.items()}
    return arrays | {f"y_{name}": y[chosen] for name, chosen in parts.items()}


def _standardised(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give every column mean 0 and standard deviation 1, as seen in the training data."""
    mean, deviation = data["x_train"].mean(axis=0), data["x_train"].std(axis=0)
    return data | {name: (values - mean) / deviation for name, values in data.items() if name.startswith("x_")}
