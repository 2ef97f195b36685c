"""The uncompressed model as a teacher: its answers to all training rows, computed once for all stages and trials."""

import contextlib
import tempfile
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.data.rows import MappedRows, Rows
from paretune.objectives.keras_door import tf
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import AtWork
from paretune.objectives.tasks.output_kinds import OutputTask
from paretune.spaces.errors import DataError

#: Rows are answered in blocks of this size, always the same ones: what is answered must not depend on who asks first.
_BLOCK_ROWS = 64
#: Answers that take more bytes lie in a temporary file.
_MOST_BYTES_IN_MEMORY = 256 * 2**20


class Teacher:
    """Answers training rows as the uncompressed model does in inference.

    Nothing is computed before the answers are first asked for. Where a limit is reached on the way, what was done is
    kept, and the next one goes on from there.

    Args:
        model: The trained model; it is only read.
        inputs: Training rows for each model input.
        outputs: What the model's outputs predict, in Keras order.
        most_bytes: Answers that take more lie in a temporary file rather than in memory.
    """

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Rows],
        outputs: Sequence[OutputTask],
        *,
        most_bytes: int = _MOST_BYTES_IN_MEMORY,
    ) -> None:
        self.outputs = tuple(outputs)
        self._model = model
        self._inputs = tuple(inputs)
        self._most_bytes = most_bytes
        self._run: Any = None
        self._kept: list[_InMemory | _OnDisk] = []
        self._done = 0

    def answers(self, meter: Meter, at_work: AtWork = contextlib.nullcontext) -> tuple[Rows, ...]:
        """Return the answers to all training rows, for each output.

        Raises:
            DataError: They are too many to be kept in memory, and the folder of temporary files has no room.
            LimitReached: The meter's limit was spent first.
        """
        samples = len(self._inputs[0])
        while self._done < samples:
            meter.check()
            with at_work():
                block = self._answer([array[self._done : self._done + _BLOCK_ROWS] for array in self._inputs])
            if not self._kept:
                in_memory = samples * sum(answer[0].nbytes for answer in block) <= self._most_bytes
                kind = _InMemory if in_memory else _OnDisk
                self._kept = [kind((samples, *answer.shape[1:])) for answer in block]
            for kept, answer in zip(self._kept, block, strict=True):
                kept.put(self._done, answer)
            self._done = min(samples, self._done + _BLOCK_ROWS)
        return tuple(kept.rows() for kept in self._kept)

    def _answer(self, block: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        if self._run is None:
            specs = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in block]
            self._run = tf.function(self._call, input_signature=specs, autograph=False)
        return [tensor.numpy().astype(np.float32) for tensor in self._run(*map(tf.constant, block))]

    def _call(self, *inputs: Any) -> list[Any]:
        answers = self._model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return list(tf.nest.flatten(answers))


class _InMemory:
    """Rows of one output."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._array = np.empty(shape, np.float32)

    def put(self, first: int, rows: NDArray[np.float32]) -> None:
        self._array[first : first + len(rows)] = rows

    def rows(self) -> Rows:
        return self._array


class _OnDisk:
    """Rows of one output, in a temporary file that is gone with the process."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._file = _temporary_file()
        weakref.finalize(self, self._file.close)

    def put(self, first: int, rows: NDArray[np.float32]) -> None:
        try:  # written, not mapped: a write to a full disk raises, one to mapped memory ends the process
            self._file.seek(first * rows[0].nbytes)
            left = memoryview(np.ascontiguousarray(rows).tobytes())
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise DataError(
                f"`distillation` keeps what the uncompressed model answers, {np.prod(self._shape) * 4 / 2**20:.0f} "
                f"MiB, in {tempfile.gettempdir()}, which cannot be written: {error}. Free some room, or name another "
                "folder in TMPDIR."
            ) from error

    def rows(self) -> Rows:
        source = np.memmap(self._file, np.float32, "r", shape=self._shape)
        return MappedRows(source, source.dtype)


def _temporary_file() -> Any:
    return tempfile.TemporaryFile(prefix="paretune-", buffering=0)
