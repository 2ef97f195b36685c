"""A model and data from memory, as files that workers read: content-addressed, so that the same call goes on."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretune.experiments.files import disk_errors
from paretune.objectives.data.raw_data import WEIGHTS, raw_from_result
from paretune.objectives.loading.functions import is_function_reference
from paretune.spaces.errors import ConfigurationError, DataError

KERAS_DATA = "keras:"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class GivenFiles:
    """The folder of a run in which the experiment file, and the model and data from memory, lie.

    Attributes:
        folder: ``RUN/given``; it is made when something is written.
    """

    folder: Path

    def model(self, model: Any) -> str:
        """Return a reference to the model, as seen from the folder; a model in memory is saved as a ``.keras`` file.

        Args:
            model: A path, ``module:function``, or a model of Keras 3 or tf_keras.

        Raises:
            ConfigurationError: If it is none of these, or the file is not there.
            RunError: If it cannot be written.
        """
        if isinstance(model, str | os.PathLike):
            return self._reference("model", os.fspath(model))
        if not all(hasattr(model, name) for name in ("to_json", "get_weights", "save")):
            raise ConfigurationError(
                "`model` must be a Keras model, a path or 'module:function', "
                f"got {_kind(model)}. A function that builds one is named as 'module:function'."
            )
        name = f"model-{_model_digest(model)}.keras"
        if not (self.folder / name).exists():
            self._make()
            with disk_errors(self.folder / name), tempfile.TemporaryDirectory(dir=self.folder) as workplace:
                part = Path(workplace) / name
                model.save(part)
                part.replace(self.folder / name)
        return name

    def data(self, data: Any) -> str:
        """Return a reference to the data, as seen from the folder; arrays are written as a folder of ``.npy`` files.

        Args:
            data: A path, ``module:function``, ``keras:NAME``; a mapping of arrays by the names of a ``.npz`` file;
                ``(x, y)``; ``((x_train, y_train), (x_test, y_test))``, or with the validation data between them.
                Each pair may also be a batched ``tf.data.Dataset``.

        Raises:
            ConfigurationError: If it is none of these, or the file is not there.
            DataError: If an array is missing, has an unknown name or holds Python objects.
            RunError: If it cannot be written.
        """
        if isinstance(data, str | os.PathLike):
            return self._reference("data", os.fspath(data))
        arrays = {name: _array(name, value) for name, value in _named_arrays(data)}
        name = f"data-{_arrays_digest(arrays)}"
        if not (self.folder / name).exists():
            self._make()
            with disk_errors(self.folder / name):
                part = Path(tempfile.mkdtemp(dir=self.folder, prefix=".data."))
                try:
                    for each, array in arrays.items():
                        np.save(part / f"{each}.npy", array, allow_pickle=False)
                    part.chmod(0o755)
                    part.rename(self.folder / name)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
        return name

    def _reference(self, argument: str, reference: str) -> str:
        path = Path(reference)
        if path.exists():
            # both resolved: `..` behind a link leads elsewhere
            return Path(os.path.relpath(path.resolve(), self.folder.resolve())).as_posix()
        if reference.startswith(KERAS_DATA) or is_function_reference(reference):
            return reference
        raise ConfigurationError(f"`{argument}` must be 'module:function' or a path that is there, got {reference!r}.")

    def _make(self) -> None:
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)


def name_of(model: Any) -> str:
    """Return what a run of this model is called unless it is told: the file's stem, the function's or model's name."""
    if isinstance(model, str | os.PathLike):
        text = os.fspath(model)
        is_function = is_function_reference(text) and not Path(text).exists()
        return text.rpartition(":")[2].rpartition(".")[2] if is_function else Path(text).stem
    name = getattr(model, "name", None)
    return name if isinstance(name, str) and name else "model"


def _named_arrays(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield arrays with the names of a ``.npz`` file."""
    if not isinstance(data, Mapping):
        data = _pairs(data)
    raw = raw_from_result(data, "data")
    for split, sides in raw.parts.items():
        for side, value in zip("xy", sides, strict=True):
            if isinstance(value, Mapping):
                yield from ((f"{side}_{split}_{part}", array) for part, array in value.items())
            elif isinstance(value, list) and value and all(hasattr(part, "shape") for part in value):
                yield from ((f"{side}_{split}_{index}", array) for index, array in enumerate(value))
            else:
                yield f"{side}_{split}", value
    if raw.weights is not None:
        yield WEIGHTS, raw.weights
    if raw.class_names is not None:
        yield "class_names", np.array(raw.class_names, dtype=str)


def _pairs(data: Any) -> Any:
    """Return pairs in which data sets of TensorFlow have become arrays."""
    if _is_dataset(data):
        return _pair_of(data)
    if isinstance(data, tuple | list):
        return tuple(_pair_of(part) if _is_dataset(part) else part for part in data)
    raise ConfigurationError(
        "`data` must be a path, 'module:function', a mapping with x_train and y_train, (x, y), a tuple of such pairs, "
        f"or a batched tf.data.Dataset, got {_kind(data)}."
    )


def _is_dataset(value: Any) -> bool:
    return hasattr(value, "as_numpy_iterator") and hasattr(value, "cardinality")


def _pair_of(dataset: Any) -> tuple[Any, Any]:
    """Return the rows of a batched data set of ``(x, y)``."""
    if int(dataset.cardinality()) == -1:
        raise DataError("`data` must end: a tf.data.Dataset that repeats for ever cannot be kept; use take().")
    batches = list(dataset.as_numpy_iterator())
    if not batches or not all(isinstance(batch, tuple) and len(batch) == 2 for batch in batches):
        raise DataError("`data` must be a tf.data.Dataset of pairs (x, y), with at least one batch.")
    x, y = (_joined([batch[side] for batch in batches]) for side in (0, 1))
    return x, y


def _joined(batches: Sequence[Any]) -> Any:
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: _joined([batch[name] for batch in batches]) for name in first}
    if isinstance(first, tuple | list):
        return [_joined([batch[index] for batch in batches]) for index in range(len(first))]
    if np.ndim(first) == 0:
        raise DataError("`data` must be batched where it is a tf.data.Dataset: use batch(64).")
    return np.concatenate(batches)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except Exception as error:  # whatever a tensor of another library raises
        raise DataError(f"{name} of `data` must be an array: {error}") from error
    if array.dtype.hasobject:
        raise DataError(f"{name} of `data` must be numbers, got Python objects; rows may differ in length.")
    return array


def _model_digest(model: Any) -> str:
    """Return a digest of architecture and weights; files differ from one save to the next."""
    # how a model was compiled does not matter to what is made of it
    config = json.loads(model.to_json()).get("config")
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for weights in model.get_weights():
        _feed(digest, np.asarray(weights))
    return digest.hexdigest()[:_DIGITS]


def _arrays_digest(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(name.encode())
        _feed(digest, array)
    return digest.hexdigest()[:_DIGITS]


def _feed(digest: Any, array: np.ndarray[Any, Any]) -> None:
    digest.update(f"{array.dtype.str} {array.shape};".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
