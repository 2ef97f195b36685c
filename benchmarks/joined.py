"""The same budget spent on one model, and on the model together with its compression.

Run ``python benchmarks/joined.py`` (``--help`` lists the choices). ``paretune search`` searches the ready-made
experiment ``digits_cnn``, in which width, depth and learning rate are hyperparameters, and the same experiment about
the model of their defaults alone; for as many trials, of which base models count as one each. Both have the same
baseline, so that their hypervolumes have the same reference point.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from figures import Row, machine_report, spread, table

from paretune.experiments.config.yaml_reader import parse_yaml
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.spaces.results.trial import TrialState

_EXPERIMENT = "digits_cnn.yaml"
_KINDS = ("joined", "fixed")


def fixed_model() -> Any:
    """Return the model of the defaults, trained as a base model is."""
    from keras_tuner import HyperParameters

    from paretune.objectives import zoo
    from paretune.objectives.keras_door import keras

    base, data = _ready_made()["base"], zoo.digits_data()
    keras.utils.set_random_seed(0)
    model = zoo.digits_cnn(HyperParameters())
    keras.utils.set_random_seed(0)
    model.fit(data["x_train"], data["y_train"], epochs=base["epochs"], batch_size=base["batch_size"], verbose=0)
    return model


def main() -> None:
    """Search, and print."""
    asked = _arguments()
    print(machine_report(threads=1), flush=True)
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        runs = [
            {kind: _figures(_searched(kind, seed, asked.trials, Path(folder))) for kind in _KINDS}
            for seed in range(asked.seeds)
        ]
    lines: list[Row] = [("", *(f"seed {seed}" for seed in range(asked.seeds)), "all")]
    for name, form in (("hypervolume", ".4f"), ("training steps", ",.0f"), ("minutes", ".1f"), ("models", ".0f")):
        for kind in _KINDS:
            figures = [run[kind][name] for run in runs]
            lines.append((f"{name}, {kind}", *(f"{figure:{form}}" for figure in figures), spread(figures, form)))
    ratios = [run["joined"]["hypervolume"] / run["fixed"]["hypervolume"] for run in runs]
    lines.append(("hypervolume, joined / fixed", *(f"{ratio:.3f}" for ratio in ratios), spread(ratios, ".3f")))
    print(f"\n{_EXPERIMENT}: {asked.trials} trials each\n{table(lines)}")


def _ready_made() -> dict[str, Any]:
    text = files("paretune.experiments").joinpath(_EXPERIMENT).read_text(encoding="utf-8")
    return dict(parse_yaml(text, Path(_EXPERIMENT)).data)


def _searched(kind: str, seed: int, trials: int, folder: Path) -> Path:
    out, file = folder / f"{kind}-{seed}", folder / f"{kind}-{seed}.yaml"
    experiment = _ready_made()
    experiment["search"] = {**experiment["search"], "seed": seed}
    experiment |= {"budget": {"trials": trials}, "tracking": "off"}
    del experiment["recipe"]["prune"]["pattern"]  # it is the model that is searched too, or not
    if kind == "fixed":
        (folder / "joined.py").write_bytes(Path(__file__).read_bytes())
        (folder / "figures.py").write_bytes(Path(__file__).with_name("figures.py").read_bytes())
        experiment["model"] = "joined:fixed_model"
        del experiment["base"]
    file.write_text(json.dumps(experiment))  # which is YAML too
    command = [sys.executable, "-m", "paretune", "search", str(file), "--out", str(out)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # noqa: S603
    return out


def _figures(out: Path) -> Mapping[str, float]:
    with open_run(RunFolder(out)) as run:
        trials = run.trials()
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        return {
            "hypervolume": run.hypervolumes(trials)[-1][1],
            "training steps": sum(trial.measurement.training_steps for trial in complete if trial.measurement),
            "minutes": (max(trial.ended for trial in complete) - complete[0].started) / 60,
            "models": len({trial.candidate.architecture for trial in complete}),
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One model, or the model together with its compression.")
    parser.add_argument("--trials", type=int, default=40, help="budget of each search")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind")
    asked = parser.parse_args()
    if asked.trials < 1 or asked.seeds < 1:
        parser.error("--trials and --seeds must be at least 1")
    return asked


if __name__ == "__main__":
    main()
