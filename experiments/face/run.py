"""A run in the hands of a program: its front and trials as tables, a trial of it, its files."""

import html
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.experiments.asking import Answer, ask_run
from paretune.experiments.face.frames import front_frame, times_smaller_of, trials_frame
from paretune.experiments.runs import run as kept
from paretune.experiments.runs.folder import RunFolder, find_run
from paretune.experiments.terminal.answer_text import answer_lines
from paretune.experiments.terminal.wording import value_text, values_text
from paretune.search.front import pick, values_of
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.objective import read_quantity
from paretune.spaces.results.trial import Trial

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A finished trial.

    Attributes:
        trial: Its number.
        path: Its ``.tflite`` in the run's folder.
        policy: What was decided about every layer, by layer name.
        values: What it measured on the validation split, by name.
        test_values: The same on the test split; empty until the search has ended.
        smaller: Times that its deflated file is smaller than the baseline's.
        hyperparameters: Of its model and recipe, where those were searched.
    """

    trial: int
    path: Path
    policy: Policy = field(repr=False)
    values: Mapping[str, float]
    test_values: Mapping[str, float] = field(repr=False)
    smaller: float
    hyperparameters: Mapping[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        """Return such as ``<trial 50: accuracy 0.9885  size 14.1 kB  latency 0.63x  20.6x smaller>``."""
        metric = next(iter(self.values))
        shown = values_text(self.values, dict.fromkeys((metric, "size_bytes", "latency_ratio")))
        return f"<trial {self.trial}: {shown}  {self.smaller:.1f}x smaller>"


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A run, finished or not; each method reads what is there when it is called.

    Attributes:
        path: Its folder.
    """

    path: Path

    def front(
        self, *, max_size: float | str | None = None, max_drop: float | None = None, max_latency: float | None = None
    ) -> "pd.DataFrame":
        """Return the front as a table, smallest file first, by trial number; see the bounds of :meth:`pick`.

        Columns: the metric and ``METRIC_test``, ``size_bytes``, ``smaller``, what else is measured, ``zeros``,
        ``clusters``, ``formats``, hyperparameters and ``knee``. ``attrs["baseline"]`` has the baseline's values.
        """
        with self._open() as run:
            answer = _ask(run, max_size, max_drop, max_latency)
            return front_frame(answer.front, run.facts.description.objectives, str(self.path))

    def trials(self) -> "pd.DataFrame":
        """Return all trials as a table by number: the baseline (0), and those that failed, stopped or were refused."""
        with self._open() as run:
            return trials_frame(run.trials(), run.facts.description.objectives)

    def pick(
        self,
        which: str | int | None = None,
        *,
        max_size: float | str | None = None,
        max_drop: float | None = None,
        max_latency: float | None = None,
    ) -> Pick:
        """Return one trial of the front: a named one, or the best within bounds.

        Args:
            which: ``knee`` (also where nothing is asked), ``smallest``, ``most-accurate``, ``fastest`` or a trial's
                number.
            max_size: Largest deflated file, in bytes or such as ``60kB``.
            max_drop: Worst change of the task's metric against the baseline, in its own unit.
            max_latency: Slowest, as a multiple of the baseline.

        Raises:
            ConfigurationError: If nothing meets the bounds (the nearest trial is named), the front is empty, or
                there is no such trial.
        """
        bounds = (max_size, max_drop, max_latency)
        with self._open() as run:
            if which is not None and any(bound is not None for bound in bounds):
                raise ConfigurationError("pick() takes `which` or bounds, not both; front() takes bounds too.")
            answer = _ask(run, *bounds)
            if which is not None or not answer.limits:
                return self._picked(run, pick(answer.front, "knee" if which is None else which))
            if answer.best is None:
                raise ConfigurationError(answer_lines(answer, None)[0])
            return self._picked(run, answer.best)

    def export(
        self, which: "str | int | Pick", to: str | os.PathLike[str], *, trust_model: bool = False
    ) -> dict[str, Any]:
        """Measure a trial's file again, and write it with its papers, as ``paretune export`` does.

        Args:
            which: As :meth:`pick` takes it, or what that returned.
            to: Folder; ``model.tflite``, ``policy.yaml``, ``card.md`` and ``measurement.json`` are written into it.
            trust_model: Whether code inside the model file may run.

        Returns:
            What ``measurement.json`` says.

        Raises:
            RunError: If model or data have changed since the search.
            ExportMismatch: If the file does not measure as it did; nothing is written then.
        """
        import json

        from paretune.experiments.exports.export import MEASUREMENT
        from paretune.experiments.exports.exporting import export_pick

        with self._open() as run:
            chosen: str | Trial = run.trial(which.trial) if isinstance(which, Pick) else str(which)
            export_pick(run, chosen, Path(to), trust_model=trust_model)
        document: dict[str, Any] = json.loads((Path(to) / MEASUREMENT).read_text())
        return document

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the front, deflated size against the task's metric, and return the axes; new ones unless given."""
        from paretune.experiments.exports.front_picture import draw_front

        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.subplots(figsize=(8, 5), layout="constrained")[1]
        with self._open() as run:
            draw_front(ax, run.front(), _metric(run))
        return ax

    def __repr__(self) -> str:
        """Return folder, number of trials, size of the front and the knee in one line."""
        try:
            with self._open() as run:
                trials = run.trials()
                front = run.front(trials)
                knee = "" if front.knee is None else f", knee {self._picked(run, front.knee)!r}"
        except RunError as error:
            return f"<paretune.Run {self.path}: {error}>"
        return f"<paretune.Run {self.path}: {len(trials)} trials, {len(front.points)} on the front{knee}>"

    def _repr_html_(self) -> str:
        """Return the front as a notebook shows it, numbers as the terminal spells them."""
        frame = self.front()
        metric = frame.attrs["metric"]
        shown = frame[[metric, f"{metric}_test", "size_bytes", "smaller", "latency_ratio", "zeros", "clusters"]].copy()
        shown["formats"], shown["knee"] = frame["formats"], frame["knee"].map({True: "*", False: ""})
        spelled = {
            "size_bytes": lambda value: value_text("size_bytes", value),
            "latency_ratio": lambda value: value_text("latency_ratio", value),
            "smaller": "{:.1f}x".format,
            "zeros": "{:.0%}".format,
            metric: "{:.4g}".format,
            f"{metric}_test": "{:.4g}".format,
        }
        baseline = frame.attrs["baseline"]
        told = f"baseline: {values_text(baseline, (metric, 'size_bytes', 'latency_ratio'))}" if baseline else ""
        return f"<p>{html.escape(f'{self.path}  {told}')}</p>{shown.to_html(formatters=spelled)}"

    @contextmanager
    def _open(self) -> Iterator[kept.Run]:
        with kept.open_run(RunFolder(self.path)) as run:
            yield run

    def _picked(self, run: kept.Run, trial: Trial) -> Pick:
        baseline = run.front().baseline
        shown = (_metric(run), "size_bytes", "latency_ratio")
        values = values_of(trial)
        ordered = {name: values[name] for name in dict.fromkeys([*shown, *values]) if name in values}
        return Pick(
            trial=trial.number,
            path=run.files_of(trial) / kept.MODEL_FILE,
            policy=trial.candidate.policy,
            values=ordered,
            test_values=dict(trial.test_values),
            smaller=times_smaller_of(trial, baseline),
            hyperparameters=dict(trial.candidate.hyperparameters),
        )


def open_run(run: str | os.PathLike[str]) -> Run:
    """Open a run to read: a folder, or a name under ``runs``; a search may still be writing it.

    Raises:
        RunError: If there is none.
    """
    folder = find_run(os.fspath(run))
    with kept.open_run(folder):  # so that what is wrong with it is told here
        return Run(folder.path)


def _ask(run: kept.Run, max_size: float | str | None, max_drop: float | None, max_latency: float | None) -> Answer:
    most = None if max_size is None else read_quantity(max_size)
    return ask_run(run, max_bytes=most, max_drop=max_drop, max_latency=max_latency)


def _metric(run: kept.Run) -> str:
    return next(iter(run.facts.description.objectives))
