"""Rebuild a model from wrapped copies of its layers, and find the variables of the originals again."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from paretune.objectives.keras_door import tf
from paretune.objectives.working_copy.replay import replay_model


def _unchanged(name: str, tensor: Any) -> Any:
    return tensor


def wrapped_model(
    model: Any, wrap: Callable[[Any], Any], enter: Callable[[str, Any], Any] = _unchanged
) -> tuple[Any, dict[str, list[Any]]]:
    """Build a model in which ``wrap(layer)`` stands for every layer of ``model``, which is only read.

    Args:
        model: A flat functional model.
        wrap: Takes a layer and returns a new one, or a :class:`MaskThrough` wrapper of a new one.
        enter: Takes the name and the tensor of an input, and returns what the layers get instead.

    Returns:
        The new model, and the variables of its layers by the name of the original, in the original's order.
    """
    copies: dict[str, Any] = {}

    def call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if layer.name not in copies:
            copies[layer.name] = wrap(layer)
        return copies[layer.name](*args, **kwargs)

    built = replay_model(model, call, enter)
    return built, {layer.name: _weights_of(copies[layer.name]) for layer in model.layers if layer.weights}


def _weights_of(copy: Any) -> list[Any]:
    return list(copy.wrapped_weights if isinstance(copy, MaskThrough) else copy.weights)


class MaskThrough:
    """Makes a wrapper of tfmot's pass masks on, and remember the weights of its layer.

    tfmot's wrappers put tensors in the place of a layer's variables once they are called, and refuse masks.
    """

    layer: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.supports_masking = self.layer.supports_masking
        self.wrapped_weights: tuple[Any, ...] = ()
        self._takes_mask = "mask" in inspect.signature(self.layer.call).parameters

    def build(self, input_shape: Any) -> None:
        """Build the layer, and remember its weights before the wrapper replaces them."""
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        self.wrapped_weights = tuple(self.layer.weights)
        super().build(input_shape)  # type: ignore[misc]  # mixed into a Keras wrapper

    # AutoGraph would rewrite the sources of tfmot and Keras at every call, which decides nothing there
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow is untyped
    def call(self, inputs: Any, training: Any = None, mask: Any = None, **kwargs: Any) -> Any:
        """Call the layer, with a mask where it takes one."""
        if self._takes_mask and mask is not None:
            kwargs["mask"] = mask
        return super().call(inputs, training=training, **kwargs)  # type: ignore[misc]  # mixed into a Keras wrapper

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask that the layer passes on."""
        return self.layer.compute_mask(inputs, mask)


def read_variables(variables: Mapping[str, list[Any]], use: Callable[[Any], Any]) -> dict[str, list[Any]]:
    """Return the value of ``use(variable)`` for every variable, by layer; runs in the graph."""
    return {name: [tf.convert_to_tensor(use(each)) for each in own] for name, own in variables.items()}


def position(layer: Any, variable: Any) -> int:
    """Return the place of a variable among the weights of its layer."""
    return next(index for index, own in enumerate(layer.weights) if own is variable)
