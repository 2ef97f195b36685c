"""One worker outside a run, for commands that measure but do not search."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paretune.experiments.config.experiment import Experiment
from paretune.experiments.files import disk_errors
from paretune.experiments.runs.folder import cache_folder
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator


@contextmanager
def one_worker(
    experiment: Experiment,
    *,
    threads: int | None = None,
    trust_model: bool = False,
    run_folder: Path | None = None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Iterator[WorkerPool]:
    """Start one worker that holds an experiment's model and data.

    Args:
        experiment: Names model, data and task.
        threads: Of the worker; ``None`` takes what a search would.
        trust_model: Whether code inside the model file may run.
        run_folder: Of the run whose trained stages it may use, and whose workers it meets; ``None`` for neither.
        build: Builds the evaluator in the worker.
    """
    folder = cache_folder()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings = experiment.settings_for_evaluator(
        threads=threads or experiment.fair_threads,
        trust_model=trust_model,
        cache_folder=folder,
        run_folder=run_folder,
    )
    with WorkerPool(settings, 1, folder / "worker.log", build=build) as pool:
        yield pool
