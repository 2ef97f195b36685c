"""One layer of Keras 3 in the words of tf_keras.

Both describe a layer by a class name and a plain configuration, and most of it is the same. What is not: number
formats are objects, a few keys exist on one side only, a few are named differently, and some mean something else.
"""

from collections.abc import Mapping
from typing import Any

from paretune.objectives.loading.keras3_calls import TensorSource
from paretune.objectives.loading.known_classes import names_in
from paretune.spaces.errors import ModelRefused

_ELSEWHERE = "Replace it, or write the model with tf_keras and give it as `module:function`."

_BRIDGED = names_in(
    """
    Activation ActivityRegularization Add AlphaDropout Average AveragePooling1D AveragePooling2D AveragePooling3D
    BatchNormalization Bidirectional CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot Dropout ELU
    Embedding Flatten GRU GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization Identity
    LSTM LayerNormalization LeakyReLU Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum Multiply
    Normalization PReLU Permute ReLU RepeatVector Rescaling Reshape SeparableConv1D SeparableConv2D SimpleRNN
    Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D Subtract TimeDistributed UnitNormalization
    UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)

_ANY = object()
#: Keys that tf_keras does not know, with the value at which they do nothing; any other value refuses the layer.
_KERAS_3_ONLY: Mapping[str, Mapping[str, Any]] = {
    "AlphaDropout": {"noise_shape": None},
    "BatchNormalization": {"renorm": False, "renorm_clipping": _ANY, "renorm_momentum": _ANY},
    "CenterCrop": {"data_format": "channels_last"},
    "Dense": {"quantization_config": None},
    "Embedding": {"quantization_config": None},
    "GRU": {"seed": _ANY},
    "LSTM": {"seed": _ANY},
    "LayerNormalization": {"rms_scaling": False},
    "SimpleRNN": {"seed": _ANY},
    "ZeroPadding1D": {"data_format": "channels_last"},
}
_RENAMED: Mapping[str, Mapping[str, str]] = {"LeakyReLU": {"negative_slope": "alpha"}}

#: Activations that compute the same on both sides. ``hard_sigmoid`` does not: 0.2 x + 0.5 became relu6(x + 3) / 6.
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
    if kind not in _BRIDGED or not str(document.get("module", "")).startswith("keras"):
        raise refused_layer(name, kind, "which is one of the rarer layers that cannot be taken over yet")
    for key, neutral in _KERAS_3_ONLY.get(kind, {}).items():
        value = source.pop(key, neutral)
        if neutral is not _ANY and value != neutral:
            raise refused_layer(name, kind, f"whose `{key}: {value}` tf_keras does not have")
    renamed = _RENAMED.get(kind, {})
    config = {renamed.get(key, key): _translate_value(key, value, name, kind) for key, value in source.items()}
    if kind == "Activation" and source["activation"] in _ACTIVATION_LAYERS:
        other, extra = _ACTIVATION_LAYERS[source["activation"]]
        del config["activation"]
        return other, config | extra
    return kind, config


def translate_operation(
    kind: str, name: str, config: Mapping[str, Any], operands: list[Any]
) -> tuple[str, dict[str, Any], Any]:
    """Return the tf_keras layer that stands for an operation such as ``x + y``, and what it is called with.

    Args:
        kind: Class of the operation, such as ``Add``.
        name: Its name in the model.
        config: Its settings.
        operands: What it is called with: tensors, as :class:`TensorSource`, and numbers.

    Returns:
        Class name and configuration of the layer, and its argument: one tensor or a list of them.

    Raises:
        ModelRefused: No layer computes the same; names the operation.
    """
    settings = {key: value for key, value in config.items() if key not in ("name", "trainable", "dtype")}
    tensors = [operand for operand in operands if isinstance(operand, TensorSource)]
    numbers = [operand for operand in operands if isinstance(operand, int | float)]
    if not settings and len(operands) == len(tensors) == 2 and kind in _MERGES:
        return kind, {"name": name}, tensors
    if not settings and len(operands) == 2 and len(tensors) == len(numbers) == 1:
        rescaling = _rescaling(kind, float(numbers[0]), tensor_first=operands[0] is tensors[0])
        if rescaling is not None:
            return "Rescaling", {"name": name, **rescaling}, tensors[0]
    if len(operands) == len(tensors) == 1 and kind in _ACTIVATION_OPERATIONS and settings in ({}, {"axis": -1}):
        return "Activation", {"name": name, "activation": _ACTIVATION_OPERATIONS[kind]}, tensors[0]
    raise refused_layer(name, f"keras.ops operation {kind}", "for which tf_keras has no layer")


_MERGES = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})
_ACTIVATION_OPERATIONS = {
    "Elu": "elu", "Relu": "relu", "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "swish", "Softmax": "softmax",
    "Softplus": "softplus", "Tanh": "tanh",
}  # fmt: skip


def float32_policy(dtype: Any, name: str, kind: str) -> str:
    """Return the number format of a layer in the bridged model: every float becomes ``float32``.

    Raises:
        ModelRefused: The layer is quantized, or its format is unknown.
    """
    if isinstance(dtype, Mapping):
        dtype = dtype.get("config", {}).get("name") if "Quantized" not in dtype["class_name"] else "quantized"
    if dtype in _FLOATS or dtype is None:
        return "float32"
    if dtype in _FIXED:
        return str(dtype)
    raise refused_layer(name, kind, f"whose number format '{dtype}' is not a plain float: give the model before that")


def refused_layer(name: str, kind: str, why: str) -> ModelRefused:
    """Return the refusal of one layer, in the one form all of them have."""
    return ModelRefused(f"Layer '{name}' of the Keras 3 model is a {kind}, {why}. {_ELSEWHERE}")


def _translate_value(key: str, value: Any, name: str, kind: str) -> Any:
    if key == "dtype":
        return float32_policy(value, name, kind)
    if key.endswith("activation") and value is not None:
        if not isinstance(value, str) or value not in _ACTIVATIONS:
            shown = value.get("class_name") if isinstance(value, Mapping) else value
            raise refused_layer(name, kind, f"whose activation '{shown}' tf_keras does not compute the same way")
        return _ACTIVATIONS[value]
    if not isinstance(value, Mapping) or "class_name" not in value:
        return value
    if key in ("layer", "backward_layer", "cell"):
        inner_kind, inner = translate_layer(value)
        return {"class_name": inner_kind, "config": inner}
    # Initializers, regularizers and constraints: the same classes, but for two settings of the initializers' seeds.
    settings = {part: got for part, got in value["config"].items() if part not in ("input_axes", "output_axes")}
    return {"class_name": value["class_name"], "config": settings}


def _rescaling(kind: str, number: float, *, tensor_first: bool) -> dict[str, float] | None:
    if kind == "Multiply":
        return {"scale": number, "offset": 0.0}
    if kind == "Add":
        return {"scale": 1.0, "offset": number}
    if kind == "Subtract":
        return {"scale": 1.0, "offset": -number} if tensor_first else {"scale": -1.0, "offset": number}
    if kind in ("Divide", "TrueDivide") and tensor_first and number != 0:
        return {"scale": 1.0 / number, "offset": 0.0}
    return None
