"""How numbers and commands are spelled for people: one spelling in the terminal, on the card and in MLflow."""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.spaces.candidates.hyperspace import OFF
from paretune.spaces.results.trial import Budget, Trial

_SHORT_NAMES = {
    "size_bytes": "size",
    "raw_bytes": "raw",
    "entropy_bytes": "entropy",
    "arena_bytes": "arena",
    "bit_operations": "bit operations",
    "energy_nj": "energy",
    "latency_ratio": "latency",
}
#: Objectives that count something other than bytes.
_COUNTS = ("macs", "parameters", "bit_operations", "vela_cycles")
#: Units that a name may end in.
_UNITS = {"nj": "nJ", "ms": "ms"}


def command_text(*words: object) -> str:
    """Return a command line of ours that can be pasted into a shell."""
    return shlex.join(["paretune", *map(str, words)])


def short_name(objective: str) -> str:
    """Return an objective's name without its unit."""
    return _SHORT_NAMES.get(objective, objective)


def bytes_text(count: float) -> str:
    """Return a number of bytes in decimal units with at least three digits, such as ``3.93 kB`` or ``21.0 kB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.{2 if count < 10 * size else 1}f} {unit}"
    return f"{count:.0f} B"


def value_text(name: str, value: float) -> str:
    """Return the value of an objective in the unit that its name carries."""
    if name.endswith("_bytes"):
        return bytes_text(value)
    if name.endswith("_ratio"):
        return f"{value:.2f}x"
    if name in _COUNTS:
        return count_text(int(value))
    stem, _, unit = name.rpartition("_")
    if stem and unit in _UNITS:
        return f"{value:.4g} {_UNITS[unit]}"
    return f"{value:.4g}"


def values_text(values: Mapping[str, float], names: Iterable[str]) -> str:
    """Return several values in one line, such as ``accuracy 0.981  size 21.0 kB``; what is not there is left out."""
    return "  ".join(f"{short_name(name)} {value_text(name, values[name])}" for name in names if name in values)


def seconds_text(seconds: float) -> str:
    """Return a duration, such as ``38 s``, ``12 min`` or ``2 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def count_text(count: int) -> str:
    """Return a count: with thousands separated, or as a power of ten once it no longer fits."""
    if count < 10**9:
        return f"{count:,}"
    # an int can be beyond what a float holds, so the exponent is read from its digits
    digits = str(count)
    return f"{digits[0]}.{digits[1]}e{len(digits) - 1}"


def hyperparameters_text(values: Mapping[str, Any]) -> str:
    """Return hyperparameters in one line, such as ``width 8, learning_rate 0.003``; inactive ones are left out."""
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items() if value != OFF)


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def knob_title(knob: str) -> str:
    """Return what a knob decides."""
    return "number format" if knob == "quantization" else knob


def decision_text(knob: str, value: Any) -> str:
    """Return what is decided about one knob of a layer, such as ``50%`` for a sparsity."""
    if knob in ("channels", "sparsity"):
        return f"{value:.0%}"
    return "none" if value is None else _plain(value)


def budget_text(budget: Budget) -> str:
    """Return a budget for people, such as ``24 trials or 60 minutes``."""
    parts = {"trials": budget.trials, "minutes": budget.minutes, "training steps": budget.training_steps}
    return " or ".join(f"{value:g} {name}" for name, value in parts.items() if value is not None) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySummary:
    """A policy in a few columns.

    Attributes:
        channels: Range of the shares of their channels that layers keep, such as ``50..75%``; ``-`` where all do.
        ranks: Range of the ranks, such as ``8..32``; ``-`` where every kernel is whole.
        sparsity: Share of all kernel weights set to zero, in [0, 1); weighted by layer size where the file tells it.
        clusters: Range of the cluster counts, such as ``8..32``; ``-`` where no layer is clustered.
        formats: Number formats with how many layers have each, such as ``int8:4 int4:1``, most frequent first.
    """

    channels: str
    ranks: str
    sparsity: float
    clusters: str
    formats: str


def _range(numbers: Iterable[float | None], spelling: str) -> str:
    found = sorted({number for number in numbers if number is not None})
    spelled = [spelling.format(number) for number in (found[0], found[-1])] if found else ["-"]
    return "..".join(dict.fromkeys(spelled))


def policy_summary(trial: Trial) -> PolicySummary:
    """Summarise the policy of a trial."""
    policy = trial.candidate.policy
    weights = {row.layer: row.weights for row in (trial.measurement.fidelity.layers if trial.measurement else ())}
    shares = {name: weights.get(name, 0 if weights else 1) for name in policy}
    total = sum(shares.values())
    zeros = sum(decided.sparsity * shares[name] for name, decided in policy.items())
    formats = Counter(str(decided.quantization) for decided in policy.values())
    return PolicySummary(
        channels=_range((decided.channels if decided.channels < 1 else None for decided in policy.values()), "{:.0%}"),
        ranks=_range((decided.rank for decided in policy.values()), "{}"),
        sparsity=zeros / total if total else 0.0,
        clusters=_range((decided.clusters for decided in policy.values()), "{}"),
        formats=" ".join(f"{mode}:{count}" if len(formats) > 1 else mode for mode, count in formats.most_common()),
    )
