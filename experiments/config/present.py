"""What an experiment file says now, where that may differ from what was searched."""

from dataclasses import replace

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.config.yaml_reader import read_yaml


def present_experiment(experiment: Experiment) -> Experiment:
    """Return an experiment with the metadata and the tracking that its file asks for now.

    Neither changes anything about the search, so both may be written when there is something to ship. Where the file
    is gone, or has become an experiment with another model or other data, what it said at the search counts.

    Args:
        experiment: As it was searched.

    Raises:
        ConfigurationError: If the file is wrong now.
    """
    if not experiment.file.is_file():
        return experiment
    now = parse_experiment(read_yaml(experiment.file).text, experiment.file)
    if (now.model, now.data) != (experiment.model, experiment.data):
        return experiment
    return replace(experiment, metadata=now.metadata, tracking=now.tracking)
