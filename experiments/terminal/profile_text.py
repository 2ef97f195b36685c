"""A profile for people: what each decision costs and saves, layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from paretune.experiments.profiles.order import strength
from paretune.experiments.profiles.profiling import KeptProfile
from paretune.experiments.terminal.tables import plain_table
from paretune.experiments.terminal.wording import bytes_text, decision_text, value_text
from paretune.spaces.policies.policy import KNOBS

#: Layers that are named as the most and the least sensitive.
_MOST_NAMED = 3


def profile_table(document: Mapping[str, Any]) -> Table:
    """Return a row for each decision that changes one knob of one layer, below a row for the layer without it."""
    metric = document["metric"]
    sign = 1 if document["direction"] == "maximize" else -1
    base = document["base"]["values"][metric]
    table = plain_table()
    table.add_column("layer", overflow="fold")
    table.add_column("decision", no_wrap=True)
    for name in (metric, "drop", "loss", "size", "saves"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in document["layers"]:
        first, *others = sorted((option for option in layer["options"] if len(option["changes"]) < 2), key=_place)
        table.add_row(
            layer_text(layer["layers"]), "-", value_text(metric, base), "-", "-", _bytes_cell(first["bytes"]), "-",
            style="bold",
        )  # fmt: skip
        for option in others:
            [(knob, value)] = option["changes"].items()
            drop, rise = option["metric_drop"], option["loss_rise"]
            table.add_row(
                "",
                f"{knob} {decision_text(knob, value)}",
                "?" if drop is None else value_text(metric, base - sign * drop),
                "?" if drop is None else f"{drop:+.2g}",
                "?" if rise is None else f"+{rise:.2g}",
                _bytes_cell(option["bytes"]),
                _saved_cell(first["bytes"], option["bytes"]),
            )
        table.add_section()
    return table


def _place(option: Mapping[str, Any]) -> tuple[int, float]:
    """Return what options that change at most one knob are sorted by: the knob, then from mild to strong."""
    for knob, value in option["changes"].items():
        return KNOBS.index(knob), strength(knob, value)
    return -1, 0.0


def profile_lines(kept: KeptProfile) -> list[str]:
    """Return what stands below the table: what it means, who is delicate, how effects add up, where the files are."""
    document = kept.document
    return [
        f"drop of {document['metric']} and rise of the loss are measured on the validation split, nothing trained, "
        "BatchNorm recalibrated; size is the layer's share of the deflated file, for channels all of it.",
        *_sensitivity_lines(document["layers"]),
        f"Additive: {document['additivity']['sentence']}.",
        f"Picture: {kept.picture}",
        f"Data: {kept.data}",
    ]


def layer_text(layers: Sequence[str]) -> str:
    """Return the name of layers that share a decision: the first, and how many others there are."""
    return layers[0] if len(layers) == 1 else f"{layers[0]} (+{len(layers) - 1})"


def _sensitivity_lines(layers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say which layers lose most and least, by the mean rise of the loss over their decisions."""
    known = [layer for layer in layers if layer["sensitivity"] is not None]
    if not known:
        return
    ranked = sorted(known, key=lambda layer: -layer["sensitivity"])
    yield f"Most sensitive: {_named(ranked[:_MOST_NAMED])} (mean rise of the loss over a layer's decisions)."
    least = ranked[max(_MOST_NAMED, len(ranked) - _MOST_NAMED) :]
    if least:
        yield f"Least sensitive: {_named(reversed(least))}."


def _named(layers: Any) -> str:
    return ", ".join(f"{layer_text(layer['layers'])} +{layer['sensitivity']:.2g}" for layer in layers)


def _bytes_cell(count: float | None) -> str:
    return "?" if count is None else bytes_text(count)


def _saved_cell(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return "?"
    share = f" ({1 - after / before:.0%})" if before > 0 else ""
    saved = before - after
    return f"{'-' if saved < 0 else ''}{bytes_text(abs(saved))}{share}"
