"""How the benchmarks print figures: medians with quartiles, in aligned columns, under facts about the machine."""

from collections.abc import Iterable, Sequence

import numpy as np

from paretune.objectives.measure.latency import machine_facts

Row = tuple[str, ...]


def machine_report(threads: int) -> str:
    """Return what machine this is, and how figures are given."""
    facts = machine_facts(threads)
    return (
        f"{facts['cpu']}, {facts['cores']} cores ({', '.join(facts['features'])}), "
        f"{threads} thread{'s' if threads > 1 else ''} a process, load average {facts['load_average']} at the start\n"
        "Figures are medians, with the first and third quartile in brackets."
    )


def spread(values: Iterable[float], form: str) -> str:
    """Return median and quartiles, in a number format."""
    low, middle, high = np.percentile(list(values), [25, 50, 75])
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def table(rows: Sequence[Row]) -> str:
    """Return rows as lines of aligned cells, the first of each to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
