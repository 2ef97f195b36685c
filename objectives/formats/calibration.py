"""Ranges and means of activations on sample data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.measure.interpreter import allocate, open_interpreter, run_once
from paretune.spaces.errors import MeasurementFailed

#: Least and greatest value of activations, by tensor name.
Ranges = Mapping[str, tuple[float, float]]
#: Means of activations over samples, by tensor name.
Means = Mapping[str, np.ndarray]

_Found = TypeVar("_Found")

#: Narrowest range, in the activations' own unit. A layer that pruning silenced would get a scale so small that LiteRT
#: refuses the file: the bound of a ReLU6, for one, must fit 32 bits in units of it.
_NARROWEST = 1e-4
#: Intermediate results kept at a time, in bytes.
_MEMORY = 64 * 2**20


def activation_ranges(file: bytes, input_names: Sequence[str], samples: Sequence[np.ndarray]) -> Ranges:
    """Run samples through a float file and return the least and largest value of every float tensor it computes.

    Tensors inside loops are left out: they cannot be read from outside.

    Args:
        file: A float32 file for a batch of one.
        input_names: Names of the inputs in its signature.
        samples: One array per input, in that order, samples along the first axis.

    Raises:
        MeasurementFailed: The file cannot be run.
    """
    tensors = read_graph(file).tensors[0]
    wanted = [tensor.name for tensor in tensors if tensor.dtype == "FLOAT32" and not tensor.is_constant]
    return _over_samples(file, input_names, samples, wanted, _ranges)


def activation_means(
    file: bytes, input_names: Sequence[str], samples: Sequence[np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> Means:
    """Run samples through a float file and return the mean of some of the tensors it computes.

    Args:
        file: A float32 file for a batch of one.
        input_names: Names of the inputs in its signature.
        samples: One array per input, in that order, samples along the first axis.
        shapes: By name of a tensor: the shape of what is averaged, the last axes of the tensor or all but the first.

    Raises:
        MeasurementFailed: The file cannot be run.
    """

    def means(values: Iterator[tuple[str, np.ndarray]]) -> Means:
        sums: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for name, value in values:
            rows = value.reshape(-1, *shapes[name])
            sums[name] = sums.get(name, 0.0) + rows.sum(axis=0, dtype=np.float64)
            counts[name] = counts.get(name, 0) + len(rows)
        return {name: total / counts[name] for name, total in sums.items()}

    return _over_samples(file, input_names, samples, list(shapes), means)


def _ranges(values: Iterator[tuple[str, np.ndarray]]) -> Ranges:
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for name, value in values:
        low[name] = min(low.get(name, np.inf), float(value.min()))
        high[name] = max(high.get(name, -np.inf), float(value.max()))
    found = [name for name in low if np.isfinite(low[name]) and np.isfinite(high[name])]
    return {name: (low[name], max(high[name], low[name] + _NARROWEST)) for name in found}


def _over_samples(
    file: bytes,
    input_names: Sequence[str],
    samples: Sequence[np.ndarray],
    names: Sequence[str],
    collect: Callable[[Iterator[tuple[str, np.ndarray]]], _Found],
) -> _Found:
    """Return what ``collect`` makes of the values of some tensors, each time with as many samples as run at once."""
    tensors = read_graph(file).tensors[0]
    wanted = [(number, tensor.name) for number, tensor in enumerate(tensors) if tensor.name in set(names)]
    per_sample = 4 * sum(tensor.elements for tensor in tensors if not tensor.is_constant)
    batch = max(1, min(len(samples[0]), _MEMORY // max(per_sample, 1)))
    try:
        return collect(_values_of(file, input_names, samples, wanted, batch))
    except MeasurementFailed:  # a batch of one is baked into some models
        if batch == 1:
            raise
        return collect(_values_of(file, input_names, samples, wanted, 1))


def _values_of(
    file: bytes, input_names: Sequence[str], samples: Sequence[np.ndarray], wanted: list[tuple[int, str]], batch: int
) -> Iterator[tuple[str, np.ndarray]]:
    interpreter = open_interpreter(file, threads=1, keep_all=True)
    key = next(iter(interpreter.get_signature_list()))
    allocate(interpreter)
    details = interpreter.get_signature_runner(key).get_input_details()
    size = 1
    for start in range(0, len(samples[0]), batch):
        chunk = [np.asarray(array[start : start + batch]) for array in samples]
        if len(chunk[0]) != size:
            size = len(chunk[0])
            for name in input_names:
                detail = details[name]
                interpreter.resize_tensor_input(detail["index"], [size, *detail["shape"][1:]])
            allocate(interpreter)
        for name, array in zip(input_names, chunk, strict=True):
            interpreter.set_tensor(details[name]["index"], np.ascontiguousarray(array, details[name]["dtype"]))
        run_once(interpreter)
        for number, name in wanted:
            values = _values(interpreter, number)
            if values is not None and values.size:
                yield name, values


def _values(interpreter: Any, number: int) -> Any:
    try:
        return interpreter.get_tensor(number)
    except ValueError:  # state of a recurrent layer, which has no data between runs
        return None
