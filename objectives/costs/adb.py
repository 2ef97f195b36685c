"""Latency on an Android device that is attached: LiteRT's benchmark_model, run over adb."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from paretune.spaces.errors import ConfigurationError, MeasurementFailed

_FOLDER = "/data/local/tmp/paretune"
_SECONDS = 120
_MICROSECONDS_A_MILLISECOND = 1000.0
#: ``Inference timings in us: Init: 1234, First inference: 567, Warmup (avg): 345.6, Inference (avg): 234.5``
_AVERAGE = re.compile(r"Inference timings in us:.*Inference \(avg\): ([0-9.e+]+)")


class AndroidDevice:
    """A device that files can be timed on; ``benchmark_model`` is pushed once.

    Args:
        benchmark_model: The program, built for the device.
        serial: Of the device; ``None`` for the only one attached.
        threads: Threads for the kernels.

    Raises:
        ConfigurationError: adb, the program or the device is missing.
    """

    def __init__(self, benchmark_model: Path, *, serial: str | None = None, threads: int = 1) -> None:
        adb = shutil.which("adb")
        if adb is None:
            raise ConfigurationError(
                "`adb_latency_ms` needs adb on the PATH; install Android's platform tools, or leave it out."
            )
        if not benchmark_model.is_file():
            raise ConfigurationError(
                f"`benchmark_model` must be LiteRT's program built for the device, but {benchmark_model} is not there."
            )
        self._adb, self._threads = adb, threads
        devices = attached(self._run([adb, "devices"]))
        if serial is not None and serial not in devices:
            raise ConfigurationError(f"Device '{serial}' must be attached; adb sees {', '.join(devices) or 'none'}.")
        if serial is None and len(devices) != 1:
            raise ConfigurationError(
                f"One Android device must be attached; adb sees {', '.join(devices) or 'none'}. "
                "Attach one and allow debugging, or name it: `device: {adb: SERIAL}`."
            )
        self._serial = serial or devices[0]
        self._on_device("shell", "mkdir", "-p", _FOLDER)
        self._on_device("push", str(benchmark_model), f"{_FOLDER}/benchmark_model")
        self._on_device("shell", "chmod", "755", f"{_FOLDER}/benchmark_model")

    def name(self) -> str:
        """Return the device's model, which its figures belong to."""
        return self._on_device("shell", "getprop", "ro.product.model").strip()

    def latency_ms(self, model: bytes) -> float:
        """Return the mean time of one run of a file, in milliseconds.

        Raises:
            MeasurementFailed: The device is gone, or cannot run the file.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.tflite"
            file.write_bytes(model)
            self._on_device("push", str(file), f"{_FOLDER}/model.tflite")
        told = self._on_device(
            "shell",
            f"{_FOLDER}/benchmark_model",
            f"--graph={_FOLDER}/model.tflite",
            f"--num_threads={self._threads}",
        )
        return average_ms(told)

    def _on_device(self, *arguments: str) -> str:
        return self._run([self._adb, "-s", self._serial, *arguments])

    @staticmethod
    def _run(command: Sequence[str]) -> str:
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603  # our own arguments
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MeasurementFailed(f"adb must answer within {_SECONDS} s: {type(error).__name__}.") from error
        told = ended.stdout + ended.stderr
        if ended.returncode:
            lines = [line.strip() for line in told.splitlines() if line.strip()]
            raise MeasurementFailed(f"On the Android device: {lines[-1] if lines else 'no answer'}")
        return told


def attached(listing: str) -> list[str]:
    """Return the serial numbers of the devices that are ready, from what ``adb devices`` prints."""
    rows = [line.split() for line in listing.splitlines()]
    return [row[0] for row in rows if len(row) == 2 and row[1] == "device"]


def average_ms(told: str) -> float:
    """Return the mean time of a run, in milliseconds, from what ``benchmark_model`` prints.

    Raises:
        MeasurementFailed: It prints none.
    """
    found = _AVERAGE.search(told)
    if found is None:
        errors = [line.strip() for line in told.splitlines() if "ERROR" in line or "Failed" in line]
        raise MeasurementFailed(
            f"benchmark_model must print its inference timings; it printed {errors[-1] if errors else 'none'!r}."
        )
    return float(found[1]) / _MICROSECONDS_A_MILLISECOND
