"""The front as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.experiments.files import write_atomically
from paretune.search.front import Front, values_of
from paretune.spaces.results.trial import Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def front_picture(front: Front, metric: str) -> bytes:
    """Return a PNG of the front, as :func:`draw_front` draws it."""
    # An Agg canvas of its own: pyplot would keep global state, and may look for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw_front(figure.add_subplot(), front, metric)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


def draw_front(axes: "Axes", front: Front, metric: str) -> None:
    """Draw deflated size (log scale) against the task's metric, coloured by latency.

    The knee is a star, the baseline a square; points are labelled with their trial numbers. The line joins the points
    that no smaller file beats; points off the line are on the front for another objective, such as latency.
    """
    from matplotlib.colors import Normalize

    others = [point.trial for point in front.points if not point.knee]
    knee = [point.trial for point in front.points if point.knee]
    baseline = [front.baseline] if front.baseline is not None and front.baseline.measurement is not None else []
    shown = [*front.trials, *baseline]
    latencies = [_latency(trial) for trial in shown]
    colours = Normalize(min(latencies, default=1.0), max(latencies, default=1.0))
    axes.step(*_columns(_best_so_far(front), metric), where="post", color="0.75", linewidth=1, zorder=1)
    for trials, style in (
        (others, {"label": "front"}),
        (knee, {"label": "knee", "marker": "*", "s": 260, "edgecolor": "black"}),
        (baseline, {"label": "baseline", "marker": "s", "edgecolor": "black"}),
    ):
        points = axes.scatter(
            *_columns(trials, metric), c=[_latency(trial) for trial in trials], cmap="viridis", norm=colours, **style
        )
    axes.figure.colorbar(points, ax=axes, label="latency (x baseline)")
    for trial in front.trials:
        at = (values_of(trial)["size_bytes"] / 1000, values_of(trial)[metric])
        axes.annotate(str(trial.number), at, textcoords="offset points", xytext=(4, 5), fontsize=7)
    axes.set_xscale("log")
    for axis_part in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_part("{x:g}")  # 20 rather than 2 x 10^1
    axes.set_xlabel("size (kB, deflated)")
    axes.set_ylabel(f"{metric} (validation)")
    axes.grid(visible=True, which="both", color="0.92")
    axes.legend(loc="best")


def save_picture(folder: Path, front: Front, metric: str) -> Path:
    """Write the picture into a run's folder as ``front.png``, and return its path.

    Raises:
        RunError: If it cannot be written.
    """
    path = folder / "front.png"
    write_atomically(path, front_picture(front, metric))
    return path


def _best_so_far(front: Front) -> list[Trial]:
    """Return the trials that are better by the first objective than every smaller file."""
    metric = front.objectives[0]
    best: list[Trial] = []
    for trial in front.trials:
        cost = metric.cost(values_of(trial)[metric.name])
        if not best or cost < metric.cost(values_of(best[-1])[metric.name]):
            best.append(trial)
    return best


def _latency(trial: Trial) -> float:
    return values_of(trial).get("latency_ratio", 1.0)


def _columns(trials: Sequence[Trial], metric: str) -> tuple[list[float], list[float]]:
    values = [values_of(trial) for trial in trials]
    return [row["size_bytes"] / 1000 for row in values], [row[metric] for row in values]
