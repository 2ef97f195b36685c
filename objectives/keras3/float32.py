"""A Keras 3 model that computes in float32, whatever its layers were made to compute in."""

from collections.abc import Mapping
from typing import Any

from paretune.objectives.keras3.layers import reason_of
from paretune.spaces.errors import ModelRefused

_NARROW = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})


def in_float32(model: Any) -> Any:
    """Return a Keras 3 model, or the same model with every layer computing and storing floats in float32.

    The model that was given stays as it is.

    Raises:
        ModelRefused: A layer cannot be rebuilt from its configuration; names it.
    """
    narrow = next((layer.name for layer in model._flatten_layers() if _is_narrow(layer)), None)
    if narrow is None:
        return model
    try:
        rebuilt = type(model).from_config(_rewritten(model.get_config()))
        rebuilt.set_weights([weights.astype("float32") for weights in model.get_weights()])
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = reason_of(error).rstrip(".")
        raise ModelRefused(
            f"Layer '{narrow}' of the Keras 3 model computes in another number format than float32, and the model "
            f"cannot be rebuilt in that ({reason}): save it in float32."
        ) from error
    return rebuilt


def _is_narrow(layer: Any) -> bool:
    return {getattr(layer, "compute_dtype", None), getattr(layer, "variable_dtype", None)} & _NARROW != set()


def _rewritten(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _float32(item) if key == "dtype" else _rewritten(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_rewritten(item) for item in value)
    return [_rewritten(item) for item in value] if isinstance(value, list) else value


def _float32(dtype: Any) -> Any:
    """Return a number format or policy with float32 for narrower floats; what is quantized stays for the refusal."""
    name = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    return "float32" if isinstance(name, str) and name in _NARROW else dtype
