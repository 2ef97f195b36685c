"""Arrays as their source gives them, by split, before anything is known about the model."""

import zipfile
import zlib
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paretune.spaces.errors import DataError
from paretune.spaces.suggest import nearest

#: Splits by the name their arrays go by: ``x_train``, ``y_val``, ...
SPLITS = ("train", "val", "test")
_ALIASES = {"validation": "val", "valid": "val"}

#: The name that sample weights go by.
WEIGHTS = "w_train"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawData:
    """Data by split as it was found.

    Attributes:
        parts: ``(x, y)`` by split; ``train`` is always there. Each is an array, or several as a list or by name.
        weights: Factor of each training row's loss; ``None`` where the source has none.
        class_names: Names of the classes by label, where the source knows them.
        notes: What was done to the data, one sentence each.
    """

    parts: Mapping[str, tuple[Any, Any]]
    weights: Any = None
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def raw_from_npz(path: Path) -> RawData:
    """Read a ``.npz`` file with arrays ``x_train``, ``y_train`` and, optionally, the other splits.

    Raises:
        DataError: It is missing, damaged, no ``.npz``, holds Python objects, or lacks arrays.
    """
    if not path.is_file():
        raise DataError(f"Data file {path} does not exist.")
    try:
        # opened here, because NumPy leaves a damaged file open
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"Data file {path} holds a single array; save x_train and y_train with numpy.savez.")
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise DataError(
                f"Data file {path} holds pickled Python objects, which are not read because they can run code; "
                "save plain numeric arrays."
            ) from None
        raise DataError(f"Data file {path} is no readable .npz file; write it with numpy.savez.") from None
    return raw_from_arrays(arrays, str(path))


def raw_from_result(result: Any, reference: str) -> RawData:
    """Read what a data function returned.

    Accepted are a mapping of arrays by name (as in a ``.npz`` file), ``(x, y)``, and tuples of such pairs:
    ``((x_train, y_train), (x_test, y_test))`` or with the validation data between them. Several inputs or outputs are
    a list or a mapping by name, since a tuple of two is taken for a pair.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(result, Mapping):
        return raw_from_arrays(result, f"'{reference}'")
    if isinstance(result, tuple | list) and len(result) in (2, 3):
        if all(isinstance(part, tuple) and len(part) == 2 for part in result):
            splits = SPLITS if len(result) == 3 else ("train", "test")
            return RawData(parts=dict(zip(splits, result, strict=True)))
        if len(result) == 2:
            return RawData(parts={"train": (result[0], result[1])})
    raise DataError(
        f"'{reference}' must return a mapping with x_train and y_train, (x, y), or a tuple of such pairs; "
        f"got {_describe(result)}."
    )


def raw_from_arrays(arrays: Mapping[str, Any], source: str) -> RawData:
    """Sort named arrays into splits.

    Names are ``x_train y_train x_val y_val x_test y_test``, or ``x`` and ``y`` alone. Several inputs or outputs are
    ``x_train_NAME`` or ``x_train_0``, ``x_train_1``, ... ``w_train`` may give each training row a factor of its loss,
    and ``class_names`` may name the classes.

    Raises:
        DataError: An array is missing or has an unknown name.
    """
    class_names = tuple(str(name) for name in arrays["class_names"]) if "class_names" in arrays else None
    weights = arrays.get(WEIGHTS)
    names = [name for name in arrays if name not in ("class_names", WEIGHTS)]
    if set(names) == {"x", "y"}:
        return RawData(parts={"train": (arrays["x"], arrays["y"])}, weights=weights, class_names=class_names)
    sides = _sides(arrays, names, source)
    given = [split for split in SPLITS if ("x", split) in sides or ("y", split) in sides]
    for split in dict.fromkeys(("train", *given)):
        for side in ("x", "y"):
            if (side, split) not in sides:
                wanted = f"{side}_{split}"
                raise DataError(
                    f"{source} lacks {wanted}; it has {', '.join(names) or 'no arrays'}.{nearest(wanted, names)}"
                )
    parts = {split: (_listed(sides["x", split]), _listed(sides["y", split])) for split in given}
    return RawData(parts=parts, weights=weights, class_names=class_names)


def _sides(arrays: Mapping[str, Any], names: list[str], source: str) -> dict[tuple[str, str], Any]:
    """Return an array, or arrays by part, for each side (x or y) of each split."""
    whole: dict[tuple[str, str], Any] = {}
    parted: dict[tuple[str, str], dict[str, Any]] = {}
    for name in names:
        side, split, part = _parse(name, source)
        if part is None:
            whole[side, split] = arrays[name]
        else:
            parted.setdefault((side, split), {})[part] = arrays[name]
    for side, split in whole.keys() & parted.keys():
        part = next(iter(parted[side, split]))
        raise DataError(f"{source} holds both {side}_{split} and {side}_{split}_{part}; keep one way of naming them.")
    return whole | parted


def _parse(name: str, source: str) -> tuple[str, str, str | None]:
    """Return side, split and part of an array's name: ``x_train_left`` gives x, train, left."""
    side, _, rest = str(name).partition("_")
    split, _, part = rest.partition("_")
    split = _ALIASES.get(split, split)
    if side == "w":
        raise DataError(f"{source} holds '{name}'; only {WEIGHTS} can be given, since metrics count all rows alike.")
    if side not in ("x", "y") or split not in SPLITS:
        known = [f"{side}_{split}" for split in SPLITS for side in "xy"]
        raise DataError(
            f"{source} holds '{name}'; arrays must be named {', '.join(known)}, {WEIGHTS}, "
            f"or x_train_INPUT for several inputs.{nearest(str(name), known)}"
        )
    return side, split, part or None


def _listed(value: Any) -> Any:
    """Turn parts that are numbered 0, 1, ... into a list; leave everything else as it is."""
    if isinstance(value, Mapping) and {str(key) for key in value} == {str(index) for index in range(len(value))}:
        return [value[str(index)] for index in range(len(value))]
    return value


def _describe(value: Any) -> str:
    if isinstance(value, Sized):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"
