"""The process that Keras Tuner's oracles live in, and the line to it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from typing import IO, Any

from paretune.spaces.errors import ConfigurationError, RunError

#: Importing Keras Tuner takes 15 s of a CPU; a proposal takes less than that, even for 100 parameters.
PATIENCE_SECONDS = 600.0

#: One thread: its matrices are small, and numbers repeat.
_ENVIRONMENT: Mapping[str, str] = {
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class OracleProcess:
    """Answers questions to Keras Tuner's oracles, in a process of its own.

    Importing Keras Tuner loads TensorFlow and Keras 3, and the process of the search must stay free of both. The other
    one starts with the first question, and ends with this one, however that ends. It keeps nothing between questions,
    so that any number of samplers can share it.
    """

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Start nothing yet.

        Args:
            patience_seconds: How long the process may take to get ready, and then for each answer.
        """
        self._patience_seconds = patience_seconds
        self._child: _Child | None = None

    def ask(self, question: Mapping[str, Any]) -> list[int] | None:
        """Return what an oracle proposes: see :func:`paretune.search.advisers.keras_tuner_child.propose`.

        Raises:
            ConfigurationError: If the process cannot start.
            RunError: If it ends, hangs or fails. It is gone then; the next question starts another one.
        """
        try:
            return self._values(question)
        except BaseException:  # its late answer must never be taken for that to the next question
            self.close()
            raise

    def close(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _values(self, question: Mapping[str, Any]) -> list[int] | None:
        if self._child is None:
            try:
                self._child = _Child()
                self._child.receive(self._patience_seconds)
            except (_Lost, OSError) as error:
                raise ConfigurationError(
                    f"Keras Tuner cannot be used: {error}. Mend its installation, or take another sampler."
                ) from None
        try:
            self._child.send(question)
            values: list[int] | None = self._child.receive(self._patience_seconds)["values"]
        except _Lost as error:
            raise RunError(f"Keras Tuner is lost: {error}. Run the command again to go on from here.") from None
        return values


class _Lost(Exception):
    """No answer will come; it says why."""


class _Child:
    """A process that has been started, and the line to it; it ends with this object at the latest."""

    def __init__(self) -> None:
        self._line, theirs = Pipe()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the process runs
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603  # this very program
                    # -P: a file of the current folder must not stand in for a module
                    [sys.executable, "-P", "-m", "paretune.search.advisers.keras_tuner_child", str(theirs.fileno())],
                    env=os.environ | _ENVIRONMENT,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    process_group=0,  # the terminal's Ctrl-C goes to the search alone
                )
        except OSError:
            self._line.close()
            self._log.close()
            raise
        self.end = weakref.finalize(self, _end, self._process, self._line, self._log)

    def send(self, question: Mapping[str, Any]) -> None:
        try:
            self._line.send_bytes(json.dumps(question, allow_nan=False).encode())
        except (BrokenPipeError, ConnectionResetError):
            raise _Lost(self._ending()) from None

    def receive(self, patience_seconds: float) -> dict[str, Any]:
        try:
            if not self._line.poll(patience_seconds):
                raise _Lost(f"its process gave no answer within {patience_seconds:g} s")
            answer: dict[str, Any] = json.loads(self._line.recv_bytes())
        except (EOFError, ConnectionResetError):
            raise _Lost(self._ending()) from None
        if "error" in answer:
            raise _Lost(answer["error"])
        return answer

    def _ending(self) -> str:
        """Say how the process has ended: its end of the line closes when it does, and not before."""
        code = self._process.wait()
        if code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip()
        return f"its process ended with exit code {code}" + (f" ({said.splitlines()[-1]})" if said else "")


def _end(process: "subprocess.Popen[bytes]", line: "Connection", log: IO[bytes]) -> None:
    process.kill()
    process.wait()
    line.close()
    log.close()
