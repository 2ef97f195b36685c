"""Does a bridged model compute what the Keras 3 model computes?"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras3.layers import reason_of
from paretune.objectives.keras_door import keras
from paretune.spaces.errors import ModelRefused

#: Largest difference of an output, as a share of its largest value where that is above 1.
TOLERANCE = 1e-5

_SAMPLES = 3
_OPEN_LENGTH = 32  # of a dimension the model leaves open: enough for five halvings of an image
_SEED = 20


def check_same_outputs(theirs: Any, ours: Any) -> None:
    """Compare both models on random inputs.

    Args:
        theirs: The Keras 3 model, computing in float32.
        ours: The tf_keras model, with the same order of inputs and outputs.

    Raises:
        ModelRefused: An output differs by more than :data:`TOLERANCE`; names the first layer that does.
    """
    inputs = random_inputs(ours)
    expected = _computed(theirs, importlib.import_module("keras").Model, inputs)
    got = _computed(ours, keras.Model, inputs)
    for layer in (*theirs._flatten_layers(), *ours._flatten_layers()):
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_states"):
            layer.reset_states()  # what was computed here is nobody's past
    differences = [_difference(*both) for both in zip(expected, got, strict=True)]
    worst = max(differences, key=lambda difference: (np.isnan(difference), difference))
    if not worst <= TOLERANCE:
        raise ModelRefused(
            f"The outputs of Keras 3 model '{theirs.name}' change by {worst:.2g} in tf_keras, more than {TOLERANCE:g}; "
            f"{_first_difference(theirs, ours, inputs)} Write the model with tf_keras instead."
        )


def random_inputs(model: Any) -> list[NDArray[Any]]:
    """Return seeded inputs for a tf_keras model, one array per input; whole numbers are small enough to look up."""
    numbers = np.random.default_rng(_SEED)
    vocabulary = min((layer.input_dim for layer in model._flatten_layers() if hasattr(layer, "input_dim")), default=8)
    arrays: list[NDArray[Any]] = []
    for tensor in model.inputs:
        batch, *rest = tensor.shape
        shape = (batch or _SAMPLES, *(_OPEN_LENGTH if length is None else length for length in rest))
        kind = tensor.dtype.as_numpy_dtype
        if np.issubdtype(kind, np.floating) and not _is_looked_up(model, tensor):
            arrays.append(numbers.standard_normal(shape).astype(kind))
        else:
            arrays.append(numbers.integers(0, vocabulary, shape).astype(kind))
    return arrays


def _is_looked_up(model: Any, tensor: Any) -> bool:
    """Say whether an input goes straight into an Embedding: Keras lets the indices be floats."""
    return any(
        isinstance(layer, keras.layers.Embedding)
        and any(tensor is given for node in layer.inbound_nodes for given in node.keras_inputs)
        for layer in model.layers
    )


def _computed(model: Any, model_class: Any, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the outputs of a model.

    Raises:
        ModelRefused: It cannot compute on this machine.
    """
    try:
        return _run(model_class, model.inputs, model.outputs, inputs)
    except Exception as error:  # of TensorFlow, which has many kinds
        raise ModelRefused(f"Keras 3 model '{model.name}' cannot compute here: {reason_of(error)}") from error


def _run(model_class: Any, inputs: list[Any], outputs: list[Any], arrays: list[NDArray[Any]]) -> list[NDArray[Any]]:
    # A model of our own around the same tensors: lists in, lists out, whatever structure the user chose.
    results = model_class(list(inputs), list(outputs))(list(arrays), training=False)
    return [np.asarray(result) for result in (results if isinstance(results, list | tuple) else [results])]


def _difference(expected: NDArray[Any], got: NDArray[Any]) -> float:
    if expected.shape != got.shape:
        return float("inf")
    if not expected.size:
        return 0.0
    scale = max(1.0, float(np.max(np.abs(expected))))
    return float(np.max(np.abs(expected.astype(np.float64) - got))) / scale


def _first_difference(theirs: Any, ours: Any, inputs: list[NDArray[Any]]) -> str:
    """Name the first layer, in model order, whose output differs; a nested model counts as one layer."""
    keras_3_model = importlib.import_module("keras").Model
    for layer in ours.layers:
        counterpart = next((other for other in theirs.layers if other.name == layer.name), None)
        if counterpart is None or len(layer.inbound_nodes) != 1 or isinstance(layer, keras.layers.InputLayer):
            continue
        try:
            expected = _run(keras_3_model, theirs.inputs, _listed(counterpart.output), inputs)
            got = _run(keras.Model, ours.inputs, _listed(layer.output), inputs)
        except (AttributeError, ValueError):  # an output that this model does not reach by one path
            continue
        if any(not _difference(*both) <= TOLERANCE for both in zip(expected, got, strict=True)):
            return f"the first layer that differs is '{layer.name}' ({type(layer).__name__})."
    return "no single layer accounts for it."


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
