"""Timing files on an Android device; adb itself is played by a script."""

import os
from pathlib import Path

import pytest

from paretune.objectives.costs.adb import AndroidDevice, attached, average_ms
from paretune.spaces.errors import ConfigurationError, MeasurementFailed

#: What benchmark_model printed for a YOLOv5s in float32 on a phone, four threads.
ON_A_PHONE = """\
count=50 first=249042 curr=250889 min=247067 max=254474 avg=249684 std=1442

Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory \
footprint of the model at runtime. Take the information at your discretion.
Peak memory footprint (MB): init=4.92969 overall=138.809
"""
#: The same line for a MobileNet in an emulator: above a million, it counts in powers of ten.
IN_AN_EMULATOR = (
    "I tflite  : Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, "
    "Inference (avg): 2.95034e+06\n"
)
LISTING = "List of devices attached\nemulator-5554\tdevice\nR58M1\tunauthorized\n\n"


@pytest.mark.parametrize(("told", "milliseconds"), [(ON_A_PHONE, 249.684), (IN_AN_EMULATOR, 2950.34)])
def test_the_mean_of_the_timed_runs_is_read(told, milliseconds):
    assert average_ms(told) == pytest.approx(milliseconds)


def test_what_prints_no_timings_is_told_with_its_error():
    with pytest.raises(MeasurementFailed, match=r"must print its inference timings; .*Failed to load"):
        average_ms("STARTING!\nERROR: Failed to load the model\n")


def test_only_devices_that_are_ready_count():
    assert attached(LISTING) == ["emulator-5554"]


@pytest.fixture
def adb(tmp_path, monkeypatch):
    """Put an ``adb`` on the PATH that notes what it is asked, and answers as a phone would."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "answer.txt").write_text(ON_A_PHONE)
    (tmp_path / "devices.txt").write_text(LISTING)
    script = folder / "adb"
    script.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked.txt\ncase "$*" in\n'
        f"devices) cat {tmp_path}/devices.txt ;;\n*getprop*) echo 'Pixel 8' ;;\n"
        f"*--graph=*) cat {tmp_path}/answer.txt ;;\nesac\n"
    )
    script.chmod(0o755)
    (tmp_path / "benchmark_model").write_bytes(b"\x7fELF")
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_a_file_is_pushed_and_timed_on_the_device(adb):
    device = AndroidDevice(adb / "benchmark_model", threads=2)
    assert device.name() == "Pixel 8"
    assert device.latency_ms(b"a file") == pytest.approx(249.684)
    asked = (adb / "asked.txt").read_text().splitlines()
    assert asked[-1].startswith("-s emulator-5554 shell /data/local/tmp/paretune/benchmark_model --graph=")
    assert asked[-1].endswith("--num_threads=2")


def test_without_the_device_the_program_or_adb_one_line_says_so(adb, monkeypatch):
    with pytest.raises(ConfigurationError, match=r"Device 'R58M1' must be attached; adb sees emulator-5554\."):
        AndroidDevice(adb / "benchmark_model", serial="R58M1")
    with pytest.raises(ConfigurationError, match=r"`benchmark_model` must be .* is not there\."):
        AndroidDevice(Path("nowhere"))
    (adb / "devices.txt").write_text("List of devices attached\n")
    with pytest.raises(ConfigurationError, match=r"One Android device must be attached; adb sees none\."):
        AndroidDevice(adb / "benchmark_model")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="needs adb on the PATH"):
        AndroidDevice(adb / "benchmark_model")
