"""An explanation for people: a table of the layers, and what it stands beside."""

from collections.abc import Iterator

from rich.table import Table

from paretune.experiments.explaining.confusion import Confusion
from paretune.experiments.explaining.explanation import Explanation, UniformExplanation
from paretune.experiments.explaining.relaxing import Evidence, GivenBack
from paretune.experiments.terminal.tables import metric_cell, plain_table, times_smaller
from paretune.experiments.terminal.wording import bytes_text, value_text, values_text
from paretune.search.front import values_of
from paretune.spaces.policies.policy import LayerPolicy
from paretune.spaces.results.measurement import LayerFidelity

#: Classes and kinds of mistakes that are worth a line.
_MOST_CLASSES, _MOST_MISTAKES = 4, 5
#: Stands before what was estimated.
_ABOUT = "~"


def layers_explained(explanation: Explanation) -> Table:
    """Return a row for each layer: what was asked, what its file holds, and what letting go of it alone gives back."""
    metric = explanation.metric.name
    table = plain_table()
    table.add_column("layer", overflow="fold")
    has_ranks = any(each.fidelity.requested.rank is not None for each in explanation.layers)
    for name in (*(["rank"] if has_ranks else []), "zeros", "clusters"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("format", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    for name in ("alone: size", metric, "latency", "as float32: size", metric, "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in explanation.layers:
        row = each.fidelity
        ranks = [_rank(row)] if has_ranks else []
        cells = [*ranks, _zeros(row), _clusters(row), _format(row), bytes_text(row.deflated_bytes)]
        table.add_row(row.layer, *cells, *_given_cells(each.alone, metric), *_given_cells(each.in_float32, metric))
    return table


def explanation_lines(explanation: Explanation) -> list[str]:
    """Return what stands below the table."""
    return [
        *_legend(explanation),
        *(f"Not as asked: {fault}" for each in explanation.layers for fault in each.fidelity.faults),
        "",
        *_beside_baseline(explanation),
        *_beside_uniform(explanation),
        *(_confusion_lines(explanation.confusion) if explanation.confusion is not None else ()),
    ]


def _legend(explanation: Explanation) -> Iterator[str]:
    kinds = {each.alone.evidence for each in explanation.layers if each.alone is not None}
    yield "alone: what leaving this layer as it was, and the others as decided, changes; asked->got where they differ."
    if Evidence.ESTIMATE in kinds:
        yield (
            f"{_ABOUT} estimated from untrained files; --train trains each to know. "
            "Without it, measured on the trained weights as they are."
        )
    if Evidence.TRAINED in kinds:
        seeds = f"paretune reproduce RUN --trial {explanation.trial.number} --seeds 3"
        yield f"Trained once each: another seed alone moves the metric too; `{seeds}` tells how far."


def _beside_baseline(explanation: Explanation) -> Iterator[str]:
    metric, trial, baseline = explanation.metric.name, explanation.trial, explanation.baseline
    here, before = values_of(trial), values_of(baseline)
    size = here["size_bytes"]
    yield (
        f"trial {trial.number}: {metric} {metric_cell(metric, trial)}, {bytes_text(size)}, "
        f"latency {value_text('latency_ratio', here['latency_ratio'])}"
    )
    yield (
        f"baseline: {metric} {metric_cell(metric, baseline)}, {bytes_text(before['size_bytes'])}; "
        f"the trial is {times_smaller(baseline, size)} smaller, {metric} {here[metric] - before[metric]:+.2g}"
    )
    told = sum(each.fidelity.deflated_bytes for each in explanation.layers)
    if explanation.layers:
        largest = max(explanation.layers, key=lambda each: each.fidelity.deflated_bytes).fidelity
        yield (
            f"bytes: {bytes_text(told)} in the weights of these layers ({bytes_text(largest.deflated_bytes)} in "
            f"{largest.layer}), {bytes_text(max(0.0, size - told))} in the rest of the file"
        )


def _beside_uniform(explanation: Explanation) -> Iterator[str]:
    uniform = explanation.uniform
    if uniform is None:
        return
    names = (explanation.metric.name, "size_bytes", "latency_ratio")
    what = f"uniform policy of about the same size: {_decision(uniform.wish)} in every layer that supports it"
    if uniform.evidence is not Evidence.ESTIMATE:
        where = "trained for this" if uniform.trial is None else f"trial {uniform.trial}"
        yield f"{what}; {where}: {values_text(uniform.values, names)}"
        yield f"  {_gain(explanation, uniform)}"
        return
    yield f"{what}, {_ABOUT}{bytes_text(uniform.values['size_bytes'])}"
    yield (
        f"  untrained, its loss is {uniform.values['loss']:.3g} and that of this trial's policy "
        f"{uniform.untrained['loss']:.3g}; --train trains it to compare"
    )


def _gain(explanation: Explanation, uniform: UniformExplanation) -> str:
    here, metric = values_of(explanation.trial), explanation.metric.name
    size = here["size_bytes"] - uniform.values["size_bytes"]
    return f"deciding layer by layer: {metric} {here[metric] - uniform.values[metric]:+.2g}, size {_change(size)}"


def _confusion_lines(confusion: Confusion) -> Iterator[str]:
    lost = sum(each.lost for each in confusion.classes)
    gained = sum(each.gained for each in confusion.classes)
    rows = sum(each.rows for each in confusion.classes)
    yield f"validation rows, {rows:,}: {lost} newly wrong, {gained} newly right"
    changed = sorted(confusion.classes, key=lambda each: each.gained - each.lost)
    losers = [each for each in changed if each.gained < each.lost][:_MOST_CLASSES]
    winners = [each for each in reversed(changed) if each.gained > each.lost][:_MOST_CLASSES]
    for title, classes in (("lost most", losers), ("gained", winners)):
        if classes:
            told = (f"{each.name} {each.right_before}->{each.right_after} of {each.rows}" for each in classes)
            yield f"  {title}: {', '.join(told)}"
    if confusion.mistakes:
        told = (f"{truth} read as {said} ({count})" for truth, said, count in confusion.mistakes[:_MOST_MISTAKES])
        yield f"  commonest new mistakes: {', '.join(told)}"


def _decision(decided: LayerPolicy) -> str:
    clusters = "free values" if decided.clusters is None else f"{decided.clusters} clusters"
    channels = "" if decided.channels == 1 else f"{decided.channels:.0%} of its channels, "
    if decided.rank is not None:
        return f"{channels}rank {decided.rank}, {decided.quantization}"
    return f"{channels}{decided.sparsity:.0%} zeros, {clusters}, {decided.quantization}"


def _rank(row: LayerFidelity) -> str:
    if row.requested.rank is None:
        return "-"
    asked = str(row.requested.rank)
    return asked if row.rank == row.requested.rank else f"{asked}->{row.rank}"


def _zeros(row: LayerFidelity) -> str:
    got = (row.zeros - row.rounding_zeros) / row.weights
    asked = f"{row.requested.sparsity:.1%}"
    return asked if f"{got:.1%}" == asked else f"{asked}->{got:.1%}"


def _clusters(row: LayerFidelity) -> str:
    if row.requested.clusters is None:
        return "-"
    asked = str(row.requested.clusters)
    return asked if row.distinct <= row.requested.clusters else f"{asked}->{row.distinct}"


def _format(row: LayerFidelity) -> str:
    asked = str(row.requested.quantization)
    # the file cannot tell how an int8 was trained
    return asked if row.stored_as in (asked, asked.removesuffix("_qat")) else f"{asked}->{row.stored_as}"


def _given_cells(given: GivenBack | None, metric: str) -> list[str]:
    if given is None:
        return ["-", "-", "-"]
    about = _ABOUT if given.evidence is Evidence.ESTIMATE else ""
    latency = "-" if given.latency_ratio is None else f"{given.latency_ratio:+.2f}x"
    return [f"{about}{_change(given.size_bytes)}", f"{about}{given.metric:+.4f}", latency]


def _change(size_bytes: float) -> str:
    return f"{'-' if size_bytes < 0 else '+'}{bytes_text(abs(size_bytes))}"
