"""The profile of a run as a picture: curves by layer, and every rise of the loss in a grid."""

import io
from collections.abc import Mapping
from typing import Any

from paretune.experiments.profiles.curves import curve_panels, draw_curves
from paretune.experiments.profiles.grid import draw_grid, grid_groups, grid_inches

#: Of the row of curves, title and legend included.
_CURVES_INCHES, _PANEL_INCHES = 3.4, 3.3
_LEGEND_INCHES = 2.2


def profile_picture(document: Mapping[str, Any]) -> bytes:
    """Return a PNG: the metric against each knob, a line per layer; below, the rise of the loss by layer and decision.

    Args:
        document: As :func:`paretune.experiments.profiles.document.profile_document` returns it.
    """
    # An Agg canvas of its own: pyplot would keep global state, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = document["layers"]
    panels, groups = curve_panels(document), grid_groups(layers)
    grid_width, grid_height = grid_inches(layers, groups)
    width = max(grid_width, _PANEL_INCHES * len(panels) + _LEGEND_INCHES)
    curves_height = _CURVES_INCHES if panels else 0.0
    figure = Figure(figsize=(width, curves_height + grid_height), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    if panels:
        parts: Any = figure.subfigures(2, 1, height_ratios=[curves_height, grid_height])
        draw_curves(parts[0], document, panels)
        below = parts[1]
    else:
        below = figure
    draw_grid(below, layers, groups)
    figure.suptitle("What each decision costs alone, before any training", fontsize=11)
    below.supxlabel(document["additivity"]["sentence"], fontsize=8)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()
