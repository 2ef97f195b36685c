"""What a model takes and gives: its inputs and outputs as data must fit them. Reads a model, imports no TensorFlow."""

from dataclasses import dataclass
from typing import Any

#: Layers that a scaled input may pass through before it meets the model's own scaling.
_BEFORE_SCALING = ("InputLayer", "Resizing", "CenterCrop", "RandomFlip", "RandomRotation", "RandomZoom", "RandomCrop")
_OPERATIONS_THAT_SCALE = ("math.truediv", "math.multiply", "math.subtract", "math.add", "cast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One input or output of a model.

    Attributes:
        name: Name of its input or output layer.
        shape: Shape of one sample; ``None`` where any length will do.
        is_integer: Whether it takes whole numbers.
        index_limit: Values must be below it, because an Embedding looks them up; ``None`` where any will do.
    """

    name: str
    shape: tuple[int | None, ...]
    is_integer: bool = False
    index_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A model's inputs and outputs in Keras order.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        scales_inputs: Whether it begins with layers that scale raw values, such as Rescaling or Normalization.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    scales_inputs: bool = False


def signature_of(model: Any) -> Signature:
    """Describe the inputs and outputs of a functional or Sequential tf_keras model."""
    inputs = tuple(
        Port(
            name=name,
            shape=tuple(tensor.shape[1:]),
            is_integer=tensor.dtype.is_integer or tensor.dtype.is_bool,
            index_limit=_index_limit(tensor, model),
        )
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    )
    outputs = tuple(
        Port(name=name, shape=tuple(tensor.shape[1:]))
        for name, tensor in zip(model.output_names, model.outputs, strict=True)
    )
    return Signature(inputs=inputs, outputs=outputs, scales_inputs=_scales_inputs(model))


def consumers(tensor: Any, model: Any) -> list[Any]:
    """Return the layers of ``model`` that read a symbolic tensor of it; inside nested models, those that read it."""
    found: list[Any] = []
    for layer in model.layers:
        for node in layer.inbound_nodes:
            positions = [position for position, source in enumerate(node.keras_inputs) if source is tensor]
            for position in positions:
                nested = hasattr(layer, "layers") and hasattr(layer, "inputs")
                found += consumers(layer.inputs[position], layer) if nested else [layer]
    return found


def _index_limit(tensor: Any, model: Any) -> int | None:
    limits = [layer.input_dim for layer in consumers(tensor, model) if type(layer).__name__ == "Embedding"]
    return min(limits, default=None)


def _scales_inputs(model: Any) -> bool:
    for layer in model.layers:
        kind = type(layer).__name__
        if kind in ("Rescaling", "Normalization"):
            return True
        if kind == "TFOpLambda":
            return layer.symbol in _OPERATIONS_THAT_SCALE
        if hasattr(layer, "layers"):
            return _scales_inputs(layer)
        if kind not in _BEFORE_SCALING:
            return False
    return False
