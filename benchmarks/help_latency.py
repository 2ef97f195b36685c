"""How fast ``paretune --help`` answers: the median of ten runs, in seconds.

Run ``python benchmarks/help_latency.py``.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

RUNS = 10


def main() -> None:
    """Measure and print."""
    beside = Path(sys.executable).with_name("paretune")
    command = str(beside) if beside.exists() else shutil.which("paretune")
    if command is None:
        raise SystemExit("error: `paretune` must be installed beside this Python, or be on the PATH.")
    seconds = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)  # noqa: S603
        seconds.append(time.perf_counter() - started)
    # the first one may have compiled Python files
    print(f"paretune --help: median {median(seconds[1:]):.3f} s of {RUNS} runs (first {seconds[0]:.3f} s)")


if __name__ == "__main__":
    main()
