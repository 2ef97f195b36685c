"""Objectives that are measured only where they are asked for: compiled, on a device, or by the user's functions."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from paretune.objectives.costs.adb import AndroidDevice
from paretune.objectives.costs.file_function import file_function
from paretune.objectives.costs.vela import Vela
from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.loading.functions import function_digest
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import ASKED_OBJECTIVES, FILE_OBJECTIVES, Objective

ADB = "adb_latency_ms"
#: Files whose values are remembered: a trial's file is measured on one split after the other.
_MOST_REMEMBERED = 16


class AskedObjectives:
    """Measures what an experiment asks for beyond what every file is measured by.

    Args:
        settings: What is asked for.
        integer_twin: Returns, for the uncompressed float32 file, the plain int8 one that stands for it where only
            integers run; any other file itself.

    Attributes:
        objectives: By name.

    Raises:
        ConfigurationError: A tool, a device or a function is missing.
    """

    def __init__(self, settings: EvaluatorSettings, integer_twin: Callable[[bytes], bytes]) -> None:
        beside = Path(settings.beside)
        self._settings, self._integer_twin = settings, integer_twin
        self._vela_names = [name for name in settings.asked if name.startswith("vela_")]
        self._vela = Vela(settings.device.accelerator) if self._vela_names else None
        self._device = _device(settings, beside) if ADB in settings.asked else None
        self._functions = {each.objective.name: (each, file_function(each, beside)) for each in settings.functions}
        self.objectives: Mapping[str, Objective] = {
            **{name: ASKED_OBJECTIVES[name] for name in settings.asked},
            **{name: each.objective for name, (each, _) in self._functions.items()},
        }
        self._remembered: dict[str, dict[str, float]] = {}
        self._latencies: dict[str, float] = {}

    def fingerprint(self) -> dict[str, str]:
        """Return what decides the numbers, by part."""
        beside = Path(self._settings.beside)
        parts = {
            f"objective {name}": function_digest(each.function, beside) for name, (each, _) in self._functions.items()
        }
        if self._vela is not None:
            parts["vela"] = self._vela.version()
        if self._device is not None:
            parts["device"] = self._device.name()
        return parts

    def of_file(self, model: bytes) -> dict[str, float]:
        """Return what depends on the contents of a file alone.

        Raises:
            Infeasible: The file does not run on what it is to be compiled for.
            MeasurementFailed: The compiler or a function failed.
        """
        if self._vela is None and not self._functions:
            return {}
        digest = hashlib.sha256(model).hexdigest()
        if digest not in self._remembered:
            values = {name: measure(model) for name, (_, measure) in self._functions.items()}
            if self._vela is not None:
                compiled = self._vela.measure(self._integer_twin(model))
                values |= {name: compiled[name] for name in self._vela_names}
            while len(self._remembered) >= _MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = values
        return dict(self._remembered[digest])

    def on_device(self, model: bytes, *, anew: bool = True) -> dict[str, float]:
        """Return what is measured on a device: once for each structure, since kernels do not mind values.

        Args:
            model: Contents of a file.
            anew: Whether to measure a structure that is not known yet.

        Raises:
            MeasurementFailed: The device is gone, or cannot run the file.
        """
        if self._device is None:
            return {}
        structure = structure_digest(model)
        if structure not in self._latencies:
            if not anew:
                return {}
            self._latencies[structure] = self._device.latency_ms(model)
        return {ADB: self._latencies[structure]}


def structure_digest(model: bytes) -> str:
    """Return a digest of a file's operators, and of the shapes and types of its tensors; constants do not matter."""
    graph = read_graph(model)
    tensors = [[(tensor.shape, tensor.dtype) for tensor in subgraph] for subgraph in graph.tensors]
    operators = [(each.kind, each.subgraph, each.inputs, each.outputs) for each in graph.operators]
    return hashlib.sha256(repr((tensors, operators)).encode()).hexdigest()


def require_free_names(settings: EvaluatorSettings, metric: str) -> None:
    """Raise if a function's objective is called like something that is measured already.

    Raises:
        ConfigurationError: Names it.
    """
    taken = {metric, *FILE_OBJECTIVES, *ASKED_OBJECTIVES}
    for each in settings.functions:
        if each.objective.name in taken:
            raise ConfigurationError(
                f"Objective '{each.objective.name}' ({each.function}) needs another name: files are measured by "
                "one of this name already."
            )


def _device(settings: EvaluatorSettings, beside: Path) -> AndroidDevice:
    if settings.device.benchmark_model is None:
        raise ConfigurationError("`adb_latency_ms` needs `device: {benchmark_model: PATH}`.")
    return AndroidDevice(beside / settings.device.benchmark_model, serial=settings.device.adb, threads=settings.threads)
