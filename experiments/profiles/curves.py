"""The curves of a profile's picture: the metric against each knob, a line per layer."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretune.experiments.profiles.grid import short_layer_name
from paretune.experiments.profiles.order import strength
from paretune.experiments.terminal.wording import decision_text, knob_title
from paretune.spaces.policies.policy import KNOBS

#: Layers with a colour of their own, the most sensitive first; more could not be told apart.
_MOST_COLOURED = 8
#: Told apart without colours too.
_MARKERS = "osD^vPX*"
#: Where grey stands in matplotlib's ``tab10``.
_GREY = 7
#: A metric that spans more than this many times its smallest value is drawn on a logarithmic scale.
_WIDE = 50.0

#: A line: values of the knob, mildest first, with the metric under each.
Line = list[tuple[Any, float]]


def curve_panels(document: Mapping[str, Any]) -> dict[str, list[tuple[Mapping[str, Any], Line]]]:
    """Return the lines of each knob that some layer has choices of, by knob: pairs of a layer and its line."""
    panels: dict[str, list[tuple[Mapping[str, Any], Line]]] = {}
    for knob in KNOBS:
        lines = [(layer, _line(document, layer, knob)) for layer in document["layers"]]
        lines = [(layer, line) for layer, line in lines if len(line) > 1]
        if lines:
            panels[knob] = lines
    return panels


def _line(document: Mapping[str, Any], layer: Mapping[str, Any], knob: str) -> Line:
    """Return the metric for every choice of one knob of a layer, its first one among them; unmeasured ones left out."""
    base = document["base"]["values"][document["metric"]]
    sign = 1 if document["direction"] == "maximize" else -1
    points = {document["base"]["layers"][layer["layers"][0]][knob]: base}
    for option in layer["options"]:
        if list(option["changes"]) == [knob] and option["metric_drop"] is not None:
            points[option["changes"][knob]] = base - sign * option["metric_drop"]
    return sorted(points.items(), key=lambda point: strength(knob, point[0]))


def draw_curves(
    figure: Any, document: Mapping[str, Any], panels: Mapping[str, list[tuple[Mapping[str, Any], Line]]]
) -> None:
    """Draw a panel per knob, the metric upwards, decisions from mild to strong.

    Each panel has a scale of its own: what one knob destroys would flatten the curves of the others. The most sensitive
    layers have colours and markers of their own and stand in the legend in that order; the others are grey. The dashed
    line is the metric without any decision.

    Args:
        figure: Or a part of one.
        document: As :func:`paretune.experiments.profiles.document.profile_document` returns it.
        panels: Of :func:`curve_panels`, at least one.
    """
    metric = document["metric"]
    base = document["base"]["values"][metric]
    styles = _styles(document["layers"])
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    handles: dict[str, Any] = {}
    for place, (knob, lines) in zip(axes, panels.items(), strict=True):
        ticks = sorted({value for _, line in lines for value, _ in line}, key=lambda value: strength(knob, value))
        at = {value: index for index, value in enumerate(ticks)}
        for layer, line in reversed(lines):  # earlier layers above later ones
            name = layer["layers"][0]
            points = sorted((at[value], height) for value, height in line)
            drawn = place.plot(*zip(*points, strict=True), markersize=4, **styles[name])
            handles[name] = drawn[0]
        place.axhline(base, color="0.3", linewidth=0.8, linestyle="--", zorder=1)
        place.set_title(knob_title(knob), fontsize=9)
        long = len(ticks) > 3 and max(len(decision_text(knob, value)) for value in ticks) > 5
        place.set_xticks(
            range(len(ticks)), [decision_text(knob, value) for value in ticks], rotation=40 if long else 0,
            ha="right" if long else "center", rotation_mode="anchor", fontsize=7,
        )  # fmt: skip
        place.tick_params(labelsize=7)
        place.grid(color="0.92")
        heights = [height for _, line in lines for _, height in line]
        if min(heights) > 0 and max(heights) > _WIDE * min(heights):
            place.set_yscale("log")
    axes[0].set_ylabel(f"{metric} (validation)", fontsize=8)
    _draw_legend(figure, document["layers"], handles, styles)


def _styles(layers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return how to draw the line of each layer, by its name."""
    from matplotlib import colormaps

    tab10 = colormaps["tab10"]
    colours = [tab10(index) for index in range(tab10.N) if index != _GREY]
    plain = {"color": "0.75", "linewidth": 0.8, "zorder": 2}
    styles = {layer["layers"][0]: plain for layer in layers}
    for rank, layer in enumerate(_by_sensitivity(layers)[:_MOST_COLOURED]):
        styles[layer["layers"][0]] = {
            "color": colours[rank], "marker": _MARKERS[rank], "linewidth": 1.4, "zorder": 3 + _MOST_COLOURED - rank,
        }  # fmt: skip
    return styles


def _by_sensitivity(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the layers, the most sensitive first; how wide it is, and all else about it, are the same layer."""
    known = sorted(
        (layer for layer in layers if layer["sensitivity"] is not None), key=lambda layer: layer["sensitivity"]
    )
    by_name = {layer["layers"][0]: layer for layer in known}
    return sorted(by_name.values(), key=lambda layer: -layer["sensitivity"])


def _draw_legend(
    figure: Any, layers: Sequence[Mapping[str, Any]], handles: Mapping[str, Any], styles: Mapping[str, Any]
) -> None:
    ranked = [layer for layer in _by_sensitivity(layers) if layer["layers"][0] in handles]
    entries = {short_layer_name(layer["layers"]): handles[layer["layers"][0]] for layer in ranked[:_MOST_COLOURED]}
    others = [name for name in handles if "marker" not in styles[name]]
    if others:
        entries[f"{len(others)} others"] = handles[others[0]]
    figure.legend(
        list(entries.values()), list(entries), loc="outside right center", fontsize=7, frameon=False,
        title="most sensitive first" if len(entries) > 1 else None, title_fontsize=7,
    )  # fmt: skip
