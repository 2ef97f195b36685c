"""One layer of Keras 3 in the words of tf_keras.

Both describe a layer by a class name and a plain configuration, and most of it is the same. What is not: number
formats are objects, a few keys exist on one side only, a few are named differently, and some mean something else.
"""

import re
from collections.abc import Mapping
from typing import Any

from paretune.objectives.loading.known_classes import (
    MODELS,
    NEEDS_STRINGS_OR_TABLES,
    QUANTIZED_POLICIES,
    names_in,
)
from paretune.objectives.loading.safety import not_yet_quantized, without_lookups
from paretune.spaces.errors import ModelRefused

_ELSEWHERE = "Replace it, or write the model with tf_keras and give it as `module:function`."

_BRIDGED = names_in(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D
    AveragePooling2D AveragePooling3D BatchNormalization Bidirectional CenterCrop Concatenate
    Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D
    Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU
    EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization Identity LSTM LSTMCell LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D
    MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute RNN RandomBrightness
    RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation RandomZoom ReLU RepeatVector Rescaling
    Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax SpatialDropout1D
    SpatialDropout2D SpatialDropout3D StackedRNNCells Subtract TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)

_ANY = object()
_LAST = {"data_format": "channels_last"}
#: Keys that tf_keras does not know, with the value at which they do nothing; any other value refuses the layer.
_KERAS_3_ONLY: Mapping[str, Mapping[str, Any]] = {
    "AdditiveAttention": {"seed": _ANY},
    "AlphaDropout": {"noise_shape": None},
    "Attention": {"seed": _ANY},
    "BatchNormalization": {"renorm": False, "renorm_clipping": _ANY, "renorm_momentum": _ANY},
    "CenterCrop": _LAST,
    **{kind: {"zero_output_for_mask": False, "seed": _ANY} for kind in ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")},
    **{kind: {"seed": _ANY} for kind in ("GRU", "GRUCell", "LSTM", "LSTMCell", "SimpleRNN", "SimpleRNNCell")},
    "LayerNormalization": {"rms_scaling": False},
    "MultiHeadAttention": {"seed": _ANY, "use_gate": False, "sliding_window": None},
    "RandomBrightness": _LAST,
    "RandomContrast": {**_LAST, "value_range": _ANY},
    "RandomCrop": _LAST,
    "RandomFlip": _LAST,
    "RandomRotation": _LAST,
    "RandomTranslation": _LAST,
    "RandomZoom": _LAST,
    "Resizing": {**_LAST, "antialias": False, "fill_mode": _ANY, "fill_value": _ANY, "pad_to_aspect_ratio": False},
    "ZeroPadding1D": _LAST,
}
_RENAMED: Mapping[str, Mapping[str, str]] = {"LeakyReLU": {"negative_slope": "alpha"}}

#: Activations that are built of other layers: ``hard_sigmoid`` of tf_keras is 0.2 x + 0.5, and not relu6(x + 3) / 6.
HARD_ACTIVATIONS = frozenset({"hard_sigmoid", "hard_silu"})
#: Activations that compute the same on both sides.
_ACTIVATIONS: Mapping[str, str] = {
    name: name
    for name in names_in(
        "elu exponential gelu leaky_relu linear log_softmax mish relu relu6 selu sigmoid softmax softplus softsign "
        "swish tanh"
    )
} | {"silu": "swish"}
_ACTIVATION_LAYERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "relu6": ("ReLU", {"max_value": 6.0}),
    "leaky_relu": ("LeakyReLU", {"alpha": 0.2}),
}

_RECURRENT = names_in("ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU GRUCell LSTM LSTMCell SimpleRNN SimpleRNNCell")

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"})
_FIXED = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})


def translate_layer(document: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return class name and configuration for tf_keras of one serialized Keras 3 layer.

    Args:
        document: ``class_name``, ``config`` and more, as Keras 3 writes it.

    Raises:
        ModelRefused: tf_keras has no layer that computes the same; names the layer.
    """
    kind, source = document["class_name"], dict(document["config"])
    name = source.get("name", kind)
    if kind in NEEDS_STRINGS_OR_TABLES:
        raise ModelRefused(without_lookups(f"Layer '{name}'", kind))
    if kind not in _BRIDGED or not str(document.get("module", "")).startswith("keras"):
        raise refused_layer(name, kind, "which is one of the rarer layers that cannot be taken over yet")
    if source.pop("quantization_config", None) is not None:
        raise ModelRefused(not_yet_quantized(f"Layer '{name}'", kind))
    for key, neutral in _KERAS_3_ONLY.get(kind, {}).items():
        value = source.pop(key, neutral)
        if neutral is not _ANY and value != neutral:
            raise refused_layer(name, kind, f"whose `{key}: {value}` tf_keras does not have")
    if kind == "TimeDistributed" and source["layer"]["class_name"] in MODELS:
        return kind, {"name": name, "layer": source["layer"]}
    renamed = _RENAMED.get(kind, {})
    config = {renamed.get(key, key): _translate_value(key, value, name, kind) for key, value in source.items()}
    if kind == "Activation" and source["activation"] in _ACTIVATION_LAYERS:
        other, extra = _ACTIVATION_LAYERS[source["activation"]]
        del config["activation"]
        return other, config | extra
    return kind, config


def float32_policy(dtype: Any, name: str, kind: str) -> str:
    """Return the number format of a layer in the bridged model: every float becomes ``float32``.

    Raises:
        ModelRefused: The layer is quantized, or its format is unknown.
    """
    if isinstance(dtype, Mapping):
        if dtype["class_name"] in QUANTIZED_POLICIES:
            raise ModelRefused(not_yet_quantized(f"Layer '{name}'", kind))
        dtype = dtype.get("config", {}).get("name")
    if dtype in _FLOATS or dtype is None:
        return "float32"
    if dtype in _FIXED:
        return str(dtype)
    raise refused_layer(name, kind, f"whose number format '{dtype}' is not a plain float")


def refused_layer(name: str, kind: str, why: str) -> ModelRefused:
    """Return the refusal of one layer, in the one form all of them have."""
    return ModelRefused(f"Layer '{name}' of the Keras 3 model is a {kind}, {why}. {_ELSEWHERE}")


def reason_of(error: Exception) -> str:
    """Return the line of an error's message that tells most: Keras wraps it, and colours it."""
    text = re.sub(r"\x1b\[[0-9;]*m|\{\{.*?\}\} ?", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith("Exception encountered")]
    return next(iter(telling or lines), type(error).__name__).rstrip(".") + "."


def _translate_value(key: str, value: Any, name: str, kind: str) -> Any:
    if key == "dtype":
        return float32_policy(value, name, kind)
    if key.endswith("activation") and value is not None:
        if key == "activation" and kind not in _RECURRENT and isinstance(value, str) and value in HARD_ACTIVATIONS:
            return value
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            shown = value.get("class_name") if isinstance(value, Mapping) else value
            raise refused_layer(name, kind, f"whose activation '{shown}' tf_keras does not compute the same way")
        return _ACTIVATIONS[value]
    if key == "cells":
        return [_translate_inner(cell, name, kind) for cell in value]
    if not isinstance(value, Mapping) or "class_name" not in value:
        return value
    if key in ("layer", "backward_layer", "cell"):
        return _translate_inner(value, name, kind)
    # Initializers, regularizers and constraints: the same classes, but for two settings of the initializers' seeds.
    settings = {part: got for part, got in value["config"].items() if part not in ("input_axes", "output_axes")}
    return {"class_name": value["class_name"], "config": settings}


def _translate_inner(document: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    inner_kind, inner = translate_layer(document)
    if inner.get("activation") in HARD_ACTIVATIONS:
        raise refused_layer(name, kind, f"whose activation '{inner['activation']}' must stand in a layer of its own")
    return {"class_name": inner_kind, "config": inner}
