"""The data of an experiment: found by reference, split, and checked against the model it is for."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.array_folder import holds_arrays, raw_from_folder
from paretune.objectives.data.fit_arrays import fit_inputs, fit_targets, fit_weights, require
from paretune.objectives.data.image_folder import read_image_folder
from paretune.objectives.data.raw_data import SPLITS, WEIGHTS, RawData, raw_from_npz, raw_from_result
from paretune.objectives.data.rows import Rows, blocks, select
from paretune.objectives.data.signature import Signature, signature_of
from paretune.objectives.data.splits import HELD_OUT_SHARE, classes_of, held_out_rows
from paretune.spaces.errors import DataError, ParetuneError

KERAS_PREFIX = "keras:"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Rows of data as a model takes them.

    Attributes:
        inputs: Rows for each model input, in Keras order; float32, or int32 where the input takes whole numbers.
        targets: Rows for each model output; int32 where they are whole numbers, else float32.
        weights: Factor of each row's loss in training, float32; ``None`` weighs all alike.
    """

    inputs: tuple[Rows, ...]
    targets: tuple[Rows, ...]
    weights: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])

    def rows(self, chosen: NDArray[np.int64]) -> "Samples":
        """Return the chosen rows: a copy of those in memory, a selection of those on disk."""
        weights = None if self.weights is None else self.weights[chosen]
        inputs, targets = (tuple(select(array, chosen) for array in side) for side in (self.inputs, self.targets))
        return Samples(inputs, targets, weights)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """The three splits of an experiment's data.

    Attributes:
        train: What retraining and calibration see.
        validation: What steers the search.
        test: What the search never sees.
        class_names: Names of the classes by label, where the source knows them.
        notes: What was done to the data on the way, one sentence each.
    """

    train: Samples
    validation: Samples
    test: Samples
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def splits(self) -> Mapping[str, Samples]:
        """Return the splits by the name that their arrays go by: ``train``, ``val``, ``test``."""
        return dict(zip(SPLITS, (self.train, self.validation, self.test), strict=True))


def load_dataset(reference: str, *, beside: Path, model: Any, seed: int) -> Dataset:
    """Load the data an experiment names and fit it to its model.

    Args:
        reference: ``keras:NAME``, ``module:function``, a ``.npz`` file, a folder of ``.npy`` files, or an image folder.
        beside: Folder that relative references are resolved in.
        model: The tf_keras model the data is for.
        seed: Decides which rows are split off where validation or test data is not given.

    Raises:
        DataError: The data is missing, malformed or does not fit the model.
    """
    signature = signature_of(model)
    return assemble(_read(reference, beside, signature), signature, seed)


def assemble(raw: RawData, signature: Signature, seed: int) -> Dataset:
    """Check raw data against a model's signature, and split off what is missing.

    Raises:
        DataError: It does not fit.
    """
    parts = {split: _fit(split, x, y, signature) for split, (x, y) in raw.parts.items()}
    if raw.weights is not None:
        parts["train"] = replace(parts["train"], weights=fit_weights(WEIGHTS, raw.weights, len(parts["train"])))
    notes = list(raw.notes)
    training = parts["train"]
    missing = [split for split in ("test", "val") if split not in parts]
    require(
        len(training) > 2 * len(missing),
        f"x_train has {len(training)} rows, too few to split off {' and '.join(missing)} data; give more rows.",
    )
    total = len(training)
    for offset, split in enumerate(missing):
        classes = classes_of(training.targets[0])
        rows = held_out_rows(len(training), classes, HELD_OUT_SHARE * total / len(training), seed + offset)
        parts[split] = training.rows(rows)
        training = training.rows(np.setdiff1d(np.arange(len(training)), rows))
        notes.append(
            f"{len(rows)} of {total} training rows ({HELD_OUT_SHARE:.0%}) were split off as {split} data"
            f"{', in proportion to the classes' if classes is not None else ''} (seed {seed})."
        )
    require(
        training.weights is None or bool(training.weights.any()),
        f"{WEIGHTS} must be above 0 for some row, got 0 for all {len(training)} training rows.",
    )
    return Dataset(
        train=training, validation=parts["val"], test=parts["test"], class_names=raw.class_names, notes=tuple(notes)
    )


def dataset_digest(dataset: Dataset) -> str:
    """Return the SHA-256 of all arrays with their shapes and types, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for split, samples in dataset.splits().items():
        weights = () if samples.weights is None else (samples.weights,)
        for kind, arrays in (("x", samples.inputs), ("y", samples.targets), ("w", weights)):
            for array in arrays:
                digest.update(f"{kind}_{split} {array.dtype.str} {array.shape};".encode())
                for _, block in blocks(array):
                    digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def _read(reference: str, beside: Path, signature: Signature) -> RawData:
    if reference.startswith(KERAS_PREFIX):
        # importing it loads Keras
        from paretune.objectives.data.keras_data import read_keras_data

        return read_keras_data(reference.removeprefix(KERAS_PREFIX), signature)
    path = beside / reference
    if path.is_dir():
        return raw_from_folder(path) if holds_arrays(path) else read_image_folder(path, signature)
    if path.is_file() or path.suffix == ".npz":
        return raw_from_npz(path)

    from paretune.objectives.loading.functions import is_function_reference, resolve_function

    if not is_function_reference(reference):
        raise DataError(
            f"Data must be an existing .npz file, folder of .npy files or images, module:function or keras:NAME; "
            f"got '{reference}', and {path} does not exist."
        )
    function = resolve_function(reference, beside)
    try:
        result = function()
    except ParetuneError:
        raise
    except Exception as error:  # whatever the user's function raises
        message = str(error).splitlines()[0] if str(error) else ""
        raise DataError(f"Data function '{reference}' failed: {type(error).__name__}: {message}") from error
    return raw_from_result(result, reference)


def _fit(split: str, x: Any, y: Any, signature: Signature) -> Samples:
    inputs = fit_inputs(f"x_{split}", x, signature.inputs)
    targets = fit_targets(f"y_{split}", y, signature.outputs)
    rows = len(inputs[0])
    require(rows > 0, f"x_{split} is empty; every split needs at least one row.")
    for name, array in (
        *((f"x_{split} '{port.name}'", array) for port, array in zip(signature.inputs, inputs, strict=True)),
        *((f"y_{split}", array) for array in targets),
    ):
        require(
            len(array) == rows,
            f"x_{split} has {rows} rows, {name} has {len(array)}; all arrays of a split need as many rows.",
        )
    return Samples(inputs, targets)
