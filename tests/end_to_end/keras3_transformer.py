"""Train a small transformer on rows of digits in Keras 3.

Arguments: an ``.npz`` of the data, and the file to save the model in. Keras 3 and tf_keras cannot both be the Keras of
one process.
"""

import sys

import keras
import numpy as np


def transformer() -> keras.Model:
    """Attention and wide layers with residuals, norms before each."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    rows = keras.Input((8, 8), name="rows")
    x = layers.Dense(24, name="embed")(rows)
    y = layers.LayerNormalization(name="norm")(x)
    x = x + layers.MultiHeadAttention(2, 12, name="attention")(y, y)
    y = layers.LayerNormalization(name="norm_again")(x)
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 48), activation="relu", bias_axes="d", name="widen")(y)
    x = x + layers.Dense(24, name="narrow")(y)
    x = layers.Flatten(name="flat")(layers.LayerNormalization(name="norm_last")(x))
    return keras.Model(rows, layers.Dense(10, activation="softmax", name="digit")(x))


if __name__ == "__main__":
    model, data = transformer(), np.load(sys.argv[1])
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(data["x_train"], data["y_train"], batch_size=64, epochs=20, verbose=0)
    model.save(sys.argv[2])
