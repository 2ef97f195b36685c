"""What was measured to explain a trial, kept beside the run so that nothing is measured twice."""

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paretune.experiments.files import disk_errors, write_atomically
from paretune.experiments.runs.fingerprint import require_same_files
from paretune.experiments.runs.run import Run
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.one_worker import one_worker
from paretune.experiments.workers.pool import WorkerPool
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import RunError, TrialError
from paretune.spaces.results.evaluator import Inspection, Split
from paretune.spaces.results.trial import Trial

Say = Callable[[str], None]


class KeptEvaluations:
    """Evaluates candidates beside a run, each once; a context manager that ends its worker.

    A worker is started when something is asked that is not known. What it may not write it measures all the same.

    Args:
        run: Open for reading; it is not changed.
        file: Where results are kept.
        trust_model: Whether code inside the model file may run.
        say: Hears what is going on.
        build: Builds the evaluator in the worker.
    """

    def __init__(self, run: Run, file: Path, *, trust_model: bool, say: Say, build: EvaluatorFactory) -> None:
        self._run, self._file, self._say = run, file, say
        self._trust_model, self._build = trust_model, build
        self._kept: dict[str, Any] = _read(file, run)
        self._stack = ExitStack()
        self._pool: WorkerPool | None = None
        self._is_writable = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def knows(self, candidate: Candidate, rung: Rung) -> bool:
        """Return whether a candidate needs no worker."""
        return _key(candidate, rung) in self._kept

    def values(
        self, candidate: Candidate, rung: Rung, *, may_train: bool = False, doing: str = ""
    ) -> Mapping[str, float] | None:
        """Return the values of a candidate on the validation split; ``None`` if it cannot be evaluated.

        Args:
            candidate: What to evaluate.
            rung: How much may be spent.
            may_train: Whether training steps may be spent; without them a trained file can still be had where the run
                has kept the trained stages.
            doing: Said where it is not known yet.
        """
        key = _key(candidate, rung)
        if key not in self._kept:
            pool = self._worker()
            if doing:
                self._say(doing)
            limit = Limit(seconds=60 * self._run.experiment.trial_minutes, training_steps=None if may_train else 0)
            try:
                self._keep(key, dict(pool.submit(candidate, rung, limit).result().values))
            except TrialError as error:
                self._say(f"{doing or 'evaluating a policy'}: {error}")
                return None
        values: Mapping[str, float] = self._kept[key]
        return values

    def inspect(self, trial: Trial) -> Inspection:
        """Measure a trial's file closely on the validation split; that is not kept."""
        model = self._run.model_of(trial)
        return self._worker().inspect(model, Split.VALIDATION, trial.candidate.hyperparameters)

    def document(self, key: str, find: Callable[[], dict[str, Any] | None]) -> dict[str, Any] | None:
        """Return plain data that was kept under a key, or else what ``find`` returns, and keep that."""
        if key not in self._kept:
            self._keep(key, find())
        found: dict[str, Any] | None = self._kept[key]
        return found

    def _worker(self) -> WorkerPool:
        if self._pool is None:
            self._say("loading the model and the data")
            run = self._run
            # not the file's seed: the command line may have named another
            experiment = replace(run.experiment, seed=run.trial(0).candidate.seed)
            pool = self._stack.enter_context(
                one_worker(
                    experiment,
                    threads=run.facts.threads,
                    trust_model=self._trust_model,
                    run_folder=run.folder.path,
                    build=self._build,
                )
            )
            now = pool.describe().fingerprint
            require_same_files(run.facts.description.fingerprint, now, run.folder.path)
            self._pool = pool
        return self._pool

    def _keep(self, key: str, found: dict[str, Any] | None) -> None:
        self._kept[key] = found
        if not self._is_writable:
            return
        document = {"run": self._run.facts.run_id, "kept": self._kept}
        try:
            with disk_errors(self._file.parent):
                self._file.parent.mkdir(exist_ok=True)
            write_atomically(self._file, json.dumps(document, indent=1, allow_nan=False).encode())
        except RunError as error:
            self._is_writable = False
            self._say(str(error))


def _read(file: Path, run: Run) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
        # a folder may hold the files of a run that was there before
        kept: dict[str, Any] = document["kept"] if document["run"] == run.facts.run_id else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return kept


def _key(candidate: Candidate, rung: Rung) -> str:
    return f"{rung} {candidate.digest}"
