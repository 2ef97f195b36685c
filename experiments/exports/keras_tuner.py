"""The front in the words of Keras Tuner."""

from typing import Any

from paretune.experiments.runs.run import Run
from paretune.search.front import Front
from paretune.search.hyperparameters import hyperparameters_of
from paretune.spaces.space import build_space
from paretune.spaces.variant import settings_without_strangers


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
        layers = descriptions[trial.candidate.architecture].layers
        settings = settings_without_strangers(run.experiment.space, [layer.name for layer in layers])
        hyperparameters = hyperparameters_of(trial, build_space(layers, settings), run.hyperspace)
        found.append({"trial": trial.number, "hyperparameters": hyperparameters})
    return found
