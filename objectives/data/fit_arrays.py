"""Fit one split's arrays to a model's inputs and outputs, or say what does not fit.

Memory maps stay on disk: they are gone through once, block by block, and cast later, row by row.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import MappedRows, Rows, blocks
from paretune.objectives.data.signature import Port
from paretune.spaces.errors import DataError
from paretune.spaces.suggest import nearest


def require(holds: bool, otherwise: str) -> None:
    """Raise unless a condition holds.

    Raises:
        DataError: With the message ``otherwise``.
    """
    if not holds:
        raise DataError(otherwise)


def fit_inputs(name: str, x: Any, ports: tuple[Port, ...]) -> tuple[Rows, ...]:
    """Return float32 or int32 rows for each input, in Keras order.

    Args:
        name: What the arrays are called in messages, such as ``x_train``.
        x: An array, or several as a list (in Keras order) or by input name.
        ports: The model's inputs.

    Raises:
        DataError: Wrong number of arrays, wrong shape, NaN, infinity, or an index out of range.
    """
    arrays = []
    for port, value in zip(ports, _one_per_port(name, x, ports, "input"), strict=True):
        where = name if len(ports) == 1 else f"{name} '{port.name}'"
        array = _numbers(where, value)
        _check_shape(where, array, port)
        kind = np.dtype(np.int32 if port.is_integer else np.float32)
        for first, block in blocks(array):
            _check_finite(where, block, first)
            if port.is_integer:
                _check_whole(where, block, first)
            _check_indices(where, block, first, port)
            _check_range(where, block, kind)
        arrays.append(_narrowed(array, kind))
    return tuple(arrays)


def fit_targets(name: str, y: Any, ports: tuple[Port, ...]) -> tuple[Rows, ...]:
    """Return int32 or float32 rows for each output, in Keras order.

    Targets of shape (rows,) become (rows, 1) for an output of one unit, and labels of shape (rows, 1) become (rows,)
    for an output of several: the shapes Keras losses expect. Whether they suit the task is checked with it.

    Raises:
        DataError: Wrong number of arrays, not numbers, NaN or infinity.
    """
    arrays = []
    for port, value in zip(ports, _one_per_port(name, y, ports, "output"), strict=True):
        where = name if len(ports) == 1 else f"{name} '{port.name}'"
        array = _numbers(where, value)
        require(array.ndim > 0, f"{where} must be an array with one row per sample, got a single number.")
        if port.shape and port.shape[-1] == 1 and array.ndim == len(port.shape):
            array = array[..., None]
        elif port.shape and port.shape[-1] != 1 and array.ndim == len(port.shape) + 1 and array.shape[-1] == 1:
            array = array[..., 0]
        kind = np.dtype(np.float32 if array.dtype.kind == "f" else np.int32)
        for first, block in blocks(array):
            _check_finite(where, block, first)
            _check_range(where, block, kind)
        arrays.append(_narrowed(array, kind))
    return tuple(arrays)


def fit_weights(name: str, weights: Any, rows: int) -> NDArray[np.float32]:
    """Return the factor of each row's loss, float32, shape (rows,).

    Raises:
        DataError: Wrong shape, not numbers, NaN, infinity, or below 0.
    """
    array = _numbers(name, weights)
    require(
        array.shape == (rows,), f"{name} must have shape ({rows},), one factor per row of x_train, got {array.shape}."
    )
    _check_finite(name, array, 0)
    _check_range(name, array, np.dtype(np.float32))
    if (array < 0).any():
        row = int(np.argmax(array < 0))
        raise DataError(f"{name} must hold factors of at least 0, got {array[row]:g} (row {row}).")
    return np.array(array, np.float32)


def _one_per_port(name: str, value: Any, ports: tuple[Port, ...], kind: str) -> list[Any]:
    names = [port.name for port in ports]
    count = f"{len(ports)} {kind}{'s' if len(ports) > 1 else ''} ({', '.join(names)})"
    if isinstance(value, Mapping):
        for key in value:
            require(key in names, f"{name} names '{key}', but the model has {count}.{nearest(str(key), names)}")
        for wanted in names:
            require(wanted in value, f"{name} lacks '{wanted}'; the model has {count}.")
        return [value[wanted] for wanted in names]
    if isinstance(value, list | tuple) and (len(ports) > 1 or _is_list_of_arrays(value, ports[0])):
        require(len(value) == len(ports), f"{name} holds {len(value)} arrays, but the model has {count}.")
        return list(value)
    require(
        len(ports) == 1,
        f"{name} is one array, but the model has {count}; give a list, or one array per name: {name}_NAME.",
    )
    return [value]


def _is_list_of_arrays(value: list[Any] | tuple[Any, ...], port: Port) -> bool:
    """Whether a list holds whole arrays rather than the rows of one."""
    return all(isinstance(item, np.ndarray) and item.ndim == len(port.shape) + 1 for item in value)


def _numbers(where: str, value: Any) -> NDArray[Any]:
    try:
        # asarray would make a memory map look like any array
        array: NDArray[Any] = value if isinstance(value, np.memmap) else np.asarray(value)
    except ValueError:
        raise DataError(f"{where} must be an array of numbers; its rows differ in length.") from None
    if array.dtype.kind not in "buif":
        raise DataError(f"{where} must hold numbers, got {array.dtype.name} values; encode them as numbers first.")
    return array


def _check_shape(where: str, array: NDArray[Any], port: Port) -> None:
    got = array.shape[1:]
    fits = len(got) == len(port.shape) and all(want in (None, have) for want, have in zip(port.shape, got, strict=True))
    if array.ndim == 0 or not fits:
        raise DataError(
            f"Input '{port.name}' takes shape {_text(port.shape)}, got {_text(array.shape, rows=False)} ({where})."
            f"{_shape_hint(got, port.shape) if array.ndim else ''}"
        )


def _shape_hint(got: tuple[int, ...], want: tuple[int | None, ...]) -> str:
    if want[-1:] == (1,) and _matches(got, want[:-1]):
        return " The last axis is missing: add it with x[..., None]."
    if len(got) == len(want) == 3 and _matches((*got[1:], got[0]), want):
        return " The channels come first: move them to the end with numpy.moveaxis(x, 1, -1)."
    if got[-1:] == (1,) and _matches(got[:-1], want):
        return " There is one axis too many: drop it with x[..., 0]."
    known = [size for size in want if size is not None]
    if len(known) == len(want) and np.prod(got) == np.prod(known):
        return " The numbers per row agree: reshape the rows."
    return ""


def _matches(got: tuple[int, ...], want: tuple[int | None, ...]) -> bool:
    return len(got) == len(want) and all(size in (None, have) for have, size in zip(got, want, strict=True))


def _text(shape: tuple[int | None, ...], *, rows: bool = True) -> str:
    sizes = [*(["rows"] if rows else []), *("any" if size is None else str(size) for size in shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _check_finite(where: str, block: NDArray[Any], first: int) -> None:
    if block.dtype.kind == "f" and not np.isfinite(block).all():
        row = first + int(np.argwhere(~np.isfinite(block))[0][0])
        raise DataError(
            f"{where} must hold finite numbers, got NaN or infinity (row {row}); remove or fill such values."
        )


def _check_whole(where: str, block: NDArray[Any], first: int) -> None:
    if block.dtype.kind == "f" and (block != np.rint(block)).any():
        row = first + int(np.argwhere(block != np.rint(block))[0][0])
        raise DataError(f"{where} must hold whole numbers, since the model's input takes them (row {row} does not).")


def _check_indices(where: str, block: NDArray[Any], first: int, port: Port) -> None:
    if port.index_limit is None:
        return
    outside = (block < 0) | (block >= port.index_limit)
    if outside.any():
        place = tuple(np.argwhere(outside)[0])
        raise DataError(
            f"{where} must hold indices 0..{port.index_limit - 1} for the model's Embedding, "
            f"got {block[place]:g} (row {first + place[0]})."
        )


def _check_range(where: str, block: NDArray[Any], kind: np.dtype[Any]) -> None:
    if np.can_cast(block.dtype, kind) or block.size == 0:
        return
    if kind == np.int32:
        limits = np.iinfo(np.int32)
        require(
            limits.min <= block.min() and block.max() <= limits.max,
            f"{where} must hold whole numbers of at most 32 bits, got {block.min()}..{block.max()}.",
        )
        return
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(block.astype(kind)).all()
    require(bool(is_finite), f"{where} holds numbers beyond the range of float32; scale them down.")


def _narrowed(array: NDArray[Any], kind: np.dtype[Any]) -> Rows:
    if isinstance(array, np.memmap):
        return MappedRows(np.asarray(array), kind)
    return np.ascontiguousarray(array, dtype=kind)
