"""From a Keras model to a float32 ``.tflite`` file."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.keras_door import keras, tf
from paretune.objectives.templates.states import with_own_states
from paretune.spaces.errors import ModelRefused

SIGNATURE = "serving_default"

#: What TensorFlow makes of a full disk, a file that grows too large, and a folder that may not be written.
_UNWRITABLE = (
    OSError,
    tf.errors.ResourceExhaustedError,
    tf.errors.OutOfRangeError,
    tf.errors.PermissionDeniedError,
)


@dataclass(frozen=True, slots=True)
class SignatureNames:
    """How a file's signature calls the inputs and outputs of the Keras model, in Keras order.

    The file's own index order can be another one, before and after quantization; the names stay.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def signature_names(model: Any) -> SignatureNames:
    """Return the names that :func:`convert` gives: Keras' own for inputs; ``output_0``, ``output_1``, ... for outputs.

    Input names become valid Python names, because a signature's inputs are called by keyword.
    """
    inputs = ["".join(letter if letter.isalnum() else "_" for letter in name) for name in model.input_names]
    if len(set(inputs)) < len(inputs) or any(not name.isidentifier() for name in inputs):
        inputs = [f"input_{position}" for position in range(len(inputs))]
    return SignatureNames(tuple(inputs), tuple(f"output_{position}" for position in range(len(model.outputs))))


def clone(model: Any) -> Any:
    """Return a functional model of the same layers that shares nothing with ``model``; its weights are fresh.

    Its name is always ``model``, and Keras starts counting the names that it makes anew: both become part of tensor
    names, and a file must not depend on what the process did before.
    """
    keras.backend.reset_uids()
    copy = keras.models.clone_model(model)
    return keras.Model(copy.inputs, copy.outputs, name="model")


def convert(model: Any) -> bytes:
    """Convert a functional Keras model, its weights as they are, for a batch of one.

    Goes through a SavedModel, which is several times faster than the converter's own way from Keras. Tensor names
    are made unique, because ai-edge-quantizer tells tensors apart by name.

    Raises:
        ModelRefused: TensorFlow Lite's built-in operators cannot express the model, or there is no room for
            temporary files.
    """
    copy = clone(model)
    for layer in copy.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return convert_own(copy)


def convert_own(model: Any) -> bytes:
    """Convert like :func:`convert`, but the model itself: it is traced, and must be the caller's to spend."""
    names = signature_names(model)
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name=name)
        for tensor, name in zip(model.inputs, names.inputs, strict=True)
    ]

    def serve(*inputs: Any) -> dict[str, Any]:
        outputs = model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(names.outputs, outputs, strict=True))

    traced = tf.function(serve, input_signature=specs, autograph=False)
    module = tf.Module()
    module.kept = model.variables  # not the model: tracing every layer's own functions would double the time
    with _quiet(), tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        try:
            tf.saved_model.save(module, folder, signatures={SIGNATURE: traced})
        except _UNWRITABLE as error:
            raise ModelRefused(
                f"Converting the model needs room for temporary files in {tempfile.gettempdir()}, which cannot be "
                f"written: {_first_line(error)}. Free some, or name another folder in TMPDIR."
            ) from error
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        try:
            converted = bytes(converter.convert())
        except Exception as error:  # the converter raises bare exceptions of several kinds, many lines long
            raise ModelRefused(f"The model cannot be converted to TensorFlow Lite: {_first_line(error)}") from error
    return _with_unique_names(with_own_states(converted))


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def with_names_of(named: bytes, file: bytes) -> bytes:
    """Return ``file`` with the tensor names of ``named``, if both have the same operators in the same order.

    The converter merges equal constants, and then calls tensors otherwise than for other weights.
    """
    model, other = (flatbuffer_utils.read_model_from_bytearray(bytearray(each)) for each in (file, named))
    if _outline(model) != _outline(other):
        return file
    for subgraph, example in zip(model.subgraphs, other.subgraphs, strict=True):
        for operator, like in zip(subgraph.operators, example.operators, strict=True):
            # A bias of zeros is left out: at the end of the inputs, or by number -1.
            pairs = [
                *zip(operator.inputs, like.inputs, strict=False),
                *zip(operator.outputs, like.outputs, strict=True),
            ]
            for own, theirs in pairs:
                if own >= 0 and theirs >= 0:
                    subgraph.tensors[own].name = example.tensors[theirs].name
    return _with_unique_names(bytes(flatbuffer_utils.convert_object_to_bytearray(model)))


def _outline(model: Any) -> list[list[tuple[Any, int]]]:
    """Return the kinds of operators, by subgraph, and how many outputs each has."""
    codes = [(code.builtinCode, code.deprecatedBuiltinCode, code.customCode) for code in model.operatorCodes]
    return [
        [(codes[operator.opcodeIndex], len(operator.outputs)) for operator in subgraph.operators]
        for subgraph in model.subgraphs
    ]


def _with_unique_names(file: bytes) -> bytes:
    """Return the file with each tensor name used once; one whose names are unique comes back as it is."""
    names = [tensor.name for tensor in read_graph(file).all_tensors()]
    if len(set(names)) == len(names):
        return file
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(file))
    taken: set[bytes] = set()
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            name, count = tensor.name or b"tensor", 1
            while name in taken:
                count += 1
                name = (tensor.name or b"tensor") + b"#%d" % count
            tensor.name = name
            taken.add(name)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep TensorFlow's remarks about saving and converting from the terminal."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
