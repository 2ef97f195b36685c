"""Trials as tables of pandas: one row per trial, numbers in their own units."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from paretune.experiments.terminal.wording import policy_summary
from paretune.search.front import Front, values_of
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Trial

if TYPE_CHECKING:
    import pandas as pd


def front_frame(front: Front, measured: Mapping[str, Objective], run: str) -> "pd.DataFrame":
    """Return the front, smallest file first, by trial number.

    Columns are what was measured on the validation split by name, the metric on the test split as ``METRIC_test``,
    ``smaller`` (times the baseline's ``size_bytes``), ``zeros``, ``clusters`` and ``formats`` of the policy, its
    hyperparameters, and ``knee``. ``attrs`` holds ``run``, ``metric``, ``objectives`` (name to direction) and the
    ``baseline`` (its values).

    Args:
        front: Of a run.
        measured: Everything its files are measured by, the metric first.
        run: Its folder.
    """
    import pandas as pd

    rows = [{**_row(point.trial, front.baseline, measured), "knee": point.knee} for point in front.points]
    columns = ["trial", *_columns(measured), "knee"]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*columns, *(key for row in rows for key in row)])))
    frame = frame.set_index("trial")
    metric = next(iter(measured))
    frame.attrs = {
        "run": run,
        "metric": metric,
        "objectives": {objective.name: str(objective.direction) for objective in front.objectives},
        "baseline": {} if front.baseline is None else _numbers(front.baseline, measured),
    }
    return frame


def trials_frame(trials: Iterable[Trial], measured: Mapping[str, Objective]) -> "pd.DataFrame":
    """Return every trial by number, the baseline first.

    Columns are ``state``, ``rung``, ``origin``, those of the front without ``knee``, then ``training_steps``,
    ``seconds`` and ``reason``.
    """
    import pandas as pd

    trials = list(trials)
    baseline = trials[0] if trials else None
    rows = []
    for trial in trials:
        steps = trial.measurement.training_steps if trial.measurement is not None else 0
        seconds = trial.ended - trial.started if trial.started and trial.ended else float("nan")
        kind = {"trial": trial.number, "state": str(trial.state), "rung": str(trial.rung), "origin": trial.origin}
        spent = {"training_steps": steps, "seconds": seconds, "reason": trial.reason}
        rows.append({**kind, **_row(trial, baseline, measured), **spent})
    columns = ["trial", "state", "rung", "origin", *_columns(measured)]
    hyperparameters = [key for row in rows for key in row]
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*columns, *hyperparameters])))
    return frame.set_index("trial")


def times_smaller_of(trial: Trial, baseline: Trial | None) -> float:
    """Return how many times smaller a trial's deflated file is than the baseline's; NaN where unknown."""
    before = values_of(baseline).get("size_bytes") if baseline is not None else None
    size = values_of(trial).get("size_bytes")
    return before / size if before and size else float("nan")


def _columns(measured: Mapping[str, Objective]) -> list[str]:
    metric, *others = measured
    return [
        metric,
        f"{metric}_test",
        "size_bytes",
        "smaller",
        *others,
        "channels",
        "rank",
        "zeros",
        "clusters",
        "formats",
    ]


def _row(trial: Trial, baseline: Trial | None, measured: Mapping[str, Objective]) -> dict[str, Any]:
    summary = policy_summary(trial)
    return {
        "trial": trial.number,
        **_numbers(trial, measured),
        "smaller": times_smaller_of(trial, baseline),
        "channels": summary.channels,
        "rank": summary.ranks,
        "zeros": summary.sparsity,
        "clusters": summary.clusters,
        "formats": summary.formats,
        **trial.candidate.hyperparameters,
    }


def _numbers(trial: Trial, measured: Mapping[str, Objective]) -> dict[str, float]:
    metric, values = next(iter(measured)), values_of(trial)
    test = {f"{metric}_test": trial.test_values.get(metric, float("nan"))}
    return {name: values.get(name, float("nan")) for name in measured} | test
