"""The grid of a profile's picture: the rise of the loss by layer and decision."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.experiments.profiles.order import strength
from paretune.experiments.terminal.wording import decision_text, knob_title
from paretune.search.front import FloatArray
from paretune.spaces.policies.policy import KNOBS

#: Decisions that change several knobs at once get columns of their own up to this many columns in all.
_MOST_COLUMNS = 60
_LONGEST_NAME = 30
_SEVERAL = "several knobs"
#: Rises below this share of the largest one look alike.
_TOLD_APART = 3e-3
_COLUMN_INCHES, _ROW_INCHES = 0.38, 0.27
#: Grows darker evenly, also without colours.
_COLOURS = "viridis_r"

#: A decision, as the values of the knobs that it changes.
Column = tuple[tuple[str, Any], ...]


def draw_grid(figure: Any, layers: Sequence[Mapping[str, Any]], groups: Mapping[str, list[Column]]) -> None:
    """Draw a row per layer, a column per decision, the darker the more the validation loss rises.

    Columns stand in groups by knob, each from mild to strong. The scale is logarithmic for all but the smallest rises.
    A cell is empty where a layer does not have that choice, and crossed out where it could not be measured.

    Args:
        figure: Or a part of one.
        layers: Of the document that :func:`paretune.experiments.profiles.document.profile_document` returns.
        groups: Of :func:`grid_groups`.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import AsinhNorm

    cells = {title: _rises(layers, group) for title, group in groups.items()}
    known = np.concatenate([[0.0], *(rises[np.isfinite(rises)] for rises in cells.values())])
    highest = float(known.max()) or 1.0
    scale = AsinhNorm(linear_width=_TOLD_APART * highest, vmin=0, vmax=highest)
    widths = [len(group) for group in groups.values()]
    axes = figure.subplots(1, max(len(widths), 1), squeeze=False, width_ratios=widths or None)
    for place, (title, group) in enumerate(groups.items()):
        each = axes[0, place]
        # a white line between cells keeps them apart in print
        each.pcolormesh(np.ma.masked_invalid(cells[title]), cmap=_COLOURS, norm=scale, edgecolors="white", linewidth=1)
        for (row, column), rise in np.ndenumerate(cells[title]):
            if not np.isnan(rise):
                colour = "white" if scale(rise) > 0.5 and np.isfinite(rise) else "black"
                text = f"{rise:.2g}" if np.isfinite(rise) else "x"
                each.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=6)
        each.set_title(title, fontsize=9)
        each.set_xticks(np.arange(len(group)) + 0.5, [_label(column) for column in group], rotation=90, fontsize=7)
        names = [short_layer_name(layer["layers"]) for layer in layers] if place == 0 else []
        each.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=7)
        each.set_ylim(len(layers), 0)
        each.tick_params(length=0)
        each.set_frame_on(False)
    ticks = [0.0, *(10.0**power for power in range(-12, 13) if 3 * _TOLD_APART * highest < 10.0**power <= highest)]
    bar = figure.colorbar(ScalarMappable(scale, _COLOURS), ax=list(axes[0]), ticks=ticks, format="{x:g}", pad=0.01)
    bar.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    bar.set_label("rise of the validation loss", fontsize=8)


def grid_inches(layers: Sequence[Any], groups: Mapping[str, list[Column]]) -> tuple[float, float]:
    """Return width and height of the grid: cells are of one size, whatever the model."""
    columns = sum(len(group) for group in groups.values())
    longest = max((len(_label(column)) for group in groups.values() for column in group), default=0)
    return 3.2 + _COLUMN_INCHES * max(columns, 8), 1.3 + 0.07 * longest + _ROW_INCHES * max(len(layers), 5)


def grid_groups(layers: Sequence[Mapping[str, Any]]) -> dict[str, list[Column]]:
    """Return the columns by title, in the order of the knobs; those of several knobs last, if there is room."""
    found: dict[str, dict[Column, None]] = {knob: {} for knob in (*KNOBS, "")}
    for layer in layers:
        for option in layer["options"]:
            column = tuple(option["changes"].items())
            if column:
                found[column[0][0] if len(column) == 1 else ""][column] = None
    if sum(map(len, found.values())) > _MOST_COLUMNS:
        found[""] = {}
    return {knob_title(knob) if knob else _SEVERAL: _mild_first(found[knob]) for knob in found if found[knob]}


def _mild_first(columns: Mapping[Column, None]) -> list[Column]:
    """Sort by the strength of each knob in turn; what is equally strong stays in the order of the space."""
    return sorted(columns, key=lambda column: [strength(knob, dict(column).get(knob)) for knob in KNOBS])


def _rises(layers: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> FloatArray:
    """Return the rise of the loss, shape (layers, columns): NaN where there is none, infinite where it is unknown."""
    rises = np.full((len(layers), len(columns)), np.nan)
    place = {column: index for index, column in enumerate(columns)}
    for row, layer in enumerate(layers):
        for option in layer["options"]:
            column = tuple(option["changes"].items())
            if column in place:
                rise = option["loss_rise"]
                rises[row, place[column]] = np.inf if rise is None else rise
    return rises


def _label(column: Column) -> str:
    parts = [
        f"{decision_text(knob, value)} {knob}" if len(column) > 1 and knob not in _SPEAK_FOR_THEMSELVES
        else decision_text(knob, value)
        for knob, value in column
    ]  # fmt: skip
    return " + ".join(parts)


#: Knobs whose values need no name beside them: 50%, int8.
_SPEAK_FOR_THEMSELVES = frozenset({"sparsity", "quantization"})


def short_layer_name(layers: Sequence[str]) -> str:
    """Return the name of a unit: its first layer, and how many share its decision."""
    name = layers[0] if len(layers[0]) <= _LONGEST_NAME else f"{layers[0][: _LONGEST_NAME - 1]}…"
    return name if len(layers) == 1 else f"{name} (+{len(layers) - 1})"
