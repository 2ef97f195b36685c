"""A Chromium for the tests that look at pages; run as a module, it sees to it that there is one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APT = ("apt-get", "--yes", "--no-install-recommends")


def chromium() -> str:
    """Return the path of Chromium, installed first where it is missing: Playwright's, or (as root) Debian's."""
    found = _installed()
    reasons = []
    for words in (
        (sys.executable, "-m", "playwright", "install", "chromium"),
        (*_APT, "update"),
        (*_APT, "install", "chromium"),
    ):
        if found is not None:
            return found
        reasons.append(_trouble(words))
        found = _installed()
    assert found is not None, f"Chromium must be installed; there is none, and it could not be: {' '.join(reasons)}"
    return found


def _installed() -> str | None:
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    return found or _of_playwright()


def _of_playwright() -> str | None:
    """Return Playwright's own, if it is there and starts: it comes without the libraries of the system."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if not Path(path).is_file():
        return None
    started = subprocess.run([path, "--version"], capture_output=True, check=False)
    return path if started.returncode == 0 else None


def _trouble(words: tuple[str, ...]) -> str:
    """Run a command, and return what it said if it failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"`{' '.join(words)}`: {error}."
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else f"`{' '.join(words)}`: {said[-1] if said else done.returncode}."


if __name__ == "__main__":
    print(chromium())
