"""A Keras 3 model as a tf_keras model that computes the same.

tf_keras cannot read what Keras 3 writes, so Keras 3 reads it: it knows its own older layouts, and it is the truth the
result is compared with. The model is then replayed call by call with tf_keras layers, and the weights are copied layer
by layer, each variable under its name.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from paretune.objectives.keras3.activations import Activated, HardActivation
from paretune.objectives.keras3.calls import (
    Call,
    TensorSource,
    leaves,
    needed_calls,
    read_calls,
    read_ends,
    read_outputs,
    with_tensors,
)
from paretune.objectives.keras3.check import check_same_outputs
from paretune.objectives.keras3.float32 import in_float32
from paretune.objectives.keras3.layers import (
    HARD_ACTIVATIONS,
    float32_policy,
    reason_of,
    refused_layer,
    translate_layer,
)
from paretune.objectives.keras3.operations import translate_operation
from paretune.objectives.keras_door import keras
from paretune.objectives.loading.known_classes import TENSORFLOW_CALLS
from paretune.spaces.errors import ModelRefused


def is_keras_3_model(value: Any) -> bool:
    """Say whether a value is a model of Keras 3, without importing it."""
    return any(
        kind.__module__.startswith("keras.src.models") and kind.__name__ == "Model" for kind in type(value).__mro__
    )


def bridge(model: Any) -> Any:
    """Return a float32 tf_keras model with the layers, names, weights and outputs of a Keras 3 model.

    Several inputs or outputs become lists, in the order of ``model.inputs`` and ``model.outputs``.

    Args:
        model: A Sequential or functional model of Keras 3.

    Raises:
        ModelRefused: A layer has no counterpart, or outputs differ by more than 1e-5; names the layer.
    """
    model = in_float32(model)
    rebuilding = _Rebuilding()
    rebuilt = rebuilding.model(model)
    for theirs, ours in rebuilding.pairs:
        _copy_weights(theirs, ours)
    check_same_outputs(model, rebuilt)
    return rebuilt


class _Rebuilding:
    """Builds tf_keras models layer by layer; what several models share, they share again.

    Attributes:
        pairs: Each layer of Keras 3 with weights to copy, and the one that stands for it.
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self._known: dict[int, Any] = {}

    def model(self, model: Any) -> Any:
        """Build a model."""
        kind = type(model).__name__
        if not getattr(model, "inputs", None):
            raise ModelRefused(
                f"Model '{model.name}' ({kind}) has no inputs of known shape: start it with keras.Input(...), as a "
                "Sequential or functional model."
            )
        if kind == "Sequential":
            return self._sequential(model)
        config = model.get_config()
        if "input_layers" not in config:  # a class of the user's own around a functional model
            model = _keras_3().Model(model.inputs, model.outputs, name=model.name)
            config = model.get_config()
        inputs = read_ends(config["input_layers"])
        outputs = read_outputs(config, [layer.name for layer in model.layers if _is_functional(layer)])
        tensors = self._replay(model, config, outputs)
        return keras.Model(
            _single([tensors[end.node][end.output] for end in inputs]),
            _single([tensors[end.node][end.output] for end in outputs]),
            name=model.name,
            trainable=model.trainable,
        )

    def _sequential(self, model: Any) -> Any:
        given = model.inputs[0]
        start = keras.layers.InputLayer(
            **_input({"batch_shape": given.shape, "dtype": given.dtype, "name": given.name})
        )
        layers = [self._layer(theirs) for theirs in model.layers]
        if not any(isinstance(layer, Activated | HardActivation) for layer in layers):
            rebuilt = keras.Sequential([start], name=model.name)
            for theirs, ours in zip(model.layers, layers, strict=True):
                _attempt("call", theirs, rebuilt.add, ours)
            return rebuilt
        tensor = start.output
        for theirs, ours in zip(model.layers, layers, strict=True):
            tensor = _attempt("call", theirs, ours, tensor)
        return keras.Model(start.output, tensor, name=model.name)

    def _replay(
        self, model: Any, config: Mapping[str, Any], outputs: Sequence[TensorSource]
    ) -> dict[tuple[str, int], list[Any]]:
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
        waiting = needed_calls(calls, outputs)
        while waiting:
            ready = [node for node in waiting if all(source.node in tensors for source in calls[node].sources())]
            if not ready:
                raise ModelRefused(
                    f"Layer '{waiting[0][0]}' of the Keras 3 model is called with what is never computed."
                )
            for node in ready:
                name, _ = node
                if str(documents[name].get("module")).startswith("keras.src.ops."):
                    layer, call = _operation(documents[name], calls[node])
                else:
                    layer, call = self._layer(model.get_layer(name)), calls[node]
                tensors[node] = _called(layer, call, tensors)
            waiting = [node for node in waiting if node not in tensors]
        return tensors

    def _layer(self, theirs: Any) -> Any:
        """Return what stands for a layer: a layer or model of tf_keras, or several layers called as one."""
        if id(theirs) not in self._known:
            self._known[id(theirs)] = self.model(theirs) if is_keras_3_model(theirs) else self._new_layer(theirs)
        return self._known[id(theirs)]

    def _new_layer(self, theirs: Any) -> Any:
        kind, config = translate_layer(_keras_3().saving.serialize_keras_object(theirs))
        if kind == "Normalization":  # adapted numbers are weights there, and settings here
            config["mean"], config["variance"] = np.squeeze(theirs.mean).tolist(), np.squeeze(theirs.variance).tolist()
        if kind == "TimeDistributed" and is_keras_3_model(theirs.layer):
            return keras.layers.TimeDistributed(self._layer(theirs.layer), name=theirs.name)
        layer, ours = _attempt("build", theirs, _built, kind, config)
        if layer is not None and kind != "Normalization":
            self.pairs.append((theirs, layer))
        return ours


def _built(kind: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return a layer, if there is a single one to hold weights, and what is called in its place."""
    activation = config.get("activation")
    if activation not in HARD_ACTIVATIONS:
        layer_class = getattr(keras.layers, kind)
        # from_config() of attention asks for shapes that only tf_keras writes
        layer = layer_class(**config) if kind == "MultiHeadAttention" else layer_class.from_config(config)
        return layer, layer
    if kind == "Activation":
        return None, HardActivation(activation, config["name"])
    layer = getattr(keras.layers, kind).from_config({**config, "activation": "linear"})
    return layer, Activated(layer, HardActivation(activation, f"{layer.name}_{activation}"))


def _is_functional(layer: Any) -> bool:
    return any(kind.__name__ == "Functional" for kind in type(layer).__mro__)


def _operation(document: Mapping[str, Any], call: Call) -> tuple[Any, Call]:
    """Return what stands for an operation, and how it is called."""
    kind, config, replaced = translate_operation(document, call)
    if kind in TENSORFLOW_CALLS:
        return keras.layers.deserialize({"class_name": kind, "config": config}), replaced
    return _built(kind, config)[1], replaced


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
        why = f"which tf_keras cannot {what} as Keras 3 does ({reason_of(error).rstrip('.')})"
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


def _keras_3() -> Any:
    """Import Keras 3 where it is needed: it takes seconds."""
    return importlib.import_module("keras")
