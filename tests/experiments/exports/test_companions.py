"""What ships with a file, used as its receiver would."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from paretune.experiments.exports import companions as module
from paretune.experiments.exports.companions import companions
from tests.tiny_tflite import (
    doubled,
    example_of_doubled,
    example_of_sum_and_product,
    sum_and_product,
)

PRINT_BYTES = """\
#include <stdio.h>
#include <stdint.h>
#include "model_data.h"
int main(void) {
  if ((uintptr_t)g_model_data % 16 != 0) return 1;
  return fwrite(g_model_data, 1, g_model_data_size, stdout) == g_model_data_size ? 0 : 2;
}
"""


def write_all(folder: Path, model: bytes) -> None:
    (folder / "model.tflite").write_bytes(model)
    example = example_of_sum_and_product() if model == sum_and_product() else example_of_doubled()
    for name, contents in companions("a */ title", "model.tflite", model, example).items():
        (folder / name).write_bytes(contents)


def smoke(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run the script from elsewhere, isolated from this environment's own paths."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "smoke_test.py")], cwd="/", capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("length", [5, 1000])  # compilers align long arrays by themselves
@pytest.mark.parametrize("compiler", [["g++", "-std=c++11", "-x", "c++"], ["gcc", "-std=c11", "-x", "c"]])
def test_the_c_array_compiles_as_c_and_as_cxx_and_holds_the_bytes_of_the_file(
    tmp_path: Path, compiler: list[str], length: int
) -> None:
    assert shutil.which(compiler[0]), f"this test needs {compiler[0]}"
    model = os.urandom(length) + b"\x00\xff"
    write_all(tmp_path, model)
    (tmp_path / "main.c").write_text(PRINT_BYTES)
    program = tmp_path / "program"
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([*compiler, *flags, "main.c", "model_data.cc", "-o", str(program)], cwd=tmp_path, check=True)
    assert subprocess.run([str(program)], capture_output=True, check=True).stdout == model


def test_the_header_names_the_operators_that_firmware_must_register(tmp_path: Path) -> None:
    write_all(tmp_path, sum_and_product())
    assert "Operators to register: ADD, MUL" in (tmp_path / "model_data.h").read_text()


def test_a_file_that_no_microcontroller_holds_gets_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    write_all(tmp_path, doubled())
    assert not (tmp_path / "model_data.cc").exists()
    assert not (tmp_path / "model_data.h").exists()


def test_the_archive_holds_the_file_in_the_bytes_that_its_size_says() -> None:
    model = b"weights" * 500 + os.urandom(300)
    archive = companions("title", "model.tflite", model, example_of_doubled())["model.zip"]
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.read("model.tflite") == model
        deflated = len(zlib.compress(model, 9))
        assert opened.getinfo("model.tflite").compress_size == deflated - 6  # zlib's header and checksum
        assert len(archive) < deflated + 200


def test_companions_are_the_same_bytes_every_time() -> None:
    example = example_of_doubled()
    first, second = (companions("title", "model.tflite", doubled(), example) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("model", [doubled(), sum_and_product()], ids=["one input", "two inputs and outputs"])
def test_the_smoke_test_agrees_with_the_example(tmp_path: Path, model: bytes) -> None:
    write_all(tmp_path, model)
    done = smoke(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "All 3 samples agree."


def test_the_smoke_test_fails_for_a_file_that_answers_otherwise(tmp_path: Path) -> None:
    write_all(tmp_path, doubled())
    example = example_of_doubled()
    wrong = example.outputs["output_0"].copy()
    wrong[1, 0] += 1.0
    np.savez(tmp_path / "example.npz", **{"input:x": example.inputs["x"], "output:output_0": wrong})
    done = smoke(tmp_path)
    assert done.returncode == 1
    assert "sample 1, output_0 [1, 4]" in done.stdout
    assert "does NOT answer" in done.stdout


def test_the_smoke_test_does_not_take_nan_for_an_answer(tmp_path: Path) -> None:
    write_all(tmp_path, doubled())
    samples = example_of_doubled().inputs["x"].copy()
    samples[0, 0] = np.nan
    np.savez(
        tmp_path / "example.npz", **{"input:x": samples, "output:output_0": example_of_doubled().outputs["output_0"]}
    )
    assert smoke(tmp_path).returncode == 1
