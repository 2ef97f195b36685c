"""A trial as the ledger keeps it, and what a run may spend on trials."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.recipe import stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.measurement import Measurement


class TrialState(StrEnum):
    """Where a trial stands.

    ``running`` becomes ``interrupted`` when its run ends before it; an interrupted trial is evaluated again, under the
    same number, when the run is resumed.
    """

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETE = "complete"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate evaluated at one rung.

    Attributes:
        number: Counts from 0 in the order of proposal; 0 is the baseline.
        candidate: What was evaluated.
        rung: How much was spent on it.
        state: Where it stands.
        origin: Who proposed it: ``baseline``, ``reference`` or the sampler's name.
        parameters: The sampler's own coordinates (parameter name to index of the choice), empty where it has none.
        reason: Why it failed, was refused or went no further than a short training, one line.
        measurement: Its numbers, on the validation split; set when ``state`` is ``complete``. Read back from a
            ledger it has no ``artifacts``: those are files in the trial's folder.
        test_values: The same numbers on the test split, where they have been measured; and, as ``METRIC_low`` and
            ``METRIC_high``, what the metric lies within on resamples of that split.
        started: Unix time in seconds; 0 when it never started.
        ended: Unix time in seconds; 0 when it has not ended.
    """

    number: int
    candidate: Candidate
    rung: Rung
    state: TrialState
    origin: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    measurement: Measurement | None = None
    test_values: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    ended: float = 0.0

    @property
    def was_trained(self) -> bool:
        """Whether evaluating it took training steps."""
        return self.measurement is not None and self.measurement.training_steps > 0

    @property
    def was_stopped(self) -> bool:
        """Whether it went no further than a short training; ``reason`` says why."""
        return self.rung is Rung.SHORT and self.state is TrialState.COMPLETE and bool(self.reason)


def stem_trained_by(trial: Trial) -> str:
    """Return the digest of the stem that a trial needs trained; empty where it needs none, or is not complete.

    A budget of trials counts different stems that were trained in full: what shares one with an earlier trial is a
    free leaf. A base model that was trained for the search is a stem of its own.
    """
    if trial.state is not TrialState.COMPLETE or trial.rung is not Rung.FULL:
        return ""
    if stages_of(trial.candidate.policy):
        return trial.candidate.stem_digest
    return trial.candidate.architecture if trial.candidate.policy.is_untouched and trial.was_trained else ""


def count_trained(trials: Iterable[Trial]) -> int:
    """Return how many trials count against a budget."""
    return len({stem_trained_by(trial) for trial in trials} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend in total, over all its resumptions; ``None`` leaves a limit open.

    Attributes:
        trials: Trained trials; what shares its trained weights with an earlier one is free.
        minutes: Minutes of search.
        training_steps: Optimizer steps.
    """

    trials: int | None = None
    minutes: float | None = None
    training_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "minutes", "training_steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"`{name}` of the budget must be above 0, got {value!r}.")

    def exhausted_by(self, *, trials: int, minutes: float, training_steps: int) -> str:
        """Return what has run out, for people, or an empty string while something is left."""
        if self.trials is not None and trials >= self.trials:
            return f"{self.trials} trial{_s(self.trials)}"
        if self.minutes is not None and minutes >= self.minutes:
            return f"{self.minutes:g} minute{_s(self.minutes)}"
        if self.training_steps is not None and training_steps >= self.training_steps:
            return f"{self.training_steps} training step{_s(self.training_steps)}"
        return ""


def _s(count: float) -> str:
    return "" if count == 1 else "s"
