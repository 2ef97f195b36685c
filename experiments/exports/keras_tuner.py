"""The front in the words of Keras Tuner."""

from typing import Any

from paretune.experiments.runs.run import Run
from paretune.search.front import Front
from paretune.search.variants.hyperparameters import hyperparameters_of
from paretune.spaces.candidates.variant import space_of


def keras_tuner_document(run: Run, front: Front) -> list[dict[str, Any]]:
    """Return ``{"trial", "hyperparameters"}`` for every point, smallest file first.

    The hyperparameters are what ``keras_tuner.HyperParameters.from_config`` reads.
    """
    descriptions = {
        description.architecture: description
        for description in (run.facts.description, *(variant.description for variant in run.ledger.variants()))
    }
    found = []
    for trial in front.trials:
        candidate = trial.candidate
        space = space_of(descriptions[candidate.architecture], run.experiment.space, candidate.recipe)
        hyperparameters = hyperparameters_of(trial, space, run.hyperspace)
        found.append({"trial": trial.number, "hyperparameters": hyperparameters})
    return found
