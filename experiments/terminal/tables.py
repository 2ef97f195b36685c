"""Tables for people, on stdout; scripts ask for ``--format json``."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from paretune.experiments.explaining.noise import Neighbour
from paretune.experiments.terminal.wording import hyperparameters_text, policy_summary, short_name, value_text
from paretune.search.front import Front, values_of
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.policies.decompositions import CHANNELS, NO_WINDOW, SPATIAL, has_window
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.resampling import CONFIDENCE, interval_in
from paretune.spaces.results.trial import Trial

#: Nobody reads a pipe at 80 columns: there, every row stays on one line.
_PIPED_WIDTH = 400


def print_table(table: Table) -> None:
    """Print a table on stdout, as wide as the terminal; piped, without colours and with one line to a row."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(file=sys.stdout, width=width, highlight=False)
    if width is None:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n")


def print_front(front: Front, metric: str, neighbours: Mapping[int, Neighbour], *, reason: str = "") -> None:
    """Print :func:`front_table` on stdout, and below it :func:`noise_lines`."""
    print_table(front_table(front, metric, neighbours))
    sys.stdout.write("".join(f"{line}\n" for line in noise_lines(front, metric, neighbours, reason=reason)))


#: Marks a metric that differs from that of the next smaller file by no more than noise.
NOISE = "~"


def front_table(front: Front, metric: str, neighbours: Mapping[int, Neighbour] | None = None) -> Table:
    """Return the front, smallest file first, with the baseline below it.

    The metric stands as validation/test where the test split has been measured, with :data:`NOISE` behind it where the
    next smaller file is as good for all that the test split can tell. Objectives other than the metric, size and
    latency get a column each.
    """
    noise = {number for number, neighbour in (neighbours or {}).items() if neighbour.is_noise}
    shown = (metric, "size_bytes", "latency_ratio")
    others = [item.name for item in front.objectives if item.name not in shown]
    table = plain_table()
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column(metric, justify="right", min_width=13, no_wrap=True)
    summaries = [policy_summary(point.trial) for point in front.points]
    has_widths = any(summary.channels != "-" for summary in summaries)
    has_ranks = any(summary.ranks != "-" for summary in summaries)
    widths = [name for name, is_there in (("channels", has_widths), ("rank", has_ranks)) if is_there]
    for name in ("size", "smaller", "latency", *(short_name(name) for name in others), *widths, "zeros", "clusters"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("formats", ratio=1)
    has_variants = any(point.trial.candidate.hyperparameters for point in front.points)
    if has_variants:
        table.add_column("hyperparameters", ratio=1)
    for point in front.points:
        mark = f"* {point.trial.number}" if point.knee else str(point.trial.number)
        cells = _front_cells(front, point.trial, metric, others)
        if noise:
            cells[0] += NOISE if point.trial.number in noise else " "
        cells += _policy_cells(point.trial, with_widths=has_widths, with_ranks=has_ranks)
        if has_variants:
            cells.append(hyperparameters_text(point.trial.candidate.hyperparameters))
        table.add_row(mark, *cells, style="bold" if point.knee else None)
    if front.baseline is not None:
        if front.points:
            table.add_section()
        cells = [*_front_cells(front, front.baseline, metric, others), *("-" for _ in widths), "-", "-", "float32"]
        cells[0] += " " if noise else ""
        if has_variants:
            cells.append(hyperparameters_text(front.baseline.candidate.hyperparameters))
        table.add_row("base", *cells, style="dim")
    return table


def noise_lines(front: Front, metric: str, neighbours: Mapping[int, Neighbour], *, reason: str = "") -> list[str]:
    """Return what the mark of :func:`front_table` means, and how wide the metric's interval is; none without either.

    Args:
        front: As for the table.
        metric: As for the table.
        neighbours: As for the table.
        reason: Why there are no intervals, where there are none.
    """
    if reason:
        return [f"No intervals of {metric}: {reason}"]
    widths = [
        interval.high - interval.low for trial in front.trials if (interval := interval_in(trial.test_values, metric))
    ]
    if not widths:
        return []
    lines = [f"{metric} on the test split is known to within +-{max(widths) / 2:.2g} ({CONFIDENCE:.0%} of resamples)."]
    if any(neighbour.is_noise for neighbour in neighbours.values()):
        lines.append(f"{NOISE} there, it may as well be equal to that of the next smaller file, on the same samples.")
    return lines


def _front_cells(front: Front, trial: Trial, metric: str, others: list[str]) -> list[str]:
    values = values_of(trial)
    size = values.get("size_bytes")
    return [
        metric_cell(metric, trial),
        _value_cell("size_bytes", size),
        times_smaller(front.baseline, size),
        _value_cell("latency_ratio", values.get("latency_ratio")),
        *(_value_cell(name, values.get(name)) for name in others),
    ]


def _policy_cells(trial: Trial, *, with_widths: bool, with_ranks: bool) -> list[str]:
    summary = policy_summary(trial)
    widths = [*([summary.channels] if with_widths else []), *([summary.ranks] if with_ranks else [])]
    return [*widths, f"{summary.sparsity:.0%}", summary.clusters, summary.formats]


def times_smaller(baseline: Trial | None, size: float | None) -> str:
    """Return how many times smaller a file is than the baseline's, such as ``7.7x``; ``-`` where unknown."""
    before = values_of(baseline).get("size_bytes") if baseline is not None else None
    return f"{before / size:.1f}x" if before and size else "-"


def metric_cell(metric: str, trial: Trial) -> str:
    """Return the metric as ``validation/test``, or of the validation split alone."""
    text = _value_cell(metric, values_of(trial).get(metric))
    test = trial.test_values.get(metric)
    return text if test is None else f"{text}/{value_text(metric, test)}"


def _value_cell(name: str, value: float | None) -> str:
    return "-" if value is None else value_text(name, value)


def hyperparameter_lines(hyperspace: Iterable[Hyperparameter]) -> list[str]:
    """Return what other models can be built with, one line for each hyperparameter."""
    lines = []
    for each in hyperspace:
        conditions = (f"{name} is {' or '.join(map(str, values))}" for name, values in each.conditions.items())
        only = f", if {' and '.join(conditions)}" if each.conditions else ""
        choices = ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in each.choices)
        lines.append(f"{each.name}: {choices}; the baseline has {each.default}{only}")
    return lines


def layers_table(layers: Iterable[LayerSpec], decompositions: Sequence[str] = (CHANNELS,)) -> Table:
    """Return what each knob may do to each layer; reasons why not are listed by :func:`refusal_lines`.

    Args:
        layers: What the doctor found.
        decompositions: Those that the recipe asks for.
    """
    table = plain_table()
    table.add_column("layer", overflow="fold")
    table.add_column("kind", overflow="fold")
    for name in ("shape", "weights", "MACs"):
        table.add_column(name, justify="right")
    for name in ("channels", "rank", "sparsity", "clusters"):
        table.add_column(name, no_wrap=True)
    table.add_column("formats", ratio=1)
    for spec in layers:
        table.add_row(
            spec.name,
            spec.kind,
            "x".join(str(size) for size in spec.weight_shape),
            f"{spec.weights:,}",
            f"{spec.macs:,}" if spec.macs else "-",
            _channels_cell(spec),
            _rank_cell(spec, decompositions),
            "yes" if spec.prunable else "no",
            "yes" if spec.clusterable else "no",
            "all" if len(spec.quantizations) == len(Quantization) else " ".join(map(str, spec.quantizations)),
        )
    return table


def _channels_cell(spec: LayerSpec) -> str:
    """Return how many channels a layer has, and with which layer it loses them."""
    if not spec.channels:
        return "no"
    return str(spec.channels) if spec.channel_group == spec.name else f"{spec.channels}, as {spec.channel_group}"


def _rank_cell(spec: LayerSpec, decompositions: Sequence[str]) -> str:
    """Return which ranks make a layer smaller; by decomposition, where several are asked for and it has a window."""
    by_name = {each: replace(spec, decomposition=each).largest_rank for each in decompositions}
    if len(by_name) > 1 and has_window(spec.weight_shape):
        return ", ".join(f"{name} 1..{rank}" for name, rank in by_name.items() if rank) or "no"
    largest = by_name[decompositions[0]]
    return f"1..{largest}" if largest else "no"


def refusal_lines(
    layers: Iterable[LayerSpec], patterns: Iterable[str] = (), decompositions: Sequence[str] = (CHANNELS,)
) -> list[str]:
    """Return why knobs do not apply, one line per reason, with the layers and knobs it holds for.

    Args:
        layers: What the doctor found.
        patterns: The sparsity patterns that the recipe asks for; what speaks against others does not matter.
        decompositions: Those that it asks for, likewise.
    """
    asked = tuple(patterns)
    subjects: dict[str, dict[str, list[str]]] = {}
    for spec in layers:
        against = {f"pattern {name}": spec.pattern_refusals[name] for name in asked if name in spec.pattern_refusals}
        for subject, reason in {**_refusals(spec, decompositions), **against}.items():
            subjects.setdefault(reason, {}).setdefault(subject, []).append(spec.name)
    lines = []
    for reason, layers_by_subject in subjects.items():
        by_layers: dict[tuple[str, ...], list[str]] = {}
        for subject, names in layers_by_subject.items():
            by_layers.setdefault(tuple(names), []).append(subject)
        for layers_shared, refused in by_layers.items():
            more = len(layers_shared) - 2
            shown = ", ".join(layers_shared) if more <= 2 else f"{', '.join(layers_shared[:2])} and {more} more"
            lines.append(f"{shown}: no {', '.join(refused)}: {reason}")
    return lines


def _refusals(spec: LayerSpec, decompositions: Sequence[str]) -> Mapping[str, str]:
    """Return why knobs do not apply, and which decomposition does not, where ranks do."""
    asked = [replace(spec, decomposition=each) for each in decompositions]
    refusals = dict(spec.refusals)
    if any(each.largest_rank for each in asked):
        refusals.pop("rank", None)
        if SPATIAL in decompositions and not has_window(spec.weight_shape):
            refusals[f"{SPATIAL} rank"] = NO_WINDOW
    return refusals


def facts_table(rows: Iterable[tuple[str, Any]]) -> Table:
    """Return facts as two columns: what, and the answer."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, str(value))
    return table


def plain_table() -> Table:
    """Return a table without columns, in the style of all tables here."""
    # One blank between columns, from the box: the front has to fit 80 columns without cutting a number.
    return Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=0)
