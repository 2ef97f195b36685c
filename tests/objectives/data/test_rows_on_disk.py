"""A folder of ``.npy`` files: opened, checked and split without being read whole."""

from pathlib import Path

import numpy as np
import pytest

import paretune.objectives.data.rows
from paretune.objectives.data.array_folder import holds_arrays, raw_from_folder
from paretune.objectives.data.dataset import assemble, dataset_digest
from paretune.objectives.data.fit_arrays import fit_inputs, fit_targets
from paretune.objectives.data.raw_data import RawData, raw_from_arrays, raw_from_npz
from paretune.objectives.data.rows import MappedRows, blocks
from paretune.objectives.data.signature import Port, Signature
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.spaces.errors import DataError

TWO_INPUTS = Signature(
    inputs=(Port(name="left", shape=(2,)), Port(name="words", shape=(3,), is_integer=True, index_limit=9)),
    outputs=(Port(name="out", shape=(3,)),),
)


def arrays(rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "x_train_left": generator.normal(size=(rows, 2)),
        "x_train_words": generator.integers(0, 9, (rows, 3), np.uint8),
        "y_train": np.arange(rows) % 3,
        "w_train": generator.random(rows),
        "class_names": np.array(["a", "b", "c"]),
    }


def folder_of(folder: Path, named: dict[str, np.ndarray]) -> RawData:
    for name, array in named.items():
        np.save(folder / f"{name}.npy", array)
    return raw_from_folder(folder)


@pytest.fixture
def tiny_blocks(monkeypatch):
    monkeypatch.setattr(paretune.objectives.data.rows, "_BLOCK_BYTES", 40)


@pytest.mark.usefixtures("tiny_blocks")
def test_a_folder_gives_the_rows_splits_and_digest_of_the_same_arrays_as_npz(tmp_path: Path):
    named = arrays(60)
    np.savez(tmp_path / "data.npz", **named)
    whole = assemble(raw_from_npz(tmp_path / "data.npz"), TWO_INPUTS, seed=3)
    mapped = assemble(folder_of(tmp_path, named), TWO_INPUTS, seed=3)
    assert dataset_digest(mapped) == dataset_digest(whole)
    assert (mapped.notes, mapped.class_names) == (whole.notes, whole.class_names)
    for split, samples in mapped.splits().items():
        expected = whole.splits()[split]
        for rows, array in zip((*samples.inputs, *samples.targets), (*expected.inputs, *expected.targets), strict=True):
            assert isinstance(rows, MappedRows)
            assert (rows.shape, rows.dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(rows[:], array)
            np.testing.assert_array_equal(rows[np.array([3, 0, 3])], array[[3, 0, 3]])
        np.testing.assert_array_equal(samples.weights, expected.weights)


def test_rows_are_cast_as_they_are_read_and_split_off_without_copies(tmp_path: Path):
    raw = folder_of(tmp_path, arrays(60))
    rows = assemble(raw, TWO_INPUTS, seed=0).validation.inputs[0]
    assert isinstance(rows, MappedRows)
    assert np.shares_memory(rows.source, raw.parts["train"][0]["left"])
    assert (rows.source.dtype, rows[:2].dtype) == (np.float64, np.float32)


def test_blocks_cover_every_row_once_and_stay_within_their_size():
    array = np.arange(3_000_000.0).reshape(-1, 3)
    pieces = list(blocks(array))
    assert len(pieces) > 1
    assert max(block.nbytes for _, block in pieces) <= 16 * 2**20
    assert [first for first, _ in pieces] == np.cumsum([0, *(len(block) for _, block in pieces)])[:-1].tolist()
    np.testing.assert_array_equal(np.concatenate([block for _, block in pieces]), array)


@pytest.mark.usefixtures("tiny_blocks")
def test_messages_name_the_row_in_the_whole_array():
    port = Port(name="x", shape=(2,))
    x = np.zeros((50, 2))
    x[41, 1] = np.nan
    with pytest.raises(DataError, match=r"finite numbers, got NaN or infinity \(row 41\)"):
        fit_inputs("x_train", x, (port,))
    x[41, 1] = 0.5
    with pytest.raises(DataError, match=r"whole numbers.*\(row 41 does not\)"):
        fit_inputs("x_train", x, (Port(name="x", shape=(2,), is_integer=True),))
    x[41, 1] = 9
    with pytest.raises(DataError, match=r"indices 0\.\.8 .*, got 9 \(row 41\)"):
        fit_inputs("x_train", x, (Port(name="x", shape=(2,), is_integer=True, index_limit=9),))
    x[41, 1] = 1e300
    with pytest.raises(DataError, match="beyond the range of float32"):
        fit_inputs("x_train", x, (port,))
    with pytest.raises(DataError, match="at most 32 bits"):
        fit_targets("y_train", np.array([0] * 40 + [2**40]), (port,))
    labels = np.arange(50) % 3 + 1
    with pytest.raises(DataError, match=r"got 3 \(y_train, row 2\)\. They seem to count from 1"):
        OutputTask(name="out", kind="classification", shape=(3,), coding="labels").check("y_train", labels)
    labels = np.array([0] * 41 + [7])
    with pytest.raises(DataError, match=r"got 7 \(y_train, row 41\)\.$"):
        OutputTask(name="out", kind="classification", shape=(3,), coding="labels").check("y_train", labels)


def test_files_that_are_no_arrays_of_numbers_are_refused_in_one_line(tmp_path: Path):
    assert not holds_arrays(tmp_path)
    np.save(tmp_path / "x_train.npy", np.zeros((9, 2)))
    assert holds_arrays(tmp_path)
    with pytest.raises(DataError, match=r"lacks y_train; it has x_train\."):
        raw_from_folder(tmp_path)
    (tmp_path / "y_train.npy").write_bytes((tmp_path / "x_train.npy").read_bytes()[:150])
    with pytest.raises(DataError, match=r"y_train\.npy is no readable \.npy file; write it with numpy\.save\."):
        raw_from_folder(tmp_path)
    np.save(tmp_path / "y_train.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"y_train\.npy holds pickled Python objects"):
        raw_from_folder(tmp_path)


def weighted(weights: object, **others: np.ndarray):
    named = {**arrays(60), "w_train": weights, **others}
    return assemble(raw_from_arrays(named, "data"), TWO_INPUTS, seed=0)


def test_sample_weights_follow_their_rows_and_change_the_digest():
    weights = np.arange(60.0)
    dataset = weighted(weights, x_train_left=np.stack([weights, weights], axis=1))
    for samples in dataset.splits().values():
        assert samples.weights.dtype == np.float32
        np.testing.assert_array_equal(samples.weights, samples.inputs[0][:, 0])
    digests = {
        dataset_digest(weighted(weights)),
        dataset_digest(weighted(weights[::-1])),
        dataset_digest(weighted(None)),
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((60, 1)), "w_train must have shape (60,), one factor per row of x_train, got (60, 1)."),
        (np.ones(59), "got (59,)."),
        (np.full(60, np.inf), "w_train must hold finite numbers, got NaN or infinity (row 0)"),
        (np.full(60, 1e300), "w_train holds numbers beyond the range of float32"),
        (np.r_[np.ones(59), -2], "w_train must hold factors of at least 0, got -2 (row 59)."),
        (np.zeros(60), "w_train must be above 0 for some row, got 0 for all 42 training rows."),
        (["a"] * 60, "w_train must hold numbers, got str"),
    ],
)
def test_sample_weights_that_cannot_be_are_refused_in_one_line(weights, message):
    with pytest.raises(DataError) as error:
        weighted(weights)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_that_only_measure_are_not_weighed():
    with pytest.raises(
        DataError, match=r"holds 'w_val'; only w_train can be given, since metrics count all rows alike"
    ):
        raw_from_arrays({**arrays(9), "w_val": np.ones(3)}, "data")
