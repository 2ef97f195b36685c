"""Fresh BatchNorm statistics for weights that were compressed but not trained."""

from collections.abc import Sequence
from typing import Any

from paretune.objectives.data.rows import Rows
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.kernels.weights import LayerWeights, read_weights, write_weights

_SAMPLES = 512


class _OfThisBatch(keras.layers.BatchNormalization):  # type: ignore[misc]  # Keras has no types
    """BatchNorm that always normalises by the batch, and remembers nothing but that."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return super().call(inputs, training=True, mask=mask)


class Recalibration:
    """Replaces moving statistics by those of one large batch: pruned weights shift them.

    All other layers run as in inference, so nothing is drawn at random. The graph is traced once.

    Args:
        model: For its architecture; it is only read.
        inputs: Training samples for each input.
    """

    def __init__(self, model: Any, inputs: Sequence[Rows]) -> None:
        self._model: Any = None
        if any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers):
            self._model = keras.models.clone_model(model, clone_function=_clone)
            batch = [tf.constant(array[:_SAMPLES]) for array in inputs]
            self._run = tf.function(lambda: self._model(batch[0] if len(batch) == 1 else batch), autograph=False)

    def __call__(self, weights: LayerWeights) -> LayerWeights:
        """Return ``weights`` with the statistics that the batch has under them."""
        if self._model is None:
            return weights
        write_weights(self._model, weights)
        self._run()
        return read_weights(self._model)


def _clone(layer: Any) -> Any:
    if isinstance(layer, keras.layers.BatchNormalization):
        return _OfThisBatch.from_config({**layer.get_config(), "momentum": 0.0})
    return type(layer).from_config(layer.get_config())
