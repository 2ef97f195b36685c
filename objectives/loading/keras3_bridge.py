"""A Keras 3 model as a tf_keras model that computes the same.

tf_keras cannot read what Keras 3 writes, so Keras 3 reads it: it knows its own older layouts, and it is the truth the
result is compared with. The model is then replayed call by call with tf_keras layers, and the weights are copied layer
by layer, each variable under its name.
"""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune.objectives.keras_door import keras
from paretune.objectives.loading.keras3_calls import (
    Call,
    leaves,
    needed_calls,
    read_calls,
    read_ends,
    with_tensors,
)
from paretune.objectives.loading.keras3_check import check_same_outputs
from paretune.objectives.loading.keras3_layers import (
    float32_policy,
    refused_layer,
    translate_layer,
    translate_operation,
)
from paretune.objectives.loading.known_classes import LAYERS, OPERATIONS
from paretune.spaces.errors import ModelRefused


def load_keras_3(path: Path, *, trust: bool) -> Any:
    """Read a ``.keras`` or ``.h5`` file that Keras 3 wrote, already found safe, as a Keras 3 model.

    Raises:
        ModelRefused: Keras 3 cannot read it.
    """
    try:
        return _keras_3().saving.load_model(
            str(path), custom_objects=_hdf5_operations(path), compile=False, safe_mode=not trust
        )
    except Exception as error:  # Keras 3 raises many kinds for a file that it cannot read
        advice = "" if path.suffix == ".keras" else " Save the model as `.keras` instead."
        raise ModelRefused(
            f"Keras 3 cannot read it back: {type(error).__name__}: {_first_line(error)}.{advice}"
        ) from error


def _hdf5_operations(path: Path) -> dict[str, Any]:
    """Return the classes that Keras 3 writes to HDF5 files, but does not find when it reads them.

    Every model with masks has such operations. One that shares its name with a layer stays ambiguous.
    """
    if path.suffix == ".keras":
        return {}
    found: dict[str, Any] = {}
    for module in ("keras.src.ops.nn", "keras.src.ops.numpy"):
        content = vars(importlib.import_module(module))
        found |= {name: content[name] for name in OPERATIONS - LAYERS if name in content}
    return found


def is_keras_3_model(value: Any) -> bool:
    """Say whether a value is a model of Keras 3, without importing it."""
    return any(
        kind.__module__.startswith("keras.src.models") and kind.__name__ == "Model" for kind in type(value).__mro__
    )


def bridge(model: Any) -> Any:
    """Return a float32 tf_keras model with the layers, names, weights and outputs of a Keras 3 model.

    Several inputs or outputs become lists, in the order of ``model.inputs`` and ``model.outputs``.

    Args:
        model: A Sequential or functional model of Keras 3. Its layers are set to compute in float32.

    Raises:
        ModelRefused: A layer has no counterpart, or outputs differ by more than 1e-5; names the layer.
    """
    pairs: list[tuple[Any, Any]] = []
    rebuilt = _rebuild(model, pairs)
    for theirs, ours in pairs:
        _copy_weights(theirs, ours)
    check_same_outputs(model, rebuilt)
    return rebuilt


def _rebuild(model: Any, pairs: list[tuple[Any, Any]]) -> Any:
    """Build the tf_keras model; each of its layers is added to ``pairs``, after the one it stands for."""
    kind = type(model).__name__
    if not getattr(model, "inputs", None):
        raise ModelRefused(
            f"Model '{model.name}' ({kind}) has no inputs of known shape: start it with keras.Input(...), as a "
            "Sequential or functional model."
        )
    if kind == "Sequential":
        given = model.inputs[0]
        start = {"batch_shape": given.shape, "dtype": given.dtype, "name": given.name}
        rebuilt = keras.Sequential([keras.layers.InputLayer(**_input(start))], name=model.name)
        for theirs in model.layers:
            _attempt("call", theirs, rebuilt.add, _layer(theirs, pairs))
        return rebuilt
    config = model.get_config()
    if "input_layers" not in config:  # a class of the user's own around a functional model
        model = _keras_3().Model(model.inputs, model.outputs, name=model.name)
        config = model.get_config()
    inputs, outputs = read_ends(config["input_layers"]), read_ends(config["output_layers"])
    tensors = _replay(model, config, pairs)
    return keras.Model(
        _single([tensors[end.node][end.output] for end in inputs]),
        _single([tensors[end.node][end.output] for end in outputs]),
        name=model.name,
        trainable=model.trainable,
    )


def _replay(model: Any, config: Mapping[str, Any], pairs: list[tuple[Any, Any]]) -> dict[tuple[str, int], list[Any]]:
    """Call tf_keras layers as the layers of a functional Keras 3 model were called.

    Returns:
        The output tensors of each call, by layer name and number of the call.
    """
    documents = {document["name"]: document for document in config["layers"]}
    tensors = {
        (name, 0): [keras.layers.InputLayer(**_input(document["config"])).output]
        for name, document in documents.items()
        if document["class_name"] == "InputLayer"
    }
    calls = read_calls(config)
    waiting = needed_calls(calls, read_ends(config["output_layers"]))
    layers: dict[str, Any] = {}
    while waiting:
        ready = [node for node in waiting if all(source.node in tensors for source in calls[node].sources())]
        if not ready:
            raise ModelRefused(f"Layer '{waiting[0][0]}' of the Keras 3 model is called with what is never computed.")
        for node in ready:
            name = node[0]
            if str(documents[name].get("module")).startswith("keras.src.ops."):
                layer, call = _operation(documents[name], calls[node])
            else:
                if name not in layers:
                    layers[name] = _layer(model.get_layer(name), pairs)
                layer, call = layers[name], calls[node]
            tensors[node] = _called(layer, call, tensors)
        waiting = [node for node in waiting if node not in tensors]
    return tensors


def _layer(theirs: Any, pairs: list[tuple[Any, Any]]) -> Any:
    if is_keras_3_model(theirs):
        return _rebuild(theirs, pairs)
    kind, config = translate_layer(_keras_3().saving.serialize_keras_object(theirs))
    if kind == "Normalization":  # adapted numbers are weights there, and settings here
        config["mean"], config["variance"] = np.squeeze(theirs.mean).tolist(), np.squeeze(theirs.variance).tolist()
    ours = _attempt("build", theirs, getattr(keras.layers, kind).from_config, config)
    if kind != "Normalization":
        pairs.append((theirs, ours))
    return ours


def _operation(document: Mapping[str, Any], call: Call) -> tuple[Any, Call]:
    """Return the tf_keras layer that stands for an operation, and how it is called."""
    operands = [*call.args, *(call.kwargs[key] for key in ("x", "x1", "x2") if key in call.kwargs)]
    settings = {key: value for key, value in call.kwargs.items() if key not in ("x", "x1", "x2")}
    kind, config, argument = translate_operation(
        document["class_name"], document["name"], {**document["config"], **settings}, operands
    )
    return getattr(keras.layers, kind).from_config(config), Call([argument], {})


def _called(layer: Any, call: Call, tensors: Mapping[tuple[str, int], list[Any]]) -> list[Any]:
    args, kwargs = (
        with_tensors(part, lambda source: tensors[source.node][source.output]) for part in (call.args, call.kwargs)
    )
    if isinstance(layer, keras.Model):  # rebuilt with a list of inputs, whatever structure Keras 3 had
        args = [_single(list(leaves(args)))]
    return list(leaves(_attempt("call", layer, layer, *args, **kwargs)))


def _attempt(what: str, layer: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError) as error:
        why = f"which tf_keras cannot {what} as Keras 3 does ({_first_line(error)})"
        raise refused_layer(layer.name, type(layer).__name__, why) from error


def _input(config: Mapping[str, Any]) -> dict[str, Any]:
    name = config["name"]
    if config.get("sparse") or config.get("ragged") or config.get("optional"):
        raise refused_layer(name, "sparse, ragged or optional input", "which is not supported")
    dtype = float32_policy(config.get("dtype"), name, "InputLayer")
    return {"batch_input_shape": tuple(config["batch_shape"]), "dtype": dtype, "name": name}


def _copy_weights(theirs: Any, ours: Any) -> None:
    """Copy the variables of a layer, wrapped layers included; both sides keep them in the order of creation."""
    arrays = theirs.get_weights()
    given = [(variable.name, array.shape) for variable, array in zip(theirs.weights, arrays, strict=True)]
    wanted = [(variable.name.split("/")[-1].partition(":")[0], tuple(variable.shape)) for variable in ours.weights]
    fits = len(given) == len(wanted) and all(
        shape == wanted_shape and wanted_name.endswith(name)  # `depthwise_kernel` became `kernel`
        for (name, shape), (wanted_name, wanted_shape) in zip(given, wanted, strict=True)
    )
    if not fits:
        kind = type(theirs).__name__
        raise refused_layer(theirs.name, kind, f"whose weights {given} are not the {wanted} of tf_keras")
    ours.set_weights([array.astype(np.float32) for array in arrays])


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _keras_3() -> Any:
    """Import Keras 3 where it is needed: it takes seconds."""
    return importlib.import_module("keras")
