"""One worker process: how it is started, and the line to it."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import psutil

from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.errors import WorkerLost
from paretune.spaces.results.evaluator import Evaluator

EvaluatorFactory = Callable[[EvaluatorSettings], Evaluator]


@dataclass(frozen=True, slots=True)
class WorkerStart:
    """How a worker is started."""

    settings: EvaluatorSettings
    build: EvaluatorFactory
    log: Path

    def request(self) -> tuple[list[str], bytes]:
        """Return the first message to a worker; the second part can be read once the first is its search path."""
        return sys.path, pickle.dumps((self.build, self.settings))

    def environment(self) -> dict[str, str]:
        """Return the environment of a worker: what makes numbers repeat, and what TensorFlow reads at its import."""
        threads = str(self.settings.threads)
        return os.environ | {
            "TF_USE_LEGACY_KERAS": "1",
            "KERAS_BACKEND": "tensorflow",  # whatever a user's own program computes with
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "TF_DETERMINISTIC_OPS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
        }


class WorkerHandle:
    """One process and the line to it; making it starts the process.

    Args:
        start: How.
        cpus: The CPUs it may run on.
    """

    def __init__(self, start: WorkerStart, cpus: Sequence[int]) -> None:
        self._was_killed = False
        self._line, theirs = Pipe()
        with theirs, start.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # this very program
                # -P: a file of the current folder must not stand in for a module
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "paretune.experiments.workers.process",
                    str(theirs.fileno()),
                    str(os.getpid()),
                    ",".join(map(str, cpus)),
                ],
                env=start.environment(),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # the terminal's Ctrl-C goes to the coordinator alone
            )

    @property
    def process_id(self) -> int:
        """Return the number the operating system knows it by."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can still answer."""
        return not self._was_killed and self._process.poll() is None

    def call(self, message: tuple[Any, ...], patience_seconds: float) -> Any:
        """Send a message and return the answer.

        Raises:
            WorkerLost: The process ended, or did not answer in time; it is of no more use and must be closed.
            BaseException: Whatever the worker answered with.
        """
        try:
            self._line.send(message)
            if not self._line.poll(patience_seconds):
                raise WorkerLost(f"hung: no answer within {patience_seconds:g} s")
            succeeded, outcome = self._line.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise WorkerLost(self._ending()) from None
        if not succeeded:
            raise outcome
        return outcome

    def kill(self) -> None:
        """End the process at once; its files are whole at any time. Any thread may call this."""
        self._was_killed = True
        self._process.kill()

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self.kill()
        self._process.wait()
        self._line.close()

    def resident_bytes(self) -> int:
        """Return the memory it holds; 0 when it is gone."""
        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _ending(self) -> str:
        self._line.close()
        code = self._process.wait()  # its end of the line closes when it ends, and not before
        if code >= 0:
            return f"ended with exit code {code}"
        name = signal.Signals(-code).name
        hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
