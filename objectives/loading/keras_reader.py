"""Reading with tf_keras what tf_keras wrote, and bringing a model into the one form the rest works on."""

from typing import Any

from paretune.objectives.keras_door import keras
from paretune.objectives.loading.model_file import Format, ModelFile
from paretune.spaces.errors import ModelRefused

_NARROW_FLOATS = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})
_POLICIES = frozenset({"Policy", "DTypePolicy", "FloatDTypePolicy"})


def read_with_tf_keras(file: ModelFile, *, trust: bool) -> Any:
    """Read a file that tf_keras wrote, already found safe.

    Raises:
        ModelRefused: tf_keras cannot read it.
    """
    try:
        if file.format is Format.SAVED_MODEL and not trust:
            return _read_saved_model(file)
        return keras.models.load_model(str(file.path), compile=False, safe_mode=not trust)
    except Exception as error:  # tf_keras and h5py raise many kinds for a file that they cannot read
        reason = str(error).strip().partition("\n")[0]
        raise ModelRefused(f"tf_keras cannot read it: {type(error).__name__}: {reason}") from error


def plain_model(model: Any) -> Any:
    """Return a functional or Sequential model with known inputs; a class of the user's own around one is taken off.

    Raises:
        ModelRefused: It is something else: not a model, subclassed, or without known inputs.
    """
    if not isinstance(model, keras.Model):
        raise ModelRefused(f"must be a Keras model, got {type(model).__name__}.")
    is_sequential = isinstance(model, keras.Sequential)
    if not is_sequential and not model._is_graph_network:
        raise ModelRefused(
            f"is a subclassed model ({type(model).__name__}), whose layers cannot be compressed one by one: write it "
            "as a functional model, keras.Model(inputs, outputs)."
        )
    if not model.inputs:
        raise ModelRefused("has no inputs of known shape: start it with keras.Input(...).")
    if is_sequential or type(model).__name__ == "Functional":
        return model
    return keras.Model(model.inputs, model.outputs, name=model.name)


def as_float32(model: Any) -> Any:
    """Return the model, or the same model with every layer computing and storing floats in float32.

    Raises:
        ModelRefused: The layers cannot be rebuilt from their configuration.
    """
    try:
        config = model.get_config()
    except NotImplementedError as error:
        raise ModelRefused(
            f"has a layer without get_config(), so it cannot be copied: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    narrow = next((layer.name for layer in model._flatten_layers() if layer.dtype_policy.name in _NARROW_FLOATS), None)
    if narrow is None:
        return model
    try:
        rebuilt = type(model).from_config(_in_float32(config))
        rebuilt.set_weights([weights.astype("float32") for weights in model.get_weights()])
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelRefused(
            f"layer '{narrow}' computes in another number format than float32 and cannot be rebuilt ({reason}): save "
            "the model in float32."
        ) from error
    return rebuilt


def _in_float32(value: Any) -> Any:
    """Return a configuration with the number formats rewritten."""
    if isinstance(value, dict):
        return {key: _float32_dtype(item) if key == "dtype" else _in_float32(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_in_float32(item) for item in value)
    return [_in_float32(item) for item in value] if isinstance(value, list) else value


def _float32_dtype(dtype: Any) -> Any:
    name = dtype
    if isinstance(dtype, dict) and dtype.get("class_name") in _POLICIES:
        name = dtype.get("config", {}).get("name")
    return "float32" if isinstance(name, str) and name in _NARROW_FLOATS else dtype


def _read_saved_model(file: ModelFile) -> Any:
    """Rebuild a SavedModel from its layers' configuration and its variables.

    The graph in it is a program, which loading the usual way would bring to life; here it is never opened.
    """
    model_class = keras.Sequential if file.config["class_name"] == "Sequential" else keras.Model
    model = model_class.from_config(_decoded(file.config["config"]))
    status = model.load_weights(str(file.path / "variables" / "variables"))
    status.assert_existing_objects_matched()
    return model


def _decoded(value: Any) -> Any:
    """Return a configuration with the tuples that SavedModels spell out as objects."""
    if isinstance(value, dict):
        if value.get("class_name") in ("__tuple__", "TensorShape") and "items" in value:
            return tuple(_decoded(item) for item in value["items"])
        return {key: _decoded(item) for key, item in value.items()}
    return [_decoded(item) for item in value] if isinstance(value, list) else value
