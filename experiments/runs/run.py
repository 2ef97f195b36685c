"""A run as reading commands see it; needs neither TensorFlow nor MLflow nor Optuna."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.runs.facts import RunFacts, read_facts
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger, trial_folder
from paretune.search.front import Front, find_front, hypervolume_history, reference_point, values_of
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.variant import recipe_hyperparameters
from paretune.spaces.errors import RunError
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.objective import Constraint
from paretune.spaces.results.trial import Trial, TrialState

MODEL_FILE = "model.tflite"

#: What the ledger remembers once a search has come to its end.
OUTCOME = "outcome"

_FACTS, _EXPERIMENT, _REFERENCE = "facts", "experiment", "reference_point"


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its ledger; a context manager that closes the ledger.

    Attributes:
        folder: Where it lives.
        ledger: Its trials, open for reading or for writing.
        experiment: The experiment file as it was last searched.
        facts: The model, the objectives and what else was settled when it began.
    """

    folder: RunFolder
    ledger: SqlLedger
    experiment: Experiment
    facts: RunFacts

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()

    @property
    def hyperspace(self) -> tuple[Hyperparameter, ...]:
        """What is searched beside policies: hyperparameters of the model, and of the recipe."""
        of_recipe = recipe_hyperparameters(self.experiment.recipe, self.experiment.recipe_choices)
        return (*self.facts.description.hyperspace, *of_recipe)

    @property
    def has_ended(self) -> bool:
        """Whether a search has come to its end, rather than to an interruption; a later one may have gone on."""
        return self.ledger.fact(OUTCOME) is not None

    def trials(self) -> Sequence[Trial]:
        """Return all trials by number, the baseline first."""
        return self.ledger.trials()

    def trial(self, number: int) -> Trial:
        """Return one trial.

        Raises:
            RunError: If there is none of that number.
        """
        trials = self.trials()
        if not 0 <= number < len(trials):
            raise RunError(f"There is no trial {number} in {self.folder}; the last is {len(trials) - 1}.")
        return trials[number]

    def description_of(self, trial: Trial) -> ModelDescription:
        """Return the base model that a trial's policy is decided for."""
        known = (self.facts.description, *(variant.description for variant in self.ledger.variants()))
        return next(each for each in known if each.architecture == trial.candidate.architecture)

    def front(self, trials: Sequence[Trial] | None = None, *, also: Sequence[Constraint] = ()) -> Front:
        """Return the front.

        Args:
            trials: As :meth:`trials` returned them; read anew where they are left out.
            also: Constraints to meet beyond the run's own.
        """
        trials = self.trials() if trials is None else trials
        constraints = (*self.facts.constraints, *also)
        known = self.facts.description.objectives
        return find_front(trials, self.facts.objectives, constraints, _baseline_values(trials), known)

    def hypervolumes(self, trials: Sequence[Trial] | None = None) -> list[tuple[int, float]]:
        """Return pairs of trial number and hypervolume of the front after it; empty before there is a baseline."""
        trials = self.trials() if trials is None else trials
        baseline = _baseline_values(trials)
        if not baseline:
            return []
        reference = self.reference(trials)
        return hypervolume_history(
            trials,
            self.facts.objectives,
            self.facts.constraints,
            baseline,
            reference,
            known=self.facts.description.objectives,
        )

    def reference(self, trials: Sequence[Trial] | None = None) -> Mapping[str, float]:
        """Return the reference point of the hypervolume, fixed when the baseline was measured."""
        stored: Mapping[str, float] | None = self.ledger.fact(_REFERENCE)
        if stored is not None:
            return stored
        return reference_point(_baseline_values(self.trials() if trials is None else trials), self.facts.objectives)

    def model_of(self, trial: Trial) -> bytes:
        """Return the ``.tflite`` of a complete trial.

        Raises:
            RunError: If it cannot be read.
        """
        path = self.files_of(trial) / MODEL_FILE
        try:
            return path.read_bytes()
        except OSError as error:
            raise RunError(f"The file of trial {trial.number} cannot be read: {path}: {error.strerror}.") from None

    def files_of(self, trial: Trial) -> Path:
        """Return the folder of a trial's files."""
        return trial_folder(self.folder.path, trial.number)


def open_run(folder: RunFolder) -> Run:
    """Open a run for reading, whether or not a search is writing it.

    Raises:
        RunError: If there is no run in the folder, or it cannot be read.
    """
    ledger = SqlLedger.read(folder.ledger)
    try:
        return read_run(folder, ledger)
    except BaseException:
        ledger.close()
        raise


def read_run(folder: RunFolder, ledger: SqlLedger) -> Run:
    """Return the run of a ledger that is open already.

    Raises:
        RunError: If its search was ended before the model was described.
    """
    facts, experiment = ledger.fact(_FACTS), ledger.fact(_EXPERIMENT)
    if facts is None or experiment is None:
        raise RunError(f"The search in {folder} ended before it began; run it again.")
    return Run(folder, ledger, parse_experiment(experiment["text"], Path(experiment["file"])), read_facts(facts))


def remembered_facts(ledger: SqlLedger) -> RunFacts | None:
    """Return what was settled when the run began; ``None`` if it has not got that far."""
    facts = ledger.fact(_FACTS)
    return None if facts is None else read_facts(facts)


def facts_to_remember(experiment: Experiment, facts: RunFacts) -> dict[str, Any]:
    """Return what :func:`read_run` reads back."""
    return {
        _FACTS: facts.to_document(),
        _EXPERIMENT: {"file": str(experiment.file), "text": experiment.text},
    }


def remember_reference(run: Run) -> None:
    """Fix the reference point of the hypervolume, once."""
    if run.ledger.fact(_REFERENCE) is None:
        run.ledger.remember({_REFERENCE: run.reference()})


def _baseline_values(trials: Sequence[Trial]) -> Mapping[str, float]:
    if not trials or trials[0].state is not TrialState.COMPLETE:
        return {}
    return values_of(trials[0])
