"""Compress a model from Python: the same search that ``paretune search`` runs."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from paretune.experiments.face.arguments import experiment_of
from paretune.experiments.face.given import GivenFiles, name_of
from paretune.experiments.face.run import Run
from paretune.experiments.files import write_atomically
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.searching import run_folder_of
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import build_keras_evaluator

if TYPE_CHECKING:
    from paretune.experiments.config.experiment import Experiment


def compress(
    model: Any,
    data: Any,
    *,
    name: str | None = None,
    task: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
    space: Mapping[str, Any] | None = None,
    target: str | None = None,
    device: Mapping[str, Any] | None = None,
    objectives: Sequence[str | Mapping[str, Any]] | None = None,
    constraints: Mapping[str, Any] | None = None,
    stop_when: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    budget: Mapping[str, Any] | int | None = None,
    tracking: Mapping[str, Any] | bool | None = None,
    out: str | os.PathLike[str] | None = None,
    trust_model: bool = False,
    quiet: bool = False,
) -> Run:
    """Search for the best ways to compress a model, and return the run.

    It is the search of ``paretune search``; the keyword arguments are the keys of the experiment file, with the same
    values and defaults. A model and data from memory are written into the run's folder. Training happens in worker
    processes, which do not import the calling program: it needs no ``if __name__ == "__main__"``, and its own
    TensorFlow, of whichever Keras, is left alone.

    The same call again goes on with the run where it stopped, or returns at once when nothing is left to do. Ctrl-C,
    or interrupting the cell, raises ``KeyboardInterrupt`` with everything finished kept: :func:`open_run` reads it.

    Args:
        model: A model of Keras 3 or tf_keras; the path of a ``.keras`` or ``.h5`` file or SavedModel folder; or
            ``module:function``. A model with custom layers needs the last.
        data: The path of a ``.npz`` file, a folder of ``.npy`` files or of images; ``keras:mnist`` and the like;
            ``module:function``; a mapping of arrays ``x_train y_train`` (and ``x_val y_val x_test y_test``, else they
            are split off); ``(x, y)``; ``((x_train, y_train), (x_test, y_test))``, or with the validation data
            between them. A pair may be a batched ``tf.data.Dataset``, which has to give its rows in the same order
            each time for a run to go on.
        name: The run lives in ``runs/NAME``; the model's own name by default.
        task: Such as ``{"kind": "classification", "class_weights": "balanced"}``.
        base: How models are trained that ``module:function`` builds from hyperparameters.
        space: Such as ``{"sparsity": [0, 0.5, 0.8], "clusters": [None, 16], "quantization": ["float32", "int8"]}``.
        target: Where files are to run: ``cpu``, ``download``, ``microcontroller``, ``ethos-u`` or ``android``.
        device: Such as ``{"accelerator": "ethos-u55-128"}``.
        objectives: Such as ``["metric", "size_bytes", "latency_ratio"]``.
        constraints: Such as ``{"size_bytes": {"max": "60kB"}, "metric": {"drop": 0.02}}``.
        stop_when: Bounds; a trial that keeps to all of them ends the search.
        recipe: Such as ``{"prune": {"epochs": 4, "learning_rate": 0.001}}``.
        search: Such as ``{"seed": 0, "workers": 2}``.
        budget: Such as ``{"trials": 24, "minutes": 60}``; a number counts trials.
        tracking: Such as ``{"experiment": "paretune"}``; ``False`` keeps no record in MLflow.
        out: Folder of the run, if it is not ``runs/NAME``.
        trust_model: Whether code inside the model file may run, such as that of a Lambda layer.
        quiet: Whether to show no progress.

    Raises:
        KeyboardInterrupt: If it was stopped.
        ParetuneError: In one line: an argument, the model or the data cannot be used, or the run in the folder was
            made with something else.
    """
    arguments = {
        "name": name_of(model) if name is None else name,
        "task": task,
        "base": base,
        "space": space,
        "target": target,
        "device": device,
        "objectives": objectives,
        "constraints": constraints,
        "stop_when": stop_when,
        "recipe": recipe,
        "search": search,
        "budget": {"trials": budget} if isinstance(budget, int) else budget,
        "tracking": {True: {}, False: "off"}[tracking] if isinstance(tracking, bool) else tracking,
    }
    placed = experiment_of({**arguments, "model": "model", "data": "data"}, Path("experiment.yaml"))  # before writing
    folder = run_folder_of(placed, None if out is None else Path(out))
    given = GivenFiles(folder.path / "given")
    arguments = {"name": arguments["name"], "model": given.model(model), "data": given.data(data), **arguments}
    experiment = experiment_of(arguments, given.folder / "experiment.yaml")
    given.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(given.folder / "experiment.yaml", experiment.text.encode())
    return searched(experiment, folder, trust_model=trust_model, quiet=quiet, build=build_keras_evaluator)


def searched(
    experiment: "Experiment",
    folder: RunFolder,
    *,
    trust_model: bool = False,
    quiet: bool = False,
    build: EvaluatorFactory,
) -> Run:
    """Search, or go on, with progress on stderr or in the notebook's cell; return the run.

    Raises:
        KeyboardInterrupt: If it was stopped; a line tells how to go on.
        ParetuneError: See :func:`paretune.experiments.session.run_session`.
    """
    # they load the search with Optuna, and what talks to MLflow
    from paretune.experiments.session import run_session
    from paretune.experiments.terminal.session_report import settle_session

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True, quiet=quiet)

    def say(line: str) -> None:
        console.print(line, markup=False)

    try:
        end = run_session(experiment, folder, trust_model=trust_model, build=build, console=console)
        settle_session(end, folder, say=say)
        if end.outcome.interrupted:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        say(
            "interrupted: everything finished is kept. The same call goes on; "
            f"paretune.open_run({str(folder)!r}) reads what is there."
        )
        raise
    return Run(folder.path)
