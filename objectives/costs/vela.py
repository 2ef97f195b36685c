"""Files compiled for Arm's Ethos-U by its compiler Vela: estimated cycles, memory and size."""

import csv
import importlib.util
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from paretune.objectives.costs.arithmetic import multiplied_tensors, runs_of
from paretune.objectives.flatbuffer.graph import Graph, read_graph
from paretune.spaces.errors import ConfigurationError, Infeasible, MeasurementFailed

_SECONDS = 300
_KIB = 1024


class Vela:
    """Vela, found and ready.

    Args:
        accelerator: Such as ``ethos-u55-128``.

    Raises:
        ConfigurationError: Vela is not installed, or does not know the accelerator.
    """

    def __init__(self, accelerator: str) -> None:
        self._command = _command()
        self._accelerator = accelerator
        known = self._known_accelerators()
        if known and accelerator not in known:
            raise ConfigurationError(f"`accelerator` must be one of {', '.join(known)}, got {accelerator!r}.")

    def version(self) -> str:
        """Return what decides the numbers: Vela's version, and the accelerator."""
        try:
            found = version("ethos-u-vela") if self._command[0] == sys.executable else ""
        except PackageNotFoundError:
            found = ""
        return f"{found or self._run(['--version'])} {self._accelerator}"

    def measure(self, model: bytes) -> dict[str, float]:
        """Compile a file.

        Returns:
            * ``vela_cycles``: cycles of one inference, as Vela estimates them from its own model of the accelerator and
              its memories (the system configuration and memory mode are its defaults for the accelerator);
            * ``vela_sram_bytes``: peak SRAM;
            * ``vela_size_bytes``: length of the compiled file, in which weights are encoded: zeros and repeated values
              make it shorter.

        Raises:
            Infeasible: A multiplication of the file is not static int8, or Vela leaves all to the processor.
            MeasurementFailed: Vela fails.
        """
        graph = read_graph(model)
        require_static_int8(graph)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.tflite"
            file.write_bytes(model)
            self._run(["--accelerator-config", self._accelerator, "--output-dir", folder, str(file)])
            summaries = sorted(Path(folder).glob("model_summary_*.csv"))
            compiled = Path(folder) / "model_vela.tflite"
            if not summaries or not compiled.exists():
                raise MeasurementFailed("Vela must leave a summary and a compiled file; it did not.")
            return {**read_summary(summaries[0].read_text()), "vela_size_bytes": float(compiled.stat().st_size)}

    def _known_accelerators(self) -> list[str]:
        told = self._run(["--help"])
        listed = told.partition("--accelerator-config {")[2].partition("}")[0]
        return [name.strip() for name in listed.split(",") if name.strip()]

    def _run(self, arguments: Sequence[str]) -> str:
        try:
            ended = subprocess.run(  # noqa: S603  # our own arguments
                [*self._command, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise MeasurementFailed(f"Vela must finish within {_SECONDS} s; it did not.") from None
        except OSError as error:
            raise MeasurementFailed(f"Vela cannot be started: {error}") from error
        if ended.returncode:
            lines = [line for line in (ended.stderr or ended.stdout).splitlines() if line.strip()]
            raise MeasurementFailed(f"Vela failed: {lines[-1].strip() if lines else f'exit code {ended.returncode}'}")
        return ended.stdout.strip()


def read_summary(text: str) -> dict[str, float]:
    """Return cycles and peak SRAM from the summary that Vela writes as CSV.

    Raises:
        Infeasible: Nothing runs on the accelerator.
        MeasurementFailed: It is no such summary.
    """
    rows = list(csv.DictReader(text.splitlines()))
    try:
        cycles, sram = float(rows[0]["cycles_total"]), float(rows[0]["sram_memory_used"]) * _KIB
    except (IndexError, KeyError, TypeError, ValueError):
        raise MeasurementFailed("Vela's summary must tell cycles_total and sram_memory_used; it does not.") from None
    if not cycles > 0 or not math.isfinite(cycles):
        raise Infeasible("Vela leaves every operator to the processor: nothing of the file runs on the Ethos-U")
    return {"vela_cycles": cycles, "vela_sram_bytes": sram}


def require_static_int8(graph: Graph) -> None:
    """Raise unless everything that a file multiplies is static int8, as Ethos-U takes it.

    Raises:
        Infeasible: Names the first operator that is not.
    """
    for operator, _ in runs_of(graph):
        factors = multiplied_tensors(graph, operator)
        types = {tensor.dtype for tensor in factors}
        if types - {"INT8"}:
            found = " with ".join(tensor.dtype for tensor in factors)
            is_product = operator.kind == "BATCH_MATMUL"  # of attention
            advice = "no format makes integers of it" if is_product else "give its layer the format int8 or int8_qat"
            raise Infeasible(
                f"Ethos-U multiplies in static int8 alone, but {operator.kind} '{factors[-1].name}' has {found}; "
                f"{advice}"
            )


def _command() -> list[str]:
    if importlib.util.find_spec("ethosu") is not None:
        return [sys.executable, "-m", "ethosu.vela"]
    found = shutil.which("vela")
    if found is None:
        raise ConfigurationError(
            "Objectives of Ethos-U need Arm's compiler Vela, which is not installed: pip install 'paretune[vela]'."
        )
    return [found]
