"""The state of a trial as people speak of it."""

from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.trial import Trial, TrialState


def state_of(trial: Trial) -> str:
    """Return the state of a trial in one word: ``stopped`` and ``short`` are complete trials of the short rung."""
    if trial.was_stopped:
        return "stopped"
    if trial.state is TrialState.COMPLETE and trial.rung is Rung.SHORT:
        return "short"
    return str(trial.state)
