"""A model and data from memory, as files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.experiments.face.given import GivenFiles, name_of
from paretune.objectives.data.array_folder import raw_from_folder
from paretune.spaces.errors import ConfigurationError, DataError

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)


class KerasLike:
    """What is asked of a Keras model; it counts how often it is saved."""

    name = "net"

    def __init__(self, units: int = 4, weight: float = 1.0, rate: float = 0.1) -> None:
        self.units, self.weight, self.rate, self.saved = units, weight, rate, 0

    def to_json(self) -> str:
        return json.dumps({"config": {"units": self.units}, "compile_config": {"rate": self.rate}})

    def get_weights(self) -> list[Any]:
        return [np.full((2, 2), self.weight, np.float32)]

    def save(self, path: Path) -> None:
        self.saved += 1
        path.write_text(f"saved {self.saved}")


@pytest.fixture
def given(tmp_path: Path) -> GivenFiles:
    return GivenFiles(tmp_path / "runs" / "net" / "given")


def read(given: GivenFiles, data: Any) -> dict[str, tuple[Any, Any]]:
    return dict(raw_from_folder(given.folder / given.data(data)).parts)


def test_a_model_is_saved_once_whatever_it_was_compiled_with(given: GivenFiles) -> None:
    model = KerasLike()
    first = given.model(model)
    assert (given.folder / first).read_text() == "saved 1"
    assert given.model(model) == given.model(KerasLike(rate=0.5)) == first
    assert model.saved == 1
    assert sorted(path.name for path in given.folder.iterdir()) == [first]


def test_other_weights_or_another_architecture_are_another_file(given: GivenFiles) -> None:
    assert len({given.model(model) for model in (KerasLike(), KerasLike(weight=2), KerasLike(units=5))}) == 3


def test_a_model_that_cannot_be_saved_leaves_nothing(given: GivenFiles) -> None:
    model = KerasLike()
    model.save = lambda path: (_ for _ in ()).throw(NotImplementedError("get_config"))  # type: ignore[method-assign]
    with pytest.raises(NotImplementedError):
        given.model(model)
    assert not list(given.folder.iterdir())


@pytest.mark.parametrize("model", [3, None, lambda: None])
def test_what_is_no_model_is_refused_with_its_kind(given: GivenFiles, model: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"`model` must be a Keras model.* got a {type(model).__name__}"):
        given.model(model)


def test_paths_are_seen_from_the_folder(given: GivenFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.keras").touch()
    assert given.model("m.keras") == given.model(tmp_path / "m.keras") == "../../../m.keras"
    assert given.model("my_models:build") == "my_models:build"
    assert given.data("keras:mnist") == "keras:mnist"
    with pytest.raises(ConfigurationError, match=r"`data` must be .* a path that is there, got 'd.npz'"):
        given.data("d.npz")


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ((X, Y), ["train"]),
        ([X, Y], ["train"]),
        (((X, Y), (X, Y)), ["train", "test"]),
        (((X, Y), (X, Y), (X, Y)), ["train", "val", "test"]),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y}, ["train", "val"]),
        ({"x": X.tolist(), "y": Y.tolist()}, ["train"]),
    ],
)
def test_arrays_are_kept_as_they_were_given(given: GivenFiles, data: Any, parts: list[str]) -> None:
    found = read(given, data)
    assert list(found) == parts
    for x, y in found.values():
        assert np.array_equal(x, X)
        assert np.array_equal(y, Y)


def test_several_inputs_go_by_number_or_by_name(given: GivenFiles) -> None:
    x, _ = read(given, ([X, X + 1], Y))["train"]
    assert [float(each[0, 0]) for each in x] == [0, 1]
    x, _ = read(given, ({"left": X, "right": X + 1}, Y))["train"]
    assert {name: float(each[0, 0]) for name, each in x.items()} == {"left": 0, "right": 1}


def test_weights_and_class_names_are_kept(given: GivenFiles) -> None:
    data = {"x_train": X, "y_train": Y, "w_train": Y + 1.0, "class_names": ["a", "b"]}
    raw = raw_from_folder(given.folder / given.data(data))
    assert np.array_equal(raw.weights, Y + 1.0)
    assert raw.class_names == ("a", "b")


def test_the_same_arrays_are_one_folder_and_others_another(given: GivenFiles) -> None:
    assert given.data((X, Y)) == given.data({"x_train": X.copy(), "y_train": Y}) != given.data((X + 1, Y))
    assert len(list(given.folder.iterdir())) == 2


class DatasetLike:
    """What is asked of a tf.data.Dataset."""

    def __init__(self, batches: list[Any], cardinality: int = 3) -> None:
        self._batches, self._cardinality = batches, cardinality

    def cardinality(self) -> int:
        return self._cardinality

    def as_numpy_iterator(self) -> Any:
        return iter(self._batches)


def test_batches_of_a_data_set_are_joined(given: GivenFiles) -> None:
    batches = [(X[:4], Y[:4]), (X[4:], Y[4:])]
    found = read(given, (DatasetLike(batches), DatasetLike(batches)))
    assert list(found) == ["train", "test"]
    assert np.array_equal(found["test"][0], X)
    x, _ = read(given, DatasetLike([({"a": X, "b": X}, Y)]))["train"]
    assert set(x) == {"a", "b"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DatasetLike([], cardinality=-1), "must end"),
        (DatasetLike([]), "pairs"),
        (DatasetLike([X]), "pairs"),
        (DatasetLike([(X[0], Y[0])]), "must be batched"),
        ({"x_train": X}, "'data' lacks y_train"),
        ({"x_trian": X, "y_train": Y}, "Did you mean 'x_train'"),
        ((np.array([[1], [2, 3]], dtype=object), Y), "x_train of `data` must be numbers"),
        (([[1], [2, 3]], Y), "x_train of `data` must be an array"),
    ],
)
def test_data_that_cannot_be_kept_is_told_in_a_line(given: GivenFiles, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        given.data(data)
    assert "\n" not in str(caught.value)
    assert not given.folder.exists()


def test_what_is_no_data_is_refused_with_its_kind(given: GivenFiles) -> None:
    with pytest.raises(ConfigurationError, match=r"`data` must be a path.* got a int"):
        given.data(3)


@pytest.mark.parametrize(
    ("model", "name"),
    [("a/my_net.keras", "my_net"), ("nets.small:build", "build"), (KerasLike(), "net"), (Path("x/saved"), "saved")],
)
def test_a_run_is_called_after_the_model(model: Any, name: str) -> None:
    assert name_of(model) == name
