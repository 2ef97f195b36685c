"""The flatbuffer of TensorFlow Lite's metadata, field by field; see :mod:`paretune.objectives.flatbuffer.metadata`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers

from paretune.spaces.results.file_metadata import FileMetadata, Normalization

_IDENTIFIER = b"M001"
#: The oldest parser that knows every field below.
_PARSER_VERSION = "1.0.0"

# Numbers of the schema: members of its enumerations and unions.
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_COLOR_SPACES = {3: 1, 1: 2}  # by channels: RGB, grayscale
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2


@dataclass(slots=True)
class TensorNote:
    """What is noted about an input or an output.

    Attributes:
        name: In the signature.
        shape: In the file, a batch of one first.
        labels_file: File that names what its numbers stand for; empty for none.
        normalization: How raw values become what it takes.
    """

    name: str
    shape: tuple[int, ...]
    labels_file: str = ""
    normalization: Normalization | None = None

    @property
    def image_channels(self) -> int:
        """Channels, if it has the shape of an image; otherwise 0."""
        return self.shape[3] if len(self.shape) == 4 and self.shape[3] in _COLOR_SPACES else 0


def pack_metadata(
    title: str, metadata: FileMetadata, inputs: Sequence[TensorNote], outputs: Sequence[TensorNote]
) -> bytes:
    """Return the metadata of a model whose inputs and outputs stand in the file's order."""
    builder = flatbuffers.Builder(1024)
    subgraph = _table(
        builder,
        {
            2: _vector(builder, [_tensor(builder, note) for note in inputs]),
            3: _vector(builder, [_tensor(builder, note) for note in outputs]),
        },
    )
    texts = {
        0: title,
        1: metadata.description,
        2: metadata.version,
        4: metadata.author,
        5: metadata.license,
        7: _PARSER_VERSION,
    }
    offsets = {slot: builder.CreateString(text) for slot, text in texts.items() if text}
    root = _table(builder, {**offsets, 3: _vector(builder, [subgraph])})
    builder.Finish(root, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _tensor(builder: Any, note: TensorNote) -> int:
    """Write a ``TensorMetadata``."""
    offsets = {0: builder.CreateString(note.name), 3: _content(builder, note)}
    if note.normalization is not None:
        offsets[4] = _vector(builder, [_normalization(builder, note.normalization)])
    if note.labels_file:
        name = builder.CreateString(note.labels_file)
        description = builder.CreateString("What the numbers stand for, one line each.")
        file = _table(builder, {0: name, 1: description}, {2: ("Int8", _TENSOR_AXIS_LABELS)})
        offsets[6] = _vector(builder, [file])
    return _table(builder, offsets)


def _content(builder: Any, note: TensorNote) -> int:
    if not note.image_channels:
        features = _table(builder, {})
        return _table(builder, {1: features}, {0: ("Uint8", _FEATURE_PROPERTIES)})
    height, width = note.shape[1:3]
    size = _table(builder, {}, {0: ("Uint32", width), 1: ("Uint32", height)})
    image = _table(builder, {1: size}, {0: ("Int8", _COLOR_SPACES[note.image_channels])})
    return _table(builder, {1: image}, {0: ("Uint8", _IMAGE_PROPERTIES)})


def _normalization(builder: Any, normalization: Normalization) -> int:
    """Write a ``ProcessUnit`` with ``NormalizationOptions``."""
    options = _table(builder, {0: _floats(builder, normalization.mean), 1: _floats(builder, normalization.std)})
    return _table(builder, {1: options}, {0: ("Uint8", _NORMALIZATION_OPTIONS)})


def _table(builder: Any, offsets: Mapping[int, int], numbers: Mapping[int, tuple[str, int]] | None = None) -> int:
    """Write a table: what is written elsewhere, and numbers with their type, by slot."""
    numbers = numbers or {}
    builder.StartObject(max([*offsets, *numbers], default=-1) + 1)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, (kind, value) in numbers.items():
        getattr(builder, f"Prepend{kind}Slot")(slot, value, 0)
    written: int = builder.EndObject()
    return written


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    written: int = builder.EndVector()
    return written


def _floats(builder: Any, values: Sequence[float]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    written: int = builder.EndVector()
    return written
