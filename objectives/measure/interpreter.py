"""Run a ``.tflite`` file as a whole model: Keras order, float32, any number of samples."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from paretune.objectives.data.rows import Rows
from paretune.spaces.errors import MeasurementFailed

#: How far a sample's output may move when it runs in a batch, relative to the largest output: float kernels sum in
#: another order then. What a batch breaks altogether (a shape or a state baked in for one sample) is far beyond.
_BATCH_TOLERANCE = 1e-3


def open_interpreter(model: bytes, *, threads: int, keep_all: bool = False) -> Any:
    """Return a LiteRT interpreter for a file, its tensors not yet allocated.

    Args:
        model: Contents of a ``.tflite`` file.
        threads: Threads for the kernels.
        keep_all: Keep intermediate tensors readable after a run.

    Raises:
        MeasurementFailed: LiteRT cannot read the file.
    """
    with quiet():
        try:
            return Interpreter(model_content=model, num_threads=threads, experimental_preserve_all_tensors=keep_all)
        except (RuntimeError, ValueError) as error:
            raise MeasurementFailed(f"LiteRT cannot read the file: {_first_line(error)}") from error


class TfliteRunner:
    """Runs a file in batches where it allows that, else sample by sample.

    Files are converted for a batch of one. Resizing their inputs works for most models, fails for some (recurrent
    layers), and would silently mix up samples in others; so the first batch is compared with single samples, and
    from then on samples run as fast as they correctly can.
    """

    def __init__(
        self,
        model: bytes,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        """Prepare a file.

        Args:
            model: Contents of a ``.tflite`` file with one signature.
            input_names: Names in the signature, in the order in which :meth:`predict` takes inputs. By default the
                signature's own names in natural order (``x_2`` before ``x_10``), which is the Keras order for
                ``output_0``, ``output_1``, ... only.
            output_names: Likewise for outputs.
            threads: Threads for the kernels.

        Raises:
            MeasurementFailed: The file cannot be read, has no signature, or lacks one of the names.
        """
        self._model = model
        self._threads = threads
        self._single = open_interpreter(model, threads=threads)
        signatures = self._single.get_signature_list()
        if not signatures:
            raise MeasurementFailed("The file must have a signature that names its inputs and outputs; it has none.")
        key = next(iter(signatures))
        self._input_names = list(input_names or sorted(signatures[key]["inputs"], key=_natural))
        self._output_names = list(output_names or sorted(signatures[key]["outputs"], key=_natural))
        allocate(self._single)
        signature = self._single.get_signature_runner(key)
        self._inputs = _details(signature.get_input_details(), self._input_names, "input")
        self._outputs = _details(signature.get_output_details(), self._output_names, "output")
        self._batched: Any = None
        self._batch = 1
        self._refused_batches = False

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs in the order :meth:`predict` takes them."""
        return tuple(self._input_names)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the order :meth:`predict` returns them."""
        return tuple(self._output_names)

    def predict(self, inputs: Sequence[Rows], batch: int = 64) -> list[np.ndarray]:
        """Return the outputs for every sample, in order of the names.

        Args:
            inputs: Rows for each input, one per sample; those on disk are read batch by batch. Numbers are converted
                to the input's type, and quantized where that is a quantized integer.
            batch: Samples to run at once, where the file allows it.

        Returns:
            One float32 array per output, samples first; integers of a quantized output are converted back.

        Raises:
            MeasurementFailed: The file cannot be run, or gives NaN or infinity.
        """
        if len(inputs) != len(self._inputs) or len({len(array) for array in inputs}) != 1:
            raise ValueError(f"`inputs` must be {len(self._inputs)} arrays with equally many samples.")
        samples = len(inputs[0])
        size = min(batch, samples)
        if size > 1 and not self._refused_batches and size != self._batch:
            self._prepare_batches(inputs, size)
        step, interpreter = (1, self._single) if self._batched is None or size <= 1 else (self._batch, self._batched)
        rows = [
            self._run(interpreter, [array[start : start + step] for array in inputs], step)
            for start in range(0, samples, step)
        ]
        outputs = [np.concatenate([row[position] for row in rows]) for position in range(len(self._outputs))]
        for name, output in zip(self._output_names, outputs, strict=True):
            if not np.isfinite(output).all():
                raise MeasurementFailed(f"Output '{name}' of the file must be finite; it is NaN or infinite.")
        return outputs

    def _prepare_batches(self, inputs: Sequence[Rows], size: int) -> None:
        """Set up an interpreter for batches, and keep it only if it agrees with single samples."""
        self._batched = None
        interpreter = open_interpreter(self._model, threads=self._threads)
        try:
            for detail in self._inputs:
                interpreter.resize_tensor_input(detail["index"], [size, *detail["shape"][1:]])
            allocate(interpreter)
            together = self._run(interpreter, [array[:size] for array in inputs], size)
        except MeasurementFailed:
            self._refused_batches = True
            return
        for sample in (0, size - 1):
            alone = self._run(self._single, [array[sample : sample + 1] for array in inputs], 1)
            for one, all_ in zip(alone, together, strict=True):
                if len(all_) != size or not _agree(one[0], all_[sample]):
                    self._refused_batches = True
                    return
        self._batched, self._batch = interpreter, size

    def _run(self, interpreter: Any, inputs: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
        """Run at most ``size`` samples; a short batch is filled up with its last sample."""
        count = len(inputs[0])
        for detail, array in zip(self._inputs, inputs, strict=True):
            filled = np.concatenate([array, np.repeat(array[-1:], size - count, axis=0)]) if count < size else array
            interpreter.set_tensor(detail["index"], _to_file(filled, detail))
        run_once(interpreter)
        outputs = [_from_file(interpreter.get_tensor(detail["index"]), detail) for detail in self._outputs]
        return [output[:count] if len(output) == size else output for output in outputs]


def allocate(interpreter: Any) -> None:
    """Allocate the tensors of an interpreter.

    Raises:
        MeasurementFailed: No kernel takes the file's operators, types or shapes.
    """
    with quiet():
        try:
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise MeasurementFailed(f"The file cannot be prepared to run: {_first_line(error)}") from error


def run_once(interpreter: Any) -> None:
    """Run an allocated interpreter whose inputs are set, from a clean state.

    LiteRT's fused LSTM kernel keeps its state from one run to the next, although the Keras layer does not.

    Raises:
        MeasurementFailed: A kernel fails.
    """
    try:
        interpreter.reset_all_variables()
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise MeasurementFailed(f"The file cannot be run: {_first_line(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep off stderr what LiteRT's C++ code says about itself ("Created ... XNNPACK delegate").

    Its warning that keeping all tensors takes memory goes too: whoever keeps them runs small batches.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: nothing to keep clean
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors", category=UserWarning)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _details(found: Any, names: Sequence[str], what: str) -> list[Any]:
    missing = [name for name in names if name not in found]
    if missing or len(names) != len(found):
        raise MeasurementFailed(
            f"The file's signature must have the {what}s {', '.join(names)}; it has {', '.join(sorted(found))}."
        )
    return [found[name] for name in names]


def _to_file(array: np.ndarray, detail: Any) -> np.ndarray:
    """Return an array in the type of an input, quantized where the file takes quantized integers."""
    scale, zero = detail["quantization"]
    if scale and np.issubdtype(detail["dtype"], np.integer):
        bounds = np.iinfo(detail["dtype"])
        array = np.clip(np.round(np.asarray(array, np.float32) / scale) + zero, bounds.min, bounds.max)
    return np.ascontiguousarray(array, detail["dtype"])


def _from_file(array: np.ndarray, detail: Any) -> np.ndarray:
    scale, zero = detail["quantization"]
    if scale and np.issubdtype(detail["dtype"], np.integer):
        return np.asarray((array.astype(np.float32) - zero) * scale, np.float32)
    return array.astype(np.float32)


def _agree(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    allowed = _BATCH_TOLERANCE * max(float(np.abs(one).max(initial=0.0)), 1e-6)
    return bool(np.abs(one - other).max(initial=0.0) <= allowed)


def _natural(name: str) -> list[Any]:
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.split(r"(\d+)", name)]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
