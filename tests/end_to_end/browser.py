"""A headless Chromium, driven through its debugging pipe: the standard library is enough for that."""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.end_to_end.chromium import chromium

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1400,1000",
    "--remote-debugging-pipe",
)


class Page:
    """One page of a browser."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._received = b""
        self._count = 0
        self._session = ""
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    def open(self, address: str) -> None:
        """Go to an address."""
        self._call("Page.navigate", {"url": address})

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True})
        return answer["result"].get("value")

    def wait_for(self, script: str, patience_seconds: float) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        deadline = time.monotonic() + patience_seconds
        while not (value := self.ask(script)):
            text = "document.body && document.body.innerText"
            assert time.monotonic() < deadline, f"{script} did not become true; the page says:\n{self.ask(text)}"
            time.sleep(0.25)
        return value

    def _call(self, method: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": dict(parameters)}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next_message()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    def _next_message(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "Chromium has ended."
            self._received += chunk
        text, _, self._received = self._received.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browser_page(profile: Path) -> Iterator[Page]:
    """Start Chromium with a new profile; end it at the end of the block."""
    child_reads, to_browser = os.pipe()
    from_browser, child_writes = os.pipe()
    # Chromium reads its commands from descriptor 3 and answers on 4; the shell puts the pipes there
    line = f'exec "$0" "$@" 3<&{child_reads} 4>&{child_writes}'
    command = ["bash", "-c", line, chromium(), *_FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        command,
        pass_fds=(child_reads, child_writes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(child_reads)
    os.close(child_writes)
    try:
        yield Page(to_browser, from_browser)
    finally:
        os.close(to_browser)
        os.close(from_browser)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
