"""Objectives that a function of the user's computes from the contents of an exported file."""

import inspect
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paretune.objectives.loading.functions import reason_of, resolve_function
from paretune.spaces.errors import ConfigurationError, Infeasible, MeasurementFailed
from paretune.spaces.results.objective import FileFunction

#: A function whose first parameter is called so is given a file on the disk.
_PATH = "path"


def file_function(declared: FileFunction, beside: Path) -> Callable[[bytes], float]:
    """Return a function that measures the contents of a file.

    The user's function takes the bytes, or, if its parameter is called ``path``, the path of a ``.tflite`` file that
    is there while it runs. It returns a finite number, above 0 where ratios matter.

    Args:
        declared: Names it.
        beside: Folder of the experiment file.

    Raises:
        ConfigurationError: It is not there, cannot be imported, or takes no argument. The function that is returned
            raises MeasurementFailed if the user's raises anything, or returns anything else; and Infeasible if it does.
    """
    function = resolve_function(declared.function, beside)
    takes_path = _takes_path(function, declared)
    where = f"Objective '{declared.objective.name}' ({declared.function})"

    def measure(model: bytes) -> float:
        try:
            value = _on_disk(function, model) if takes_path else function(model)
        except Infeasible as error:
            raise Infeasible(f"{where}: {error}") from error
        except Exception as error:  # whatever the user's function raises
            raise MeasurementFailed(f"{where} failed: {type(error).__name__}: {reason_of(error)}") from error
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise MeasurementFailed(f"{where} must return one number, got {value!r}.") from None
        if not math.isfinite(number):
            raise MeasurementFailed(f"{where} must return a finite number, got {number}.")
        if declared.objective.log and number <= 0:
            raise MeasurementFailed(f"{where} must return a number above 0, for `log: true`; got {number:g}.")
        return number

    return measure


def _takes_path(function: Callable[..., Any], declared: FileFunction) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built in, without a signature
        return False
    if not parameters:
        raise ConfigurationError(
            f"'{declared.function}' must take the contents of a file (or its `path`), but it takes nothing "
            f"(objective '{declared.objective.name}')."
        )
    return parameters[0].name == _PATH


def _on_disk(function: Callable[..., Any], model: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(model)
        return function(file)
