"""The product as a user holds it: commands in a shell, files in a folder."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
from ruamel.yaml import YAML

#: Nothing here takes longer on a machine that two other jobs keep busy.
PATIENCE_SECONDS = 600.0

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind in the shell."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """The lines that tell what went wrong, as opposed to those that tell what is being done."""
        return [line for line in self.err.splitlines() if line.startswith(("error: ", "Error: "))]


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder to type commands in.

    Attributes:
        folder: The current folder.
        cache: Where prepared models are kept: shared, so that each is trained once.
    """

    folder: Path
    cache: Path

    def run(
        self, *words: object, code: int = 0, prefix: Sequence[str] = (), limits: Callable[[], None] | None = None
    ) -> Ended:
        """Run ``paretune WORDS`` and check its exit code."""
        done = subprocess.run(
            [*prefix, *self._command(words)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            preexec_fn=limits,
            check=False,
        )
        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert ended.code == code, f"exit code {ended.code} instead of {code}:\n{ended.out}\n{ended.err}"
        return ended

    def start(self, *words: object) -> "Started":
        """Start ``paretune WORDS`` as a terminal does: as a process group of its own."""
        return Started(
            subprocess.Popen(
                self._command(words),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        )

    def front(self, run: str) -> dict[str, Any]:
        """Return the front of a run as ``paretune front`` prints it for scripts."""
        document: dict[str, Any] = json.loads(self.run("front", run, "--format", "json").out)
        return document

    def runs(self, name: str) -> "RunFiles":
        """Return the run called ``name``."""
        return RunFiles(self.folder / "runs" / name)

    def experiment(self, name: str, source: str, changes: Mapping[str, Any]) -> Path:
        """Write a ready-made experiment with some of its top-level entries replaced, as ``NAME.yaml``."""
        yaml = YAML(typ="safe")
        document = {**yaml.load(ready_made(source).read_text()), "name": name, **changes}
        path = self.folder / f"{name}.yaml"
        with path.open("w") as file:
            yaml.dump(document, file)
        return path

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment: nothing is set that only these tests need."""
        ours = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES")
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        return {**inherited, "XDG_CACHE_HOME": str(self.cache)}

    def _command(self, words: Sequence[object]) -> list[str]:
        return [sys.executable, "-m", "paretune", *map(str, words)]


class Started:
    """A command that is running; leaving the block ends it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._stdout, self._stderr = process, process.stdout, process.stderr
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            for process in [psutil.Process(self.pid), *self.children()]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        if not self._stdout.closed:
            self.wait()

    @property
    def pid(self) -> int:
        """The coordinator's process id."""
        return self._process.pid

    def send(self, number: int) -> None:
        """Send a signal to the command alone."""
        self._process.send_signal(number)

    def wait_for_line(self, start: str, patience_seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until the command has printed a line on stderr that starts so."""
        found = self._wait(lambda: [line for line in self._lines if line.startswith(start)], patience_seconds)
        assert found, f"no line {start!r} within {patience_seconds} s; got\n" + "\n".join(self._lines)
        return found[0]

    def worker(self) -> psutil.Process:
        """Wait until there is a process that trains, and return it: a child that has loaded TensorFlow."""
        found = self._wait(lambda: [child for child in self.children() if has_tensorflow(child)], 120)
        assert found, "no worker; the command printed\n" + "\n".join(self._lines)
        return found[0]

    def children(self) -> list[psutil.Process]:
        """Return every process that the command has started, directly or not."""
        return psutil.Process(self.pid).children(recursive=True)

    def wait(self) -> Ended:
        """Wait for the command to end."""
        out = self._stdout.read()
        code = self._process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        self._stdout.close()
        return Ended(code, out, "\n".join(self._lines))

    def _read(self) -> None:
        with self._stderr as lines:
            for line in lines:
                self._lines.append(line.rstrip("\n"))

    def _wait(self, look: Callable[[], list[Found]], patience_seconds: float) -> list[Found]:
        deadline = time.monotonic() + patience_seconds
        while not (found := look()) and time.monotonic() < deadline and self._process.poll() is None:
            time.sleep(0.05)
        return found or look()


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run, read without the product."""

    folder: Path

    def trials(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger by number, the baseline first."""
        with sqlite3.connect(f"file:{self.folder / 'ledger.sqlite'}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute("SELECT * FROM trials ORDER BY number")]
        connection.close()
        return rows

    def trained(self) -> list[dict[str, Any]]:
        """Return the complete trials that a budget counts: the first of each family that needs training."""
        families: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in self.trials():
            decided = json.loads(row["policy"]).values()
            stem = tuple(
                (
                    1 - each["channels"],
                    each["rank"],
                    each["sparsity"],
                    each["clusters"],
                    each["quantization"] == "int8_qat",
                )
                for each in decided
            )
            if row["state"] == "complete" and row["rung"] == "full" and any(any(layer) for layer in stem):
                families.setdefault(stem, row)
        return list(families.values())

    def mlflow_runs(self) -> list[Any]:
        """Return every run in the MLflow store beside the run folder."""
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder.parent / 'mlflow.db'}")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, max_results=1000))


def ready_made(name: str) -> Path:
    """Return the path of an experiment file that ships with Paretune."""
    return Path(str(files("paretune.experiments") / f"{name}.yaml"))


def has_tensorflow(process: psutil.Process) -> bool:
    """Return whether a process has loaded TensorFlow."""
    try:
        return any("tensorflow" in region.path for region in process.memory_maps())
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False
