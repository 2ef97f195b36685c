"""One real search, end to end: Paretune as it comes against Optuna's default sampler on tfmot's own flow.

Run ``python benchmarks/live.py`` (``--help`` lists the choices). ``paretune search`` searches the ready-made experiment
``digits``, one run after the other with the machine to itself, each for the same wall time since the baseline was
measured: loading and training the model do not count, tracing the compiled engine's graphs does. The rival is Optuna's
TPE with its own default arguments, which trains every policy in full with tfmot's own flow. It has the rest of Paretune
at its service: the usual uniform policies to begin with, the bound on accuracy as a constraint, trained stages that are
shared, patched files, as many workers, and no policy twice.

With ``--keep FOLDER`` finished runs are kept and not run again.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from figures import Row, machine_report, spread, table

from paretune.experiments.config.yaml_reader import parse_yaml
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import TrialState

_EXPERIMENT = "digits.yaml"
_NEAR = Constraint(objective="accuracy", bound=Bound.DROP, value=0.01)

#: What the section `search` says beside the seed.
_SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "paretune": {},
    "optuna": {
        "sampler": {"name": "tpe", "arguments": {"multivariate": None, "group": False}},  # Optuna's own defaults
        "rungs": ["full"],
        "leaves": 0,
        "engine": "reference",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """How one search went.

    Attributes:
        seconds: When each finished trial ended, the baseline first, since then.
        volumes: Hypervolume of the front after each of them.
        full_trials: Policies measured after a full training, those that share one included.
        training_steps: Optimizer steps at every rung.
        smallest_bytes: Smallest file on the front with at most 0.01 less accuracy than the baseline; infinite if none.
    """

    seconds: tuple[float, ...]
    volumes: tuple[float, ...]
    full_trials: int
    training_steps: int
    smallest_bytes: float

    def volume_after(self, seconds: float) -> float:
        """Return the hypervolume that had been reached by then."""
        return max(volume for ended, volume in zip(self.seconds, self.volumes, strict=True) if ended <= seconds)

    def seconds_to(self, volume: float) -> float:
        """Return when a hypervolume was reached; infinite if never."""
        return next(
            (ended for ended, reached in zip(self.seconds, self.volumes, strict=True) if reached >= volume), math.inf
        )


def main() -> None:
    """Search what the command line asks for and has not been searched before, and print."""
    asked = _arguments()
    print(machine_report(threads=1), flush=True)
    with _folder(asked.keep) as folder:
        runs = [
            {name: _read(_searched(name, seed, asked.minutes, folder)) for name in _SEARCHES}
            for seed in range(asked.seeds)
        ]
    print(_report(runs, 60 * asked.minutes))


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        yield Path(folder)


def _searched(name: str, seed: int, minutes: float, folder: Path) -> Path:
    """Return the folder of a finished run; an unfinished one is begun again, because its clock has stood still."""
    out = folder / f"{name}-{minutes:g}min-seed{seed}"
    if not out.exists():
        file, unfinished = folder / f"{out.name}.yaml", folder / f"{out.name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        ready_made = files("paretune.experiments").joinpath(_EXPERIMENT).read_text(encoding="utf-8")
        experiment = parse_yaml(ready_made, Path(_EXPERIMENT)).data
        experiment |= {
            "search": {**experiment["search"], "seed": seed, **_SEARCHES[name]},
            "budget": {"minutes": minutes},
            "tracking": "off",
        }
        file.write_text(json.dumps(experiment))  # which is YAML too
        command = [sys.executable, "-m", "paretune", "search", str(file), "--out", str(unfinished)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
        unfinished.rename(out)
    return out


def _read(out: Path) -> LiveRun:
    with open_run(RunFolder(out)) as run:
        complete = [trial for trial in run.trials() if trial.state is TrialState.COMPLETE]
        complete.sort(key=lambda trial: trial.ended)
        in_order = [replace(trial, number=number) for number, trial in enumerate(complete)]
        near = run.front(complete, also=[_NEAR]).trials
        return LiveRun(
            seconds=tuple(trial.ended - complete[0].ended for trial in complete),
            volumes=tuple(volume for _, volume in run.hypervolumes(in_order)),
            full_trials=sum(trial.rung is Rung.FULL for trial in complete[1:]),
            training_steps=sum(trial.measurement.training_steps for trial in complete if trial.measurement),
            smallest_bytes=near[0].measurement.values["size_bytes"] if near and near[0].measurement else math.inf,
        )


def _report(runs: Sequence[Mapping[str, LiveRun]], wall_seconds: float) -> str:
    def row(label: str, figures: Sequence[float], form: str) -> Row:
        over_all = spread(figures, form) if all(map(math.isfinite, figures)) else _text(median(figures), form)
        return (label, *(_text(figure, form) for figure in figures), over_all)

    def rows(label: str, figure: Callable[[LiveRun], float], form: str) -> list[Row]:
        return [row(f"{label}, {name}", [figure(pair[name]) for pair in runs], form) for name in _SEARCHES]

    aims = [pair["optuna"].volume_after(wall_seconds) for pair in runs]
    reached = {name: [pair[name].seconds_to(aim) for pair, aim in zip(runs, aims, strict=True)] for name in _SEARCHES}
    lines = [("", *(f"seed {seed}" for seed in range(len(runs))), "all")]
    for share in (0.25, 0.5, 0.75, 1.0):
        volume = partial(LiveRun.volume_after, seconds=share * wall_seconds)
        lines += rows(f"hypervolume after {share:.0%}", volume, ".4f")
    lines += rows("full trials", lambda run: run.full_trials, ".0f")
    lines += rows("training steps", lambda run: run.training_steps, ",.0f")
    lines += rows("smallest file within 0.01 of accuracy, bytes", lambda run: run.smallest_bytes, ",.0f")
    lines += [row(f"s to what optuna had in the end, {name}", reached[name], ".0f") for name in _SEARCHES]
    # what needs no time at all is as fast
    pairs = zip(reached["paretune"], reached["optuna"], strict=True)
    ratios = [theirs / ours if ours else 1.0 for ours, theirs in pairs]
    lines.append(row("times as fast there, paretune", ratios, ".1f"))
    return f"\n{_EXPERIMENT}: {wall_seconds / 60:g} minutes each\n{table(lines)}"


def _text(figure: float, form: str) -> str:
    return f"{figure:{form}}" if math.isfinite(figure) else "-"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One real search, against Optuna's default sampler on tfmot's flow.")
    parser.add_argument("--minutes", type=float, default=6.0, help="wall time of each search")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind")
    parser.add_argument("--keep", type=Path, help="folder of finished runs, which are not run again")
    asked = parser.parse_args()
    if not asked.minutes > 0 or asked.seeds < 1:
        parser.error("--minutes must be above 0 and --seeds at least 1")
    return asked


if __name__ == "__main__":
    main()
