"""What the comparison of searches prints and draws."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from replay import Course, Staircase
from tabular import Table, read_table

LEVELS = (0.9, 0.95, 0.98, 0.99)
_RESAMPLES = 2_000
_PARETUNE = "paretune"

Courses = Mapping[tuple[str, int], Course]


def quality_report(table: str, courses: Courses, *, trials: int) -> str:
    """Return the tables of a comparison as text.

    A search that never reaches a level counts as one that needs more than it spent: medians become lower bounds then,
    and are marked so. Intervals are 95 %, by resampling the seeds.
    """
    names = list(dict.fromkeys(name for name, _ in courses))
    recorded = read_table(table)
    accuracy, size = recorded.reference
    seeds = {name: sum(of == name for of, _ in courses) for name in names}
    lines = [
        "",
        f"Table {table}: {recorded.space.cardinality:,} policies; volume from accuracy {accuracy:.4f} and "
        f"{size:,.0f} bytes; at most {trials} full trials",
        _noise_text(recorded),
        f"Seeds: {', '.join(f'{name} {count}' for name, count in seeds.items())}",
    ]
    for title, quantity in (
        ("full trials", _trials_to),
        ("training steps", _steps_to),
        ("recorded seconds, search included", _seconds_to),
    ):
        lines += ["", f"{title} to a share of the table's hypervolume: median [95 % interval]"]
        lines.append(f"{'':24}" + "".join(f"{100 * level:>24.0f} %" for level in LEVELS))
        for name in names:
            own = [course for (of, _), course in courses.items() if of == name]
            cells = [_median_text([quantity(course, level) for course in own]) for level in LEVELS]
            lines.append(f"{name:24}" + "".join(f"{cell:>26}" for cell in cells))
    lines += ["", "times as many as paretune to 98 %, seed by seed: median, and lower end of the 95 % interval"]
    for name in names:
        if name != _PARETUNE and _PARETUNE in names:
            lines.append(f"{name:24}" + "".join(_ratio_text(name, courses, of) for of in (_steps_to, _seconds_to)))
    own = [course for (of, _), course in courses.items() if of == _PARETUNE]
    if own:
        share = np.median([course.search_seconds[-1] / course.seconds[-1] for course in own])
        lines += ["", f"paretune's own computing: {100 * share:.1f} % of the recorded seconds (median)"]
    return "\n".join(lines)


def _noise_text(table: Table) -> str:
    """Tell what luck is worth: the volume of the front's own policies, trained with other seeds."""
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for row in table.noise:
        by_seed.setdefault(row["seed"], []).append((row["values"]["accuracy"], row["values"]["size_bytes"]))
    shares = [Staircase(table).with_points(points) for points in by_seed.values()]
    if not shares:
        return "Retraining noise: not recorded"
    policies = len(next(iter(by_seed.values())))
    return (
        f"Retraining noise: the front's {policies} policies, trained with {len(shares)} other seeds, cover "
        f"{100 * np.mean(shares):.1f} % of the volume (standard deviation {100 * np.std(shares, ddof=1):.1f})"
    )


def _reached(course: Course, level: float) -> int | None:
    return next((place for place, volume in enumerate(course.volume) if volume >= level), None)


def _trials_to(course: Course, level: float) -> tuple[float, bool]:
    place = _reached(course, level)
    return (len(course.volume), False) if place is None else (place + 1, True)


def _steps_to(course: Course, level: float) -> tuple[float, bool]:
    place = _reached(course, level)
    return course.training_steps[-1 if place is None else place], place is not None


def _seconds_to(course: Course, level: float) -> tuple[float, bool]:
    place = _reached(course, level)
    return course.seconds[-1 if place is None else place], place is not None


def _median_text(found: Sequence[tuple[float, bool]]) -> str:
    values = np.array([value if is_reached else np.inf for value, is_reached in found])
    spent = np.array([value for value, _ in found])
    middle = np.quantile(values, 0.5, method="higher")
    low, high = _interval(values)
    if np.isinf(middle):
        return f"> {np.median(spent):,.0f}"
    return f"{middle:,.0f} [{low:,.0f}, {'-' if np.isinf(high) else f'{high:,.0f}'}]"


def _interval(values: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    medians = np.quantile(
        values[rng.integers(len(values), size=(_RESAMPLES, len(values)))], 0.5, axis=1, method="higher"
    )
    low, high = np.quantile(medians, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def _ratio_text(name: str, courses: Courses, quantity: object, level: float = 0.98) -> str:
    ratios, is_bound = [], False
    for (of, seed), course in courses.items():
        if of == name and (_PARETUNE, seed) in courses:
            mine, has_reached = quantity(courses[_PARETUNE, seed], level)  # type: ignore[operator]
            theirs, they_have = quantity(course, level)  # type: ignore[operator]
            if has_reached:
                ratios.append(theirs / mine)
                is_bound |= not they_have
    if not ratios:
        return f"{'-':>26}"
    low, _ = _interval(np.array(ratios))
    return f"{'> ' if is_bound else ''}{np.median(ratios):.1f} (>= {low:.1f})".rjust(26)


def attainment_picture(table: str, courses: Courses, to: Path, *, after: int = 20) -> None:
    """Draw what half of the seeds have attained after so many full trials, and the table's own front."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import moocore

    recorded = read_table(table)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    values = recorded.arrays["values"][:, -1, :]
    names = recorded.about["names"]
    whole = np.stack([-values[:, names.index("accuracy")], values[:, names.index("size_bytes")]], axis=1)
    _stairs(axes, np.asarray(moocore.filter_dominated(whole.astype(np.float64))), "every policy trained", "black")
    for name in dict.fromkeys(name for name, _ in courses):
        runs = [
            (seed, [(-accuracy, size) for accuracy, size in course.points[:after]])
            for (of, seed), course in courses.items()
            if of == name
        ]
        data = np.array([(*point, seed) for seed, points in runs for point in points])
        surface = moocore.eaf(data[:, :-1], data[:, -1], percentiles=[50])
        _stairs(axes, surface[:, :2], name, None)
    axes.set(xscale="log", xlabel="bytes, deflated", ylabel="accuracy", title=f"{table}: attained after {after} trials")
    axes.set_ylim(recorded.reference[0], None)
    axes.legend(fontsize="small")
    figure.savefig(to, dpi=130)
    plt.close(figure)


def _stairs(axes: object, points: np.ndarray, label: str, colour: str | None) -> None:
    ordered = points[np.argsort(points[:, 1])]
    axes.step(ordered[:, 1], -ordered[:, 0], where="post", label=label, color=colour, linewidth=1.4)  # type: ignore[attr-defined]
