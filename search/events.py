"""What a search tells whoever watches it; each is sent once the ledger has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paretune.search.front import Front
from paretune.spaces.results.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiling:
    """The profile of the model is being measured; the few proxies that are asked for later send nothing.

    Attributes:
        done: Policies measured so far in this session.
        total: Policies that were not known when it began; the profile is complete when ``done`` reaches it.
    """

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """A base model is built and trained for its hyperparameters.

    Attributes:
        values: Of all hyperparameters, those of the recipe among them.
        failure: Why that failed; empty when it begins.
    """

    values: Mapping[str, Any]
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStarted:
    """A trial is being evaluated, perhaps again after an interruption."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRefused:
    """A policy was refused before training; the trial's ``reason`` says why."""

    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """A trial is complete, failed or interrupted.

    Attributes:
        trial: As the ledger has it.
        front: The front with this trial in it, if it belongs there.
        hypervolume: Of that front, from the run's reference point.
    """

    trial: Trial
    front: Front
    hypervolume: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Sent about once a second.

    Attributes:
        seconds: Wall seconds searched so far, over all resumptions.
        trained: Trials that count against the budget.
        training_steps: Optimizer steps of complete trials.
        in_flight: Trials that are being evaluated.
    """

    seconds: float
    trained: int
    training_steps: int
    in_flight: int


SearchEvent = Building | Profiling | TrialStarted | TrialRefused | TrialEnded | Ticked


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """Why a search returned.

    Attributes:
        reason: For people: what ran out, or that it was interrupted.
        interrupted: Whether it was told to stop; running it again goes on.
    """

    reason: str
    interrupted: bool = False
