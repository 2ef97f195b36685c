"""Check that the converted file computes what the Keras model computes, before anything is searched."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from paretune.objectives.data.rows import Rows
from paretune.objectives.keras_door import tf
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.errors import ModelRefused

#: Samples that outputs are compared on.
_COMPARED = 8
#: Greatest error, relative to the output, both root mean square. Rounding in another order gives about a millionth.
_ALLOWED = 1e-3


def require_faithful_file(template: FloatTemplate, file: bytes, model: Any, inputs: Sequence[Rows]) -> None:
    """Compare a float32 file with the model that it was converted from, on its first samples.

    Args:
        template: What the file was filled from.
        file: The file, with the weights of ``model``.
        model: The Keras model.
        inputs: One array per input, in Keras order, samples first.

    Raises:
        ModelRefused: An output differs by more than rounding can explain.
        MeasurementFailed: The file cannot be run.
    """
    samples = [np.asarray(array[:_COMPARED]) for array in inputs]
    found = TfliteRunner(file, template.input_names, template.output_names).predict(samples)
    tensors = [tf.cast(array, tensor.dtype) for array, tensor in zip(samples, model.inputs, strict=True)]
    expected = tf.nest.flatten(model(tensors if len(tensors) > 1 else tensors[0], training=False))
    for name, want, have in zip(model.output_names, expected, found, strict=True):
        error = _relative_error(have, np.asarray(want, np.float64))
        if not error <= _ALLOWED:
            raise ModelRefused(
                f"The converted file must compute what the Keras model computes, but its output '{name}' is off by "
                f"{error:.2%}: LiteRT runs a layer before it otherwise. Build that layer from others, or unroll it."
            )


def _relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(np.square(expected))))
    return float(np.sqrt(np.mean(np.square(found - expected)))) / max(size, 1e-6)
