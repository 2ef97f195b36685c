"""Objectives, and constraints on them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paretune.spaces.errors import ConfigurationError


class Direction(StrEnum):
    """Which way an objective is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A named number with a direction and a unit.

    Attributes:
        name: Key in :attr:`paretune.spaces.results.measurement.Measurement.values`.
        direction: Which way is better.
        unit: For people; empty where there is none.
        tolerance: Measurement noise: values are rounded to multiples of it before they are compared, so that
            differences within it are ties; 0 compares exactly.
        log: Whether ratios matter rather than differences (sizes); always positive then.
        settled: Whether the policy alone decides it, so that the file has the same value before training as after.
    """

    name: str
    direction: Direction
    unit: str = ""
    tolerance: float = 0.0
    log: bool = False
    settled: bool = False

    def cost(self, value: float) -> float:
        """Return the value rounded to the tolerance, with the sign turned so that smaller is better."""
        rounded = round(value / self.tolerance) * self.tolerance if self.tolerance else value
        return rounded if self.direction is Direction.MINIMIZE else -rounded


def _amount(name: str, unit: str) -> Objective:
    """Return something that follows from the operators and shapes of a file."""
    return Objective(name=name, direction=Direction.MINIMIZE, unit=unit, log=True, settled=True)


#: What every exported file is measured by, whatever the task. The task's own metric comes on top.
FILE_OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(name="size_bytes", direction=Direction.MINIMIZE, unit="bytes deflated", log=True),
        Objective(name="raw_bytes", direction=Direction.MINIMIZE, unit="bytes", log=True),
        Objective(name="entropy_bytes", direction=Direction.MINIMIZE, unit="bytes, entropy bound", log=True),
        _amount("macs", "MACs"),
        _amount("bit_operations", "MACs x bits x bits"),
        _amount("parameters", "weights"),
        _amount("arena_bytes", "bytes of activations, at the peak"),
        _amount("energy_nj", "nJ, estimated"),
        Objective(name="latency_ratio", direction=Direction.MINIMIZE, unit="x baseline", tolerance=0.05),
        Objective(name="loss", direction=Direction.MINIMIZE),
    )
}

#: What files are measured by only where it is asked for, because it takes a tool or a device.
ASKED_OBJECTIVES: Mapping[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(name="vela_cycles", direction=Direction.MINIMIZE, unit="cycles on Ethos-U, estimated", log=True),
        _amount("vela_sram_bytes", "bytes of SRAM on Ethos-U"),
        Objective(name="vela_size_bytes", direction=Direction.MINIMIZE, unit="bytes compiled for Ethos-U", log=True),
        Objective(name="adb_latency_ms", direction=Direction.MINIMIZE, unit="ms on the Android device", log=True),
    )
}

#: What differs from one measurement of a file to the next.
OBSERVED = ("latency_ratio", "adb_latency_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFunction:
    """An objective that a function of the user's computes from the exported file.

    Attributes:
        objective: What it gives.
        function: ``module:function``.
    """

    objective: Objective
    function: str


class Bound(StrEnum):
    """How a constraint bounds its objective."""

    MAX = "max"
    MIN = "min"
    DROP = "drop"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A bound on an objective.

    Attributes:
        objective: Name of the objective.
        bound: ``max``/``min``: absolute. ``drop``: a worsening from the baseline in the objective's own unit,
            whichever its direction. ``ratio``: at most (minimised) or at least (maximised) that multiple of the
            baseline; positive objectives only.
        value: The number that goes with it.
    """

    objective: str
    bound: Bound
    value: float

    def __post_init__(self) -> None:
        if not abs(self.value) < float("inf"):
            raise ConfigurationError(f"Constraint on '{self.objective}' must be a finite number, got {self.value!r}.")
        if self.bound is Bound.DROP and self.value < 0:
            raise ConfigurationError(f"`drop` of '{self.objective}' must be at least 0, got {self.value!r}.")
        if self.bound is Bound.RATIO and self.value <= 0:
            raise ConfigurationError(f"The ratio of '{self.objective}' must be above 0, got {self.value!r}x.")

    def violation(self, value: float, *, baseline: float, direction: Direction) -> float:
        """Return by how much ``value`` breaks the bound, in the objective's unit; 0 or less is feasible.

        A value that equals the bound but for rounding keeps it: 0.52 - 0.05 is a hair above 0.47 in floating point.
        """
        bound, is_upper = self.absolute(baseline=baseline, direction=direction)
        if math.isclose(value, bound, rel_tol=1e-9):
            return 0.0
        return value - bound if is_upper else bound - value

    def absolute(self, *, baseline: float, direction: Direction) -> tuple[float, bool]:
        """Return the bound in the objective's own unit, and whether it is an upper one."""
        minimised = direction is Direction.MINIMIZE
        if self.bound is Bound.MAX:
            return self.value, True
        if self.bound is Bound.MIN:
            return self.value, False
        if self.bound is Bound.DROP:
            return (baseline + self.value if minimised else baseline - self.value), minimised
        if baseline <= 0:
            raise ConfigurationError(
                f"A ratio needs a positive baseline; '{self.objective}' is {baseline:g}. Use max, min or drop."
            )
        return self.value * baseline, minimised

    def __str__(self) -> str:
        if self.bound is Bound.RATIO:
            return f"{self.objective} {self.value:g}x"
        return f"{self.objective} {self.bound} {self.value:g}"


_QUANTITY = re.compile(r"\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_BYTES = {"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def read_quantity(value: object) -> float:
    """Read a number, or bytes with a unit such as ``60kB`` (1,000) or ``60KiB`` (1,024).

    Raises:
        ConfigurationError: If it is neither.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2].lower() not in _BYTES:
        raise ConfigurationError(f"Expected a number or bytes such as 60kB, got {value!r}.")
    try:
        return float(match[1]) * _BYTES[match[2].lower()]
    except ValueError:
        raise ConfigurationError(f"Expected a number or bytes such as 60kB, got {value!r}.") from None


def read_constraints(name: str, document: object) -> tuple[Constraint, ...]:
    """Read the constraints on one objective: ``0.25x``, or a mapping of ``max``, ``min``, ``drop``, ``ratio``.

    Raises:
        ConfigurationError: If it is neither.
    """
    try:
        if isinstance(document, str) and document.strip().endswith("x"):
            return (Constraint(objective=name, bound=Bound.RATIO, value=read_quantity(document.strip()[:-1])),)
        if isinstance(document, Mapping) and document and all(key in list(Bound) for key in document):
            return tuple(
                Constraint(objective=name, bound=Bound(key), value=_read_bound(value))
                for key, value in document.items()
            )
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (constraint on '{name}')") from None
    raise ConfigurationError(
        f"A constraint is '0.25x' or a mapping of max, min, drop, such as {{max: 60kB}}; "
        f"got {document!r} (constraint on '{name}')."
    )


def _read_bound(value: Any) -> float:
    return read_quantity(value[:-1] if isinstance(value, str) and value.strip().endswith("x") else value)
