"""MLflow's page as a person sees it, in a browser."""

import signal
import socket
import struct
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.end_to_end.browser import browser_page
from tests.end_to_end.chromium import chromium
from tests.end_to_end.command_line import Shell

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

PATIENCE_SECONDS = 120.0
SHORT = {"prune": {"epochs": 2}, "cluster": {"epochs": 1}, "quantize": {"epochs": 1}}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_server(address: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  # an address of this machine
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < deadline, f"{address} does not answer"
            time.sleep(0.25)


def size_of_png(path: Path) -> list[int]:
    """Return width and height, from the header."""
    return list(struct.unpack(">II", path.read_bytes()[16:24]))


def test_the_page_shows_the_runs_and_the_picture_of_the_front(shell: Shell, tmp_path: Path) -> None:
    chromium()  # before anything takes long
    file = shell.experiment("shown", "breast_cancer", {"recipe": SHORT})
    shell.run("search", file.name, "--trials", 2)
    shell.run("sync", "shown")  # a search does not wait for MLflow for long
    recorded = shell.runs("shown").mlflow_runs()
    (parent,) = [run for run in recorded if "mlflow.parentRunId" not in run.data.tags]
    trial = next(run for run in recorded if run is not parent)
    picture = size_of_png(shell.folder / "runs" / "shown" / "front.png")

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    experiment = f"{address}/#/experiments/{parent.info.experiment_id}/runs"
    with shell.start("ui", "shown", "--port", port) as server:
        server.wait_for_line(address)
        wait_for_server(address)
        with browser_page(tmp_path / "profile") as page:
            page.open(experiment)
            page.wait_for(f"document.body?.innerText.includes('{len(recorded)} matching runs')", PATIENCE_SECONDS)
            links = "[...document.querySelectorAll('a')].map(link => link.innerText.trim())"
            page.wait_for(f"{links}.includes('shown')", PATIENCE_SECONDS)

            page.open(f"{experiment}/{trial.info.run_id}")
            page.wait_for(f"document.body?.innerText.includes({trial.info.run_name!r})", PATIENCE_SECONDS)
            page.wait_for("document.body.innerText.includes('size_bytes')", PATIENCE_SECONDS)

            page.open(f"{experiment}/{parent.info.run_id}/artifacts/front.png")
            shown = "[...document.images].map(image => [image.naturalWidth, image.naturalHeight].join())"
            page.wait_for(f"{shown}.includes('{picture[0]},{picture[1]}')", PATIENCE_SECONDS)
        server.send(signal.SIGINT)
        assert server.wait().code == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server outlives its command"
