"""Metadata in a file, read back by the schema's own rules and by nothing of ours."""

import io
import struct
import zipfile
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers.table import Table

from paretune.objectives.flatbuffer.metadata import with_metadata
from paretune.objectives.flatbuffer.metadata_tables import TensorNote, pack_metadata
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.file_metadata import ONLY, FileMetadata, Normalization
from tests.tiny_tflite import doubled, example_of_doubled, sum_and_product

LABELS = ("zero", "one", "two", "three")
WHOLE = FileMetadata(
    description="Doubles.",
    author="A. Author",
    license="MIT",
    version="1.2",
    labels={ONLY: LABELS},
    normalization={ONLY: Normalization(mean=(127.5,), std=(64.0,))},
)


class Reader:
    """A table of a flatbuffer, by slot."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @classmethod
    def root(cls, packed: bytes) -> "Reader":
        assert packed[4:8] == b"M001"
        return cls(Table(packed, struct.unpack_from("<I", packed)[0]))

    def _at(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))

    def text(self, slot: int) -> str:
        return "" if not self._at(slot) else self._table.String(self._at(slot) + self._table.Pos).decode()

    def number(self, slot: int) -> int:
        flags = flatbuffers.number_types.Uint8Flags
        return 0 if not self._at(slot) else int(self._table.Get(flags, self._at(slot) + self._table.Pos))

    def table(self, slot: int) -> "Reader":
        return Reader(Table(self._table.Bytes, self._table.Indirect(self._at(slot) + self._table.Pos)))

    def tables(self, slot: int) -> list["Reader"]:
        if not self._at(slot):
            return []
        start, count = self._table.Vector(self._at(slot)), self._table.VectorLen(self._at(slot))
        return [Reader(Table(self._table.Bytes, self._table.Indirect(start + 4 * n))) for n in range(count)]

    def floats(self, slot: int) -> list[float]:
        start, count = self._table.Vector(self._at(slot)), self._table.VectorLen(self._at(slot))
        return [struct.unpack_from("<f", self._table.Bytes, start + 4 * n)[0] for n in range(count)]


def metadata_of(model: bytes) -> Reader:
    tree = schema.Model.GetRootAs(model, 0)
    entries = [tree.Metadata(number) for number in range(tree.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    return Reader.root(tree.Buffers(entry.Buffer()).DataAsNumpy().tobytes())


def answers(model: bytes, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=model)
    found: dict[str, np.ndarray] = interpreter.get_signature_runner()(**inputs)
    return found


def test_the_texts_stand_in_the_metadata() -> None:
    root = metadata_of(with_metadata(doubled(), "twice", WHOLE))
    assert [root.text(slot) for slot in (0, 1, 2, 4, 5, 7)] == [
        "twice", "Doubles.", "1.2", "A. Author", "MIT", "1.0.0"
    ]  # fmt: skip


def test_inputs_and_outputs_are_named_in_the_files_own_order() -> None:
    (graph,) = metadata_of(with_metadata(sum_and_product(), "both", FileMetadata())).tables(3)
    assert [note.text(0) for note in graph.tables(2)] == ["right", "left"]
    assert [note.text(0) for note in graph.tables(3)] == ["output_1", "output_0"]


def test_normalisation_stands_with_the_input() -> None:
    (graph,) = metadata_of(with_metadata(doubled(), "twice", WHOLE)).tables(3)
    (unit,) = graph.tables(2)[0].tables(4)
    assert unit.number(0) == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([127.5], [64.0])
    assert not graph.tables(3)[0].tables(4)


def test_labels_lie_in_an_archive_behind_the_model_and_are_named_by_the_output() -> None:
    model = with_metadata(doubled(), "twice", WHOLE)
    (graph,) = metadata_of(model).tables(3)
    (file,) = graph.tables(3)[0].tables(6)
    assert (file.text(0), file.number(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(model)) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(LABELS)
        assert archive.getinfo("labels.txt").compress_type == zipfile.ZIP_STORED


def test_a_file_with_metadata_computes_the_same() -> None:
    (name, rows), *_ = example_of_doubled().inputs.items()
    inputs = {name: rows[:1]}
    plain, noted = answers(doubled(), inputs), answers(with_metadata(doubled(), "twice", WHOLE), inputs)
    np.testing.assert_array_equal(plain["output_0"], noted["output_0"])


def test_the_same_metadata_gives_the_same_file_and_new_metadata_replaces_the_old() -> None:
    once = with_metadata(doubled(), "twice", WHOLE)
    assert once == with_metadata(doubled(), "twice", WHOLE)
    again = with_metadata(once, "twice", FileMetadata(description="Again."))
    assert metadata_of(again).text(1) == "Again."


def test_what_has_the_shape_of_an_image_is_said_to_be_one() -> None:
    notes = [TensorNote("grey", (1, 8, 6, 1)), TensorNote("colours", (1, 8, 6, 3)), TensorNote("other", (1, 8, 6, 2))]
    (graph,) = Reader.root(pack_metadata("images", FileMetadata(), notes, [])).tables(3)
    contents = [note.table(3) for note in graph.tables(2)]
    assert [content.number(0) for content in contents] == [2, 2, 1]  # ImageProperties, FeatureProperties
    assert [content.table(1).number(0) for content in contents[:2]] == [2, 1]  # grayscale, RGB
    size = contents[0].table(1).table(1)
    assert (size.number(0), size.number(1)) == (6, 8)  # width, height


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (FileMetadata(labels={ONLY: ("a", "b")}), "the 4 numbers of output 'output_0' stand for, got 2 labels"),
        (FileMetadata(labels={"output0": LABELS}), "one of output_0; got 'output0'. Did you mean 'output_0'"),
        (
            FileMetadata(normalization={ONLY: Normalization(mean=(1.0, 2.0), std=(1.0,))}),
            "`metadata.mean` must be one number, or one for each of the 4 channels of input 'x', got 2",
        ),
    ],
)
def test_what_does_not_fit_the_file_is_told_with_what_would(metadata: FileMetadata, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        with_metadata(doubled(), "twice", metadata)
    assert message in str(raised.value)


def test_of_several_outputs_the_labelled_one_must_be_named() -> None:
    with pytest.raises(ConfigurationError, match="one of output_1, output_0; got none"):
        with_metadata(sum_and_product(), "both", FileMetadata(labels={ONLY: LABELS}))
    model = with_metadata(sum_and_product(), "both", FileMetadata(labels={"output_0": LABELS}))
    assert zipfile.ZipFile(io.BytesIO(model)).namelist() == ["labels_output_0.txt"]
