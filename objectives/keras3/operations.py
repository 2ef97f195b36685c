"""Operations of Keras 3 that stand in a model like layers (``x + y``), in the words of tf_keras."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from paretune.objectives.keras3.calls import Call, TensorSource, leaves
from paretune.objectives.keras3.layers import float32_policy, refused_layer

#: How a tf_keras layer stands for an operation: its class, its configuration, and what it is called with.
Replacement = tuple[str, dict[str, Any], Call]

_OPERANDS = ("x", "x1", "x2", "xs", "arrays")
_ACTIVATIONS = {
    "Elu": "elu", "LogSoftmax": "log_softmax", "Relu": "relu", "Selu": "selu", "Sigmoid": "sigmoid", "Silu": "swish",
    "Softmax": "softmax", "Softplus": "softplus", "Softsign": "softsign", "Tanh": "tanh",
}  # fmt: skip
_MERGES = frozenset({"Add", "Subtract", "Multiply", "Maximum", "Minimum"})
#: Functions of TensorFlow that take the same operands.
_ELEMENTWISE = {
    "Abs": "math.abs", "Absolute": "math.abs", "Add": "math.add", "Divide": "math.truediv", "Exp": "math.exp",
    "Log": "math.log", "Matmul": "linalg.matmul", "Maximum": "math.maximum", "Minimum": "math.minimum",
    "Multiply": "math.multiply", "Negative": "math.negative", "Power": "math.pow", "Sqrt": "math.sqrt",
    "Square": "math.square", "Subtract": "math.subtract", "TrueDivide": "math.truediv",
}  # fmt: skip
_REDUCTIONS = {
    "Max": "math.reduce_max", "Mean": "math.reduce_mean", "Min": "math.reduce_min", "Sum": "math.reduce_sum",
}  # fmt: skip


def translate_operation(document: Mapping[str, Any], call: Call) -> Replacement:
    """Return the tf_keras layer that stands for an operation, and how it is called.

    Args:
        document: ``class_name``, ``config`` and more, as Keras 3 writes it.
        call: How the operation is called: with tensors, as :class:`TensorSource`, with numbers and arrays.

    Raises:
        ModelRefused: No layer computes the same; names the operation.
    """
    kind, name = document["class_name"], document["name"]
    operands = [*call.args, *(call.kwargs[key] for key in _OPERANDS if key in call.kwargs)]
    settings = {
        key: value
        for key, value in {**document["config"], **call.kwargs}.items()
        if key not in ("name", "trainable", *_OPERANDS) and value is not None
    }
    found = (
        _as_layer(kind, operands, settings)
        or _as_function(kind, operands, settings)
        or _as_rearrangement(kind, operands, settings)
    )
    if found is None:
        raise refused_layer(name, f"keras.ops operation {kind}", "for which tf_keras has no layer")
    layer, config, replaced = found
    return layer, {"name": name, **config}, replaced


def _as_layer(kind: str, operands: list[Any], settings: Mapping[str, Any]) -> Replacement | None:
    """Return a layer of tf_keras with the same meaning: layers can be compressed, trained and drawn."""
    tensors = [operand for operand in operands if isinstance(operand, TensorSource)]
    numbers = [operand for operand in operands if isinstance(operand, int | float) and not isinstance(operand, bool)]
    if not settings and len(operands) == len(tensors) == 2 and kind in _MERGES:
        same_rank = len(tensors[0].shape) == len(tensors[1].shape)  # layers align shapes from the left
        return (kind, {}, Call([tensors], {})) if same_rank else None
    if not settings and len(operands) == 2 and len(tensors) == len(numbers) == 1:
        rescaling = _rescaling(kind, float(numbers[0]), tensor_first=operands[0] is tensors[0])
        return None if rescaling is None else ("Rescaling", rescaling, Call([tensors[0]], {}))
    if kind == "Concatenate":
        return "Concatenate", {"axis": settings.get("axis", -1)}, Call(operands, {})
    if len(operands) != 1 or len(tensors) != 1:
        return None
    argument = Call([tensors[0]], {})
    if kind == "Negative":
        return "Rescaling", {"scale": -1.0, "offset": 0.0}, argument
    if kind in _ACTIVATIONS and settings in ({}, {"axis": -1}):
        return "Activation", {"activation": _ACTIVATIONS[kind]}, argument
    if kind == "Softmax":
        return "Softmax", dict(settings), argument
    if kind == "Relu6":
        return "ReLU", {"max_value": 6.0}, argument
    if kind == "LeakyRelu":
        return "LeakyReLU", {"alpha": settings["negative_slope"]}, argument
    return ("Activation", {"activation": _HARD[kind]}, argument) if kind in _HARD else None


_HARD = {"HardSigmoid": "hard_sigmoid", "HardSilu": "hard_silu"}


def _as_function(kind: str, operands: list[Any], settings: Mapping[str, Any]) -> Replacement | None:
    """Return the call of a TensorFlow function that computes with its operands."""
    if kind in _ELEMENTWISE and not settings:
        return _function(_ELEMENTWISE[kind], operands)
    if kind in _REDUCTIONS:
        return _function(_REDUCTIONS[kind], operands, axis=settings.get("axis"), keepdims=settings["keepdims"])
    if kind == "Gelu":
        return _function("nn.gelu", operands, approximate=settings["approximate"])
    if kind == "Clip":
        limits = {"clip_value_min": settings["x_min"], "clip_value_max": settings["x_max"]}
        return _function("clip_by_value", operands, **limits)
    if kind == "Einsum":
        return _function("einsum", [settings["subscripts"], *leaves(operands)])
    if kind == "Cast":
        return _function("cast", operands, dtype=float32_policy(settings["dtype"], "cast", "operation"))
    return None


def _as_rearrangement(kind: str, operands: list[Any], settings: Mapping[str, Any]) -> Replacement | None:
    """Return the call of a TensorFlow function that moves values about."""
    rank = len(operands[0].shape) if operands and isinstance(operands[0], TensorSource) else 0
    if kind == "GetItem":
        pieces = operands[1] if isinstance(operands[1], list) else [operands[1]]
        spec = tuple(_slice_document(piece) if isinstance(piece, slice) else piece for piece in pieces)
        return "SlicingOpLambda", {"function": "__operators__.getitem"}, Call([operands[0]], {"slice_spec": spec})
    if kind == "Reshape" and None not in settings["newshape"]:
        return _function("reshape", operands, shape=settings["newshape"])
    if kind == "Transpose":
        return _function("transpose", operands, perm=settings.get("axes", list(reversed(range(rank)))))
    if kind == "Swapaxes":
        order = list(range(rank))
        first, second = settings["axis1"], settings["axis2"]
        order[first], order[second] = order[second], order[first]
        return _function("transpose", operands, perm=order)
    if kind == "Moveaxis" and rank:
        return _function("transpose", operands, perm=_moved(rank, settings["source"], settings["destination"]))
    simple = {"ExpandDims": "expand_dims", "Squeeze": "squeeze", "Stack": "stack"}
    if kind in simple:
        return _function(simple[kind], operands, **settings)
    if kind == "Split" and isinstance(settings["indices_or_sections"], int):
        parts = {"num_or_size_splits": settings["indices_or_sections"], "axis": settings["axis"]}
        return _function("split", operands, **parts)
    if kind == "Pad" and settings["mode"] == "constant":
        values = {"constant_values": settings.get("constant_values", 0)}
        return _function("pad", operands, paddings=settings["pad_width"], **values)
    return None


def _slice_document(piece: slice) -> dict[str, Any]:
    """Return a slice as tf_keras keeps it in a configuration."""
    return {"start": piece.start, "stop": piece.stop, "step": piece.step}


def _moved(rank: int, source: Any, destination: Any) -> list[int]:
    """Return the order of axes that ``numpy.moveaxis`` gives."""
    return [int(size) for size in np.moveaxis(np.empty(tuple(range(rank)), bool), source, destination).shape]


def _function(name: str, operands: list[Any], **settings: Any) -> Replacement:
    return "TFOpLambda", {"function": name}, Call(operands, settings)


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
