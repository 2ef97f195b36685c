"""Reading with Keras 3 what Keras 3 wrote."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.objectives.keras3.layers import reason_of
from paretune.objectives.loading.known_classes import OPERATIONS
from paretune.spaces.errors import ModelRefused

_LAYERS = "keras.layers"
_OPERATION_MODULES = ("keras.src.ops.numpy", "keras.src.ops.nn", "keras.src.ops.core")
_MODEL_MODULES = {"Functional": "keras.src.models.functional", "Model": "keras", "Sequential": "keras"}


def load_keras_3(path: Path, *, trust: bool) -> Any:
    """Read a ``.keras`` or ``.h5`` file that Keras 3 wrote, already found safe, as a Keras 3 model.

    Raises:
        ModelRefused: Keras 3 cannot read it.
    """
    try:
        if path.suffix == ".keras":
            return importlib.import_module("keras").saving.load_model(str(path), compile=False, safe_mode=not trust)
        return _load_hdf5(path, trust=trust)
    except Exception as error:  # Keras 3 raises many kinds for a file that it cannot read
        reason = reason_of(error).rstrip(".")
        advice = "as `.keras` instead" if path.suffix != ".keras" else "with tf_keras, or give it as `module:function`"
        raise ModelRefused(
            f"Keras 3 cannot read it back: {type(error).__name__}: {reason}. Save the model {advice}."
        ) from error


def _load_hdf5(path: Path, *, trust: bool) -> Any:
    """Read an HDF5 file, telling Keras 3 where each layer's class is.

    Left alone it goes by class names, and takes the operation ``x + y`` for the layer ``Add``, which has the same.
    """
    import h5py

    with h5py.File(path, "r") as file:
        config = json.loads(file.attrs["model_config"])
    saving = importlib.import_module("keras").saving
    model = saving.deserialize_keras_object(_with_modules(config), safe_mode=not trust)
    model.load_weights(str(path))
    return model


def _with_modules(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_modules(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("class_name") == "__tuple__" and "items" in value:
        return tuple(_with_modules(value["items"]))
    content = {key: _with_modules(item) for key, item in value.items()}
    if "inbound_nodes" not in value and not _is_listed_layer(value):
        return content
    return {"module": _module_of(value), "registered_name": None, **content}


def _is_listed_layer(value: Mapping[str, Any]) -> bool:
    """Say whether this describes a layer of a Sequential model, which lists no calls."""
    config = value.get("config")
    return isinstance(config, Mapping) and "class_name" in value and ("trainable" in config or "layers" in config)


def _module_of(document: Mapping[str, Any]) -> str:
    kind = document["class_name"]
    if kind in OPERATIONS and "trainable" not in document["config"]:  # which all layers have
        for module in _OPERATION_MODULES:
            if hasattr(importlib.import_module(module), kind):
                return module
    return _MODEL_MODULES.get(kind, _LAYERS)
