"""How the benchmarks print figures: medians with quartiles, in aligned columns, under facts about the machine."""

from collections.abc import Iterable, Sequence

import numpy as np

from paretune.objectives.measure.latency import machine_facts

Row = tuple[str, ...]

_RESAMPLES = 10_000


def machine_report(threads: int) -> str:
    """Return what machine this is, and how figures are given."""
    return f"{machine_text(threads)}\nFigures are medians, with the first and third quartile in brackets."


def machine_text(threads: int) -> str:
    """Return what machine this is, and how busy."""
    facts = machine_facts(threads)
    return (
        f"{facts['cpu']}, {facts['cores']} cores ({', '.join(facts['features'])}), "
        f"{threads} thread{'s' if threads > 1 else ''} a process, load average {facts['load_average']} at the start"
    )


def spread(values: Iterable[float], form: str) -> str:
    """Return median and quartiles, in a number format."""
    low, middle, high = np.percentile(list(values), [25, 50, 75])
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def mean_interval(values: Iterable[float]) -> tuple[float, float, float]:
    """Return the mean, and its 95 % interval by resampling the values (percentile bootstrap)."""
    found = np.array(list(values))
    means = found[np.random.default_rng(0).integers(len(found), size=(_RESAMPLES, len(found)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(found.mean()), float(low), float(high)


def table(rows: Sequence[Row]) -> str:
    """Return rows as lines of aligned cells, the first of each to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
