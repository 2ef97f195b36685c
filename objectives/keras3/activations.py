"""Activations of Keras 3 that tf_keras lacks, as layers of tf_keras."""

from typing import Any

from paretune.objectives.keras_door import keras


class HardActivation:
    """Computes ``relu6(x + 3) / 6`` (hard sigmoid), or ``x`` times that (hard SiLU, or hard swish), on Keras tensors.

    Howard et al. (2019), Searching for MobileNetV3, sec. 5.2.

    Args:
        kind: ``hard_sigmoid`` or ``hard_silu``.
        name: Of the layer that gives the result; the others are named after it.
    """

    def __init__(self, kind: str, name: str) -> None:
        is_gate = kind == "hard_sigmoid"
        self._shift = keras.layers.Rescaling(1.0, 3.0, name=f"{name}_plus_3")
        self._clip = keras.layers.ReLU(6.0, name=f"{name}_relu6")
        self._gate = keras.layers.Rescaling(1 / 6, name=name if is_gate else f"{name}_gate")
        self._product = None if is_gate else keras.layers.Multiply(name=name)

    def __call__(self, tensor: Any) -> Any:
        """Return the activated tensor."""
        gate = self._gate(self._clip(self._shift(tensor)))
        return gate if self._product is None else self._product([tensor, gate])


class Activated:
    """A layer and the activation that follows it, called as one.

    Attributes:
        layer: The layer itself, which holds the weights.
    """

    def __init__(self, layer: Any, activation: HardActivation) -> None:
        self.layer = layer
        self.name = layer.name
        self._activation = activation

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, then the activation."""
        return self._activation(self.layer(*args, **kwargs))
