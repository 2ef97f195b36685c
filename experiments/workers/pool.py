"""Worker processes: evaluate elsewhere, so that a crash, a hang or a leak costs one trial and not the search.

Why not a ready-made pool: pebble's breaks for good when a worker dies between two tasks (``BrokenProcessPool("All
workers expired")``, 5.2), ``concurrent.futures`` breaks whenever one dies, and ``multiprocessing`` runs the caller's
``__main__`` again and can set neither a child's environment nor its output.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paretune.experiments.machine import cpus_of_worker, machine_bytes
from paretune.experiments.workers.handle import EvaluatorFactory, WorkerHandle, WorkerStart
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ParetuneError, RunError, WorkerLost
from paretune.spaces.results.evaluator import Evaluator, FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Measurement

_FAILED_STARTS_IN_A_ROW = 3
_SMALLEST_GROWTH_BYTES = 2**30


def build_keras_evaluator(settings: EvaluatorSettings) -> Evaluator:
    """Build the evaluator of a Keras model; imports TensorFlow, so only a worker calls it."""
    from paretune.objectives.evaluator import build_evaluator
    from paretune.objectives.keras_door import limit_threads

    limit_threads(settings.threads)
    evaluator: Evaluator = build_evaluator(settings)
    return evaluator


class WorkerPool:
    """An :class:`~paretune.spaces.results.evaluator.EvaluationService` of processes that live as long as it does.

    Use it as a context manager; leaving it ends every worker, running or not. A worker starts when there is first
    something for it to do, and is replaced when it dies, hangs, is cancelled or has grown.

    Args:
        settings: What the workers evaluate.
        workers: Most processes at a time.
        log: File that receives what workers print.
        build: Called in each worker with ``settings``; must be picklable.
        grace_seconds: A worker has hung when it exceeds a trial's own limit by this.
        patience_seconds: A worker has hung when it takes longer for anything that has no limit of its own, such as
            loading the model.
        growth_bytes: Resident memory a worker may gain after its first answer before it is replaced; ``None`` lets
            all workers together gain a quarter of the machine's.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        workers: int,
        log: Path,
        *,
        build: EvaluatorFactory = build_keras_evaluator,
        grace_seconds: float = 60.0,
        patience_seconds: float = 3600.0,
        growth_bytes: int | None = None,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._patience_seconds = patience_seconds
        self._growth_bytes = _fair_growth_bytes(workers) if growth_bytes is None else growth_bytes
        self._start = WorkerStart(settings, build, log)
        self._changed = threading.Condition()
        self._pending: deque[_Task] = deque()
        self._is_open = False
        self._slots = [_Slot(self, index) for index in range(workers)]

    @property
    def workers(self) -> int:
        """How many evaluations run at the same time."""
        return len(self._slots)

    @property
    def process_ids(self) -> list[int]:
        """Return the ids of the processes that are there now."""
        return [slot.worker.process_id for slot in self._slots if slot.worker is not None]

    def __enter__(self) -> Self:
        """Open for work."""
        self._is_open = True
        for slot in self._slots:
            slot.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker; what is pending or running is cancelled."""
        with self._changed:
            self._is_open = False
            never_started = list(self._pending)
            self._pending.clear()
            running = [slot.task for slot in self._slots if slot.task is not None]
            self._changed.notify_all()
        for task in never_started:
            task.future.cancel()
            task.future.set_running_or_notify_cancel()
        for task in running:
            task.future.cancel()
        for slot in self._slots:
            slot.join()

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        """Start an evaluation as soon as a worker is free; a future can be cancelled while it runs."""
        return self._submit("evaluate", (candidate, rung, limit), self._patience_of(limit))

    def describe(self) -> ModelDescription:
        """Return what a worker knows about the model."""
        description: ModelDescription = self._submit("describe", (), self._patience_seconds).result()
        return description

    def submit_description(self, hyperparameters: Mapping[str, Any], limit: Limit) -> Future[ModelDescription]:
        """Start building and training the base model of these hyperparameters; a future can be cancelled."""
        return self._submit("describe", (hyperparameters,), self._patience_of(limit))

    def baseline(self) -> Measurement:
        """Convert and measure the uncompressed model in a worker."""
        measurement: Measurement = self._submit("baseline", (), self._patience_seconds).result()
        return measurement

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """Measure the contents of a ``.tflite`` on a split, in a worker; ``hyperparameters`` are of its candidate."""
        arguments = (model, split, hyperparameters)
        values: Mapping[str, float] = self._submit("remeasure", arguments, self._patience_seconds).result()
        return values

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Run the contents of a ``.tflite`` on a few samples, in a worker."""
        example: FileExample = self._submit("example", (model, hyperparameters), self._patience_seconds).result()
        return example

    def submit_inspection(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Future[Inspection]:
        """Start measuring a file closely, in a worker; as :meth:`remeasure`."""
        return self._submit("inspect", (model, split, hyperparameters), self._patience_seconds)

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Measure the contents of a ``.tflite`` closely, in a worker; as :meth:`remeasure`."""
        return self.submit_inspection(model, split, hyperparameters).result()

    def _patience_of(self, limit: Limit) -> float:
        return self._patience_seconds if limit.seconds is None else limit.seconds + self._grace_seconds

    def _submit(self, method: str, arguments: tuple[Any, ...], patience_seconds: float) -> Future[Any]:
        task = _Task(method, arguments, patience_seconds)
        task.future.stop = lambda: self._stop(task)
        with self._changed:
            if not self._is_open:
                raise RuntimeError("the worker pool is not open")
            self._pending.append(task)
            self._changed.notify_all()
        return task.future

    def _stop(self, task: "_Task") -> None:
        """End the worker that runs a task, if one does."""
        with self._changed:
            for slot in self._slots:
                if slot.task is task and slot.worker is not None:
                    slot.worker.kill()

    def _next_task(self, slot: "_Slot") -> "_Task | None":
        """Wait for something to do; a worker that has its model loaded goes first. ``None`` means no more."""
        with self._changed:
            while True:
                if not self._is_open:
                    return None
                ready = sum(other.task is None and other.worker is not None for other in self._slots)
                if self._pending and (slot.worker is not None or len(self._pending) > ready):
                    slot.task = self._pending.popleft()
                    return slot.task
                self._changed.wait()

    def _release(self, slot: "_Slot") -> None:
        with self._changed:
            slot.task = None
            self._changed.notify_all()


class _Evaluation(Future[Any]):
    """A future that can be cancelled while it runs; its worker is ended."""

    stop: Callable[[], None]

    def cancel(self) -> bool:
        # As pebble's ProcessFuture: the public method refuses once the work runs.
        with self._condition:
            if self._state == "FINISHED":
                return False
            if self._state in ("CANCELLED", "CANCELLED_AND_NOTIFIED"):
                return True
            self._state = "CANCELLED"
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]  # private, like the state above
        self.stop()
        return True


@dataclass(slots=True, eq=False)
class _Task:
    method: str
    arguments: tuple[Any, ...]
    patience_seconds: float
    future: _Evaluation = field(default_factory=_Evaluation)

    def settle(self, outcome: Any, error: BaseException | None) -> None:
        """Give the future its answer, unless it was cancelled; then tell whoever waits for it."""
        try:
            if error is not None:
                self.future.set_exception(error)
            else:
                self.future.set_result(outcome)
        except InvalidStateError:
            self.future.set_running_or_notify_cancel()


class _Slot:
    """A place for one worker, and the thread that gives it work."""

    def __init__(self, pool: WorkerPool, index: int) -> None:
        self._pool = pool
        self._index = index
        # A daemon: when the coordinator ends without closing the pool, this must not keep it.
        self._thread = threading.Thread(target=self._serve, name=f"worker-{index}", daemon=True)
        self._failed_starts = 0
        self._first_rss = 0
        self.task: _Task | None = None
        self.worker: WorkerHandle | None = None

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _serve(self) -> None:
        # The thread that started a worker must outlive it: Linux signals the death of that thread, not of the process.
        while (task := self._pool._next_task(self)) is not None:
            outcome, error = None, None
            if task.future.set_running_or_notify_cancel():
                try:
                    outcome = self._perform(task)
                except BaseException as raised:
                    error = raised
                    if isinstance(raised, WorkerLost) or not isinstance(raised, ParetuneError):
                        self._end_worker()  # gone, or in a state that nobody has thought of
                self._replace_if_grown()
                task.settle(outcome, error)
            self._pool._release(self)
        self._end_worker()

    def _perform(self, task: _Task) -> Any:
        worker = self.worker
        if worker is None or not worker.is_alive:  # it may have been killed between two tasks
            self._end_worker()
            worker = self._started_worker(task)
        try:
            return worker.call((task.method, task.arguments), task.patience_seconds)
        except MemoryError as error:
            raise WorkerLost("ran out of memory") from error

    def _started_worker(self, task: _Task) -> WorkerHandle:
        """Start a worker and wait until it has built its evaluator.

        Raises:
            ParetuneError: What the evaluator says about the model or the data.
            WorkerLost: It died or hung on the way.
            RunError: That has happened too often.
        """
        pool = self._pool
        worker = WorkerHandle(pool._start, cpus_of_worker(self._index, pool.workers, pool._start.settings.threads))
        with pool._changed:
            self.worker = worker
        if task.future.cancelled():  # before whoever cancelled it could see the worker
            worker.kill()
        try:
            worker.call(pool._start.request(), pool._patience_seconds)
        except WorkerLost as error:
            self._end_worker()
            self._failed_starts += 0 if task.future.cancelled() else 1
            if self._failed_starts >= _FAILED_STARTS_IN_A_ROW:
                raise RunError(
                    f"Workers must be able to load the model and the data, but {self._failed_starts} in a row "
                    f"ended before they had ({error}); {pool._start.log} may tell why."
                ) from error
            raise WorkerLost(f"while loading the model and the data: {error}") from error
        except BaseException:
            self._end_worker()
            raise
        self._failed_starts = 0
        self._first_rss = 0
        return worker

    def _replace_if_grown(self) -> None:
        if self.worker is None:
            return
        rss = self.worker.resident_bytes()
        self._first_rss = self._first_rss or rss
        if rss - self._first_rss > self._pool._growth_bytes:
            self._end_worker()

    def _end_worker(self) -> None:
        worker = self.worker
        with self._pool._changed:
            self.worker = None
        if worker is not None:
            worker.close()


def _fair_growth_bytes(workers: int) -> int:
    return max(_SMALLEST_GROWTH_BYTES, machine_bytes() // 4 // workers)
