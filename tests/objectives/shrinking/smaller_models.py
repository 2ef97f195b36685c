"""Keras models with channels held at zero, and the smaller models that compute the same: what cut files must equal.

Masks are followed through Keras layers here, not through the operators of a file.
"""

from typing import Any

import numpy as np

from paretune.objectives.keras_door import keras

_PRODUCERS = ("Conv1D", "Conv2D", "Conv2DTranspose", "Dense", "SeparableConv2D")


def masked(model: Any, kept: dict[str, np.ndarray]) -> Any:
    """Zero the channels that go, in what makes them, norms them and reads them; the model is changed and returned."""
    reads, gives = _masks(model, kept)
    for layer in model.layers:
        weights = layer.get_weights()
        for array, cuts in zip(weights, _cuts(layer, reads[layer.name], gives[layer.name]), strict=False):
            for axis, mask in cuts:
                np.moveaxis(array, axis, 0)[~mask] = 0
        layer.set_weights(weights)
    return model


def smaller(model: Any, kept: dict[str, np.ndarray]) -> Any:
    """Return the model that has only the channels that stay, with their weights."""
    reads, gives = _masks(model, kept)

    def rebuilt(layer: Any) -> Any:
        config = layer.get_config()
        for width in ("filters", "units"):
            if width in config and layer.name in kept:
                config[width] = int(kept[layer.name].sum())
        return type(layer).from_config(config)

    small = keras.models.clone_model(model, clone_function=rebuilt)
    for layer in model.layers:
        weights = layer.get_weights()
        for number, cuts in enumerate(_cuts(layer, reads[layer.name], gives[layer.name])[: len(weights)]):
            for axis, mask in cuts:
                weights[number] = np.compress(mask, weights[number], axis=axis)
        small.get_layer(layer.name).set_weights(weights)
    return small


def alternating(model: Any, *whole: str) -> dict[str, np.ndarray]:
    """Return masks for all layers but the last and those named; layers of one width get one mask, so they may meet."""
    masks = {}
    producers = [layer for layer in model.layers if type(layer).__name__ in _PRODUCERS]
    for layer in producers[:-1]:
        if layer.name not in whole:
            width = layer.output_shape[-1]
            masks[layer.name] = np.random.default_rng(width).random(width) < 0.6
            masks[layer.name][0] = True
    return masks


def _masks(model: Any, kept: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what stays of each layer's (first) input and of its output, by layer name."""
    reads, gives = {}, {}
    for layer in model.layers:
        kind = type(layer).__name__
        sources = [source.name for source, _, _, _ in layer.inbound_nodes[0].iterate_inbound()]
        ins = [gives[source] for source in sources]
        shape = layer.output_shape[0] if isinstance(layer.output_shape, list) else layer.output_shape
        if not ins or kind in _PRODUCERS:
            out = kept.get(layer.name, np.ones(shape[-1], bool))
        elif kind == "Concatenate":
            out = np.concatenate(ins)
        elif kind == "DepthwiseConv2D":
            out = np.repeat(ins[0], layer.depth_multiplier)
        elif kind == "Flatten":
            out = np.tile(ins[0], shape[-1] // ins[0].size)
        elif kind == "ZeroPadding2D" and layer.data_format == "channels_first":
            out = np.pad(ins[0], layer.padding[1], constant_values=True)
        else:  # also layers that move channels to another axis, until one moves them back
            out = ins[0]
        reads[layer.name], gives[layer.name] = ins[0] if ins else out, out
    return reads, gives


def _cuts(layer: Any, reads: np.ndarray, gives: np.ndarray) -> list[list[tuple[int, np.ndarray]]]:
    """Return which axes of each variable run over which channels."""
    kind, bias = type(layer).__name__, [(-1, gives)]
    if kind in ("Conv1D", "Conv2D", "Dense"):
        return [[(-2, reads), (-1, gives)], bias]
    if kind == "Conv2DTranspose":
        return [[(-1, reads), (-2, gives)], bias]
    if kind == "DepthwiseConv2D":
        return [[(-2, reads)], bias]
    if kind == "SeparableConv2D":
        return [[(-2, reads)], [(-2, np.repeat(reads, layer.depth_multiplier)), (-1, gives)], bias]
    return [bias] * 4 if kind in ("BatchNormalization", "PReLU") else []
