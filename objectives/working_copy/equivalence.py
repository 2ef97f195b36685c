"""Check that a rewritten model still computes the same."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.signature import signature_of
from paretune.objectives.keras_door import tf
from paretune.spaces.errors import ModelRefused

#: What rounding in another order of operations may change.
TOLERANCE = 1e-6

#: Rows, and length of axes that take any, of the inputs that models are compared on.
_ROWS = 4
_LENGTH = 32


def require_equal_outputs(model: Any, copied: Any, *, tolerance: float = TOLERANCE) -> None:
    """Compare two models with the same inputs on seeded random numbers, in inference mode.

    Args:
        model: The original.
        copied: What must give the same.
        tolerance: Largest difference allowed, relative to the largest output (at least 1).

    Raises:
        ModelRefused: They differ; the output is named.
    """
    inputs = _probe(model)
    expected, got = (_outputs(each, inputs) for each in (model, copied))
    for name, want, have in zip(model.output_names, expected, got, strict=True):
        scale = max(1.0, float(np.nanmax(np.abs(want), initial=0.0)))
        difference = float(np.max(np.abs(want - have), initial=0.0))
        if not np.array_equal(np.isnan(want), np.isnan(have)) or difference > tolerance * scale:
            raise ModelRefused(
                f"The model's flattened copy must give the same outputs, but '{name}' differs by {difference:.2g}; "
                "models whose layers depend on how they are nested are not supported."
            )


def _probe(model: Any) -> list[Any]:
    """Return seeded random inputs: indices for an Embedding, small whole numbers or Gaussian numbers elsewhere."""
    rng = np.random.default_rng(0)
    arrays = []
    for port, tensor in zip(signature_of(model).inputs, model.inputs, strict=True):
        shape = (_ROWS, *(_LENGTH if size is None else size for size in port.shape))
        if port.index_limit is not None or port.is_integer:
            values: NDArray[Any] = rng.integers(0, port.index_limit or 2, shape)
        else:
            values = rng.standard_normal(shape)
        arrays.append(tf.cast(values, tensor.dtype))
    return arrays


def _outputs(model: Any, inputs: list[Any]) -> list[NDArray[np.float64]]:
    nested = model._nested_inputs
    given = tf.nest.pack_sequence_as(nested, inputs) if tf.nest.is_nested(nested) else inputs[0]
    return [np.asarray(output, np.float64) for output in tf.nest.flatten(model(given, training=False))]
