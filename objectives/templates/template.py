"""Convert a model once, then write any weights of the same architecture into the file.

A conversion takes seconds; writing the weights into a converted file takes milliseconds and gives the same numbers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.objectives.flatbuffer.graph import Graph, read_graph
from paretune.objectives.flatbuffer.places import KernelPlace, find_places
from paretune.objectives.kernels.weights import read_weights
from paretune.objectives.templates.conversion import (
    clone,
    convert,
    convert_own,
    signature_names,
    with_names_of,
)
from paretune.objectives.templates.expressions import Expression, Weights
from paretune.objectives.templates.matching import match_constants, norms_of
from paretune.objectives.templates.near_matching import choose_expressions, near_matches

#: Layers whose variables describe the data: no stage trains them, and random values would not be valid ones.
_FIXED_KINDS = ("Normalization", "Discretization", "CategoryEncoding", "StringLookup", "IntegerLookup")


@dataclass(frozen=True, slots=True)
class Patch:
    """A stretch of the file, and what to write there."""

    offset: int
    expression: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatTemplate:
    """A float32 ``.tflite`` file for a batch of one, and how to write weights into it. Plain data: pickle it freely.

    Attributes:
        file: The file, with meaningless weights.
        patches: What to write where.
        unmatched: Names of the constants that depend on weights in a way that no expression tells. If there are any,
            :meth:`fill` converts anew each time, which takes seconds.
        input_names: Names in the signature, in the order of the Keras inputs; they survive quantization.
        output_names: Likewise of the outputs.
        places: Where the kernels are, by Keras layer.
        shapes: Shapes of the variables of every layer that has some.
        fixed: Digest of variables that the file holds as constants, by layer.
    """

    file: bytes
    patches: tuple[Patch, ...]
    unmatched: tuple[str, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    places: Mapping[str, tuple[KernelPlace, ...]]
    shapes: Mapping[str, tuple[tuple[int, ...], ...]]
    fixed: Mapping[str, str]

    def fill(self, model: Any) -> bytes:
        """Return the file with the weights of ``model``, which is left as it is.

        Args:
            model: A Keras model of the architecture the template was built from.

        Raises:
            ValueError: The layers of ``model``, or the shapes of their variables, are others.
            ModelRefused: A new conversion was needed and failed.
        """
        weights = read_weights(model)
        if _shapes(weights) != self.shapes:
            raise ValueError("`model` must have the layers and shapes of the model the template was built from.")
        if self.unmatched or _fixed(model, weights) != self.fixed:
            return with_names_of(self.file, convert(model))
        file = bytearray(self.file)
        for patch in self.patches:
            # Adding zero turns the negative zeros that masks leave behind into plain ones: fewer distinct values.
            values = np.ascontiguousarray(patch.expression.evaluate(weights) + np.float32(0), np.float32)
            file[patch.offset : patch.offset + values.nbytes] = values.tobytes()
        return bytes(file)


def build_template(model: Any) -> FloatTemplate:
    """Convert a functional Keras float32 model once, so that weights can be written into the file later.

    A copy is converted, with random weights: then no constants are equal by chance, which the converter would merge,
    and each can be told by its values. If any constant is left without an expression, a second conversion with other
    random weights shows whether it depends on weights.

    Raises:
        ModelRefused: TensorFlow Lite's built-in operators cannot express the model.
    """
    copy = clone(model)
    weights = _randomise(copy, model, seed=1)
    file = convert_own(copy)
    graph = read_graph(file)
    constants = _float_constants(graph)
    trained = {name: arrays for name, arrays in weights.items() if name not in _fixed(model, weights)}
    norms = norms_of(copy)
    matched = match_constants(constants, trained, norms)
    unmatched: tuple[str, ...] = ()
    left = [name for name in constants if name not in matched]
    if left:
        options = {name: [expression] for name, expression in matched.items()}
        options |= {name: near_matches(constants[name], trained, norms) for name in left}
        weights_again = _randomise(copy, model, seed=2)
        again = _float_constants(read_graph(convert_own(copy)))
        matched, unmatched = choose_expressions(constants, again, options, weights_again)
    names = signature_names(model)
    offsets = {tensor.name: tensor.offset for tensor in graph.all_tensors()}
    return FloatTemplate(
        file=file,
        patches=tuple(Patch(offsets[name], expression) for name, expression in matched.items()),
        unmatched=unmatched,
        input_names=names.inputs,
        output_names=names.outputs,
        places=find_places(graph, copy, weights, matched),
        shapes=_shapes(weights),
        fixed=_fixed(model, weights),
    )


def _randomise(copy: Any, model: Any, seed: int) -> dict[str, list[np.ndarray]]:
    """Give ``copy`` random weights, valid for every kind of layer, and return them."""
    generator = np.random.default_rng(seed)
    for layer in copy.layers:
        values = []
        for value in model.get_layer(layer.name).get_weights():
            if type(layer).__name__ in _FIXED_KINDS or not np.issubdtype(np.asarray(value).dtype, np.floating):
                values.append(value)
            elif np.ndim(value) >= 2:
                values.append(generator.uniform(-1, 1, np.shape(value)).astype(np.float32))
            else:  # also variances, which must be positive
                values.append(generator.uniform(0.5, 1.5, np.shape(value)).astype(np.float32))
        layer.set_weights(values)
    return read_weights(copy)


def _float_constants(graph: Graph) -> dict[str, np.ndarray]:
    """Return the float constants by tensor name, one name per buffer; zeros, which no weights gave, are left out."""
    by_buffer = {tensor.buffer: tensor for tensor in graph.all_tensors() if tensor.is_constant}
    tensors = [tensor for tensor in by_buffer.values() if tensor.dtype == "FLOAT32"]
    constants = {tensor.name: graph.stored(tensor) for tensor in tensors}
    return {name: constant for name, constant in constants.items() if constant.any()}


def _shapes(weights: Weights) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {layer: tuple(array.shape for array in arrays) for layer, arrays in weights.items()}


def _fixed(model: Any, weights: Weights) -> dict[str, str]:
    """Return a digest of the variables of every layer that keeps its own."""
    kept = [layer.name for layer in model.layers if type(layer).__name__ in _FIXED_KINDS and layer.name in weights]
    return {
        name: hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in weights[name])).hexdigest()
        for name in kept
    }
