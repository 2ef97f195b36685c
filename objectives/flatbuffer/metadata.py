"""Write TensorFlow Lite's metadata into a file, as tflite-support does.

A ``.tflite`` can say what it is for: names, labels, normalisation. That is a second flatbuffer, kept in a buffer called
``TFLITE_METADATA``; label files are a ZIP archive behind the model, which LiteRT does not read. Android Studio, Netron,
the Task Library and MediaPipe look there.

tflite-support, which writes it, needs NumPy 1 and Protobuf 3; MediaPipe gave its writers up with version 1. So the
dozen fields that are needed are written here, by the schema.

References:
    tflite-support 0.4.4, tensorflow_lite_support/metadata/metadata_schema.fbs (identifier M001);
    tensorflow_lite_support/metadata/python/metadata.py (the buffer, the archive).
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from paretune.objectives.flatbuffer.metadata_tables import TensorNote, pack_metadata
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.file_metadata import ONLY, FileMetadata
from paretune.spaces.suggest import nearest

_BUFFER = "TFLITE_METADATA"
#: The earliest time that an archive can tell: the same metadata gives the same file.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def with_metadata(model: bytes, title: str, metadata: FileMetadata) -> bytes:
    """Return a file that computes the same and carries metadata; what it carried before is replaced.

    Args:
        model: Contents of a ``.tflite`` file with a signature.
        title: Name of the model.
        metadata: What to write.

    Raises:
        ConfigurationError: Labels or normalisation do not fit the outputs and inputs.
    """
    tree = flatbuffer_utils.read_model_from_bytearray(model)
    inputs = _notes(tree, tree.subgraphs[0].inputs, tree.signatureDefs[0].inputs)
    outputs = _notes(tree, tree.subgraphs[0].outputs, tree.signatureDefs[0].outputs)
    files = {}
    for name, labels in metadata.labels.items():
        note = _named(outputs, name, "labels", "output")
        count = note.shape[-1] if note.shape else 1
        if len(labels) != count:
            raise ConfigurationError(
                f"`metadata.labels` must name what the {count} numbers of output '{note.name}' stand for, "
                f"got {len(labels)} labels."
            )
        note.labels_file = "labels.txt" if len(outputs) == 1 else f"labels_{note.name}.txt"
        files[note.labels_file] = "".join(f"{label}\n" for label in labels).encode()
    for name, normalization in metadata.normalization.items():
        note = _named(inputs, name, "mean", "input")
        channels = note.shape[-1] if note.shape else 1
        for key in ("mean", "std"):
            given = len(getattr(normalization, key))
            if given not in (1, channels):
                raise ConfigurationError(
                    f"`metadata.{key}` must be one number, or one for each of the {channels} channels of input "
                    f"'{note.name}', got {given}."
                )
        note.normalization = normalization
    _put(tree, pack_metadata(title, metadata, inputs, outputs))
    return _with_files(bytes(flatbuffer_utils.convert_object_to_bytearray(tree)), files)


def _notes(tree: Any, numbers: Any, signature: Any) -> list[TensorNote]:
    """Return the inputs or outputs in the file's order, under their names in the signature."""
    names = {entry.tensorIndex: entry.name for entry in signature}
    tensors = tree.subgraphs[0].tensors
    return [TensorNote(_text(names[number]), tuple(int(size) for size in tensors[number].shape)) for number in numbers]


def _named(notes: list[TensorNote], name: str, key: str, what: str) -> TensorNote:
    if name == ONLY and len(notes) == 1:
        return notes[0]
    by_name = {note.name: note for note in notes}
    if name not in by_name:
        known = ", ".join(by_name)
        got = f"got '{name}'.{nearest(name, by_name)}" if name else "got none."
        raise ConfigurationError(f"`metadata.{key}` must name an {what} of the file, one of {known}; {got}")
    return by_name[name]


def _put(tree: Any, packed: bytes) -> None:
    """Add the metadata's buffer to a model, or replace the one that is there."""
    buffer = schema.BufferT()
    buffer.data = list(packed)
    for entry in tree.metadata or []:
        if _text(entry.name) == _BUFFER:
            tree.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name, entry.buffer = _BUFFER, len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]


def _with_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """Return a model with an archive behind it; stored, as readers map it into memory."""
    if not files:
        return model
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, contents in files.items():
            archive.writestr(zipfile.ZipInfo(name, _NO_TIME), contents)
    return buffer.getvalue()


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
