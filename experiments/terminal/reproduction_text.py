"""Reproductions for people."""

from collections.abc import Sequence

from rich.table import Table

from paretune.experiments.explaining.reproduction import Expectation, Reproduction, Spread, Verdict
from paretune.experiments.terminal.tables import plain_table
from paretune.experiments.terminal.wording import value_text
from paretune.search.front import values_of


def reproductions_table(found: Sequence[Reproduction], metric: str) -> Table:
    """Return a row for each trial: how it came out, and over how many seeds it scatters how far."""
    has_seeds = any(each.spreads for each in found)
    has_front = any(each.on_front is not None for each in found)
    table = plain_table()
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("again", no_wrap=True)
    for name in (metric, "size"):
        table.add_column(name, justify="right", no_wrap=True)
        if has_seeds:
            table.add_column("over seeds", justify="right", no_wrap=True)
    if has_front:
        table.add_column("on the front", justify="right", no_wrap=True)
    for each in found:
        cells = [str(each.trial.number), str(each.verdict)]
        for name in (metric, "size_bytes"):
            cells.append(_recorded_and_again(each, name))
            if has_seeds:
                cells.append(_spread(name, each.spreads.get(name)))
        if has_front:
            cells.append("-" if each.on_front is None else f"{each.on_front} of {len(each.others)}")
        table.add_row(*cells)
    return table


def reproduction_lines(found: Sequence[Reproduction], expected: Expectation) -> list[str]:
    """Return what was expected, and whether it came so."""
    lines = [expected.sentence]
    off = [each for each in found if not each.is_as_expected]
    lines += [f"trial {each.trial.number}: {each.again.failure}" for each in off if each.verdict is Verdict.FAILED]
    count = len(found)
    came = "came" if count - len(off) != 1 else "comes"
    lines.append(f"{count - len(off)} of {count} trial{'' if count == 1 else 's'} {came} out as expected")
    seeds = max((len(each.others) for each in found), default=0)
    if seeds:
        lines.append(f"over seeds: mean +- standard deviation of its own seed and {seeds} new ones")
    steady = [each for each in found if each.on_front is not None and each.on_front == len(each.others) > 0]
    if any(each.on_front is not None for each in found):
        lines.append(
            f"{len(steady)} of {count} points stay on the front with every new seed, all trained with the same one"
        )
    return lines


def _recorded_and_again(each: Reproduction, name: str) -> str:
    recorded = value_text(name, values_of(each.trial)[name])
    if name not in each.again.values:
        return recorded
    again = value_text(name, each.again.values[name])
    return recorded if values_of(each.trial)[name] == each.again.values[name] else f"{recorded} -> {again}"


def _spread(name: str, spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{value_text(name, spread.mean)} +- {value_text(name, spread.deviation)}"
