"""MLflow's own server, for one machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable

from paretune.experiments.config.experiment import Tracking
from paretune.experiments.runs.folder import RUNS, find_run
from paretune.experiments.runs.run import open_run
from paretune.experiments.tracking.tracker import (
    MLFLOW_ENVIRONMENT,
    TrackingStore,
    embedded_store,
    tracking_store,
    without_credentials,
)
from paretune.spaces.errors import RunError

_HOST = "127.0.0.1"


def serve_page(run: str | None, port: int, *, say: Callable[[str], None]) -> None:
    """Serve MLflow's page until Ctrl-C; of a run whose record is on a server, tell that server's address instead.

    Args:
        run: A run; ``None`` for the runs in the current folder.
        port: Where to serve.
        say: Hears the address.

    Raises:
        RunError: If there is no record yet, or the port is taken.
    """
    store = _store_of(run)
    if store.folder is None and store.uri.startswith("http"):
        say(f"The record is on a server: {without_credentials(store.uri)}")
        return
    if store.folder is not None and not (store.folder / "mlflow.db").is_file():
        raise RunError(f"There is no MLflow record in {store.folder} yet. `paretune sync RUN` makes one.")
    _check_port(port)
    say(f"http://{_HOST}:{port} shows experiment '{store.experiment}'; it takes a few seconds. Ctrl-C ends it.")
    # MLflow's runner of background jobs starts seven processes of 240 MB each, and nothing here has such jobs.
    environment = {**MLFLOW_ENVIRONMENT, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    server = subprocess.Popen(_command(store, port), env=environment, start_new_session=True)  # noqa: S603
    try:
        code = server.wait()
    except KeyboardInterrupt:
        code = 0  # that is how it is meant to end
    finally:
        _end(server)
    if code:
        raise RunError(f"MLflow's server ended with exit code {code}; what it printed above tells why.")


def _store_of(run: str | None) -> TrackingStore:
    if run is None:
        return embedded_store(RUNS)
    folder = find_run(run)
    with open_run(folder) as opened:
        return tracking_store(folder.path, opened.experiment.tracking or Tracking())


def _command(store: TrackingStore, port: int) -> list[str]:
    # -P: a file called mlflow.py in the current folder must not stand in for MLflow
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store.uri]
    if store.artifacts is not None:
        command += ["--default-artifact-root", store.artifacts, "--no-serve-artifacts"]
    return command


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise RunError(f"Port {port} must be free: {error.strerror}. Choose another with --port.") from None


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and the processes it has started."""
    import signal
    from contextlib import suppress

    # the group is the server's own
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
