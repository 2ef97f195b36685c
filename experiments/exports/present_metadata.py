"""What exported files of a run tell about themselves."""

from dataclasses import replace

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.config.metadata_section import file_metadata
from paretune.experiments.config.yaml_reader import read_yaml
from paretune.spaces.file_metadata import FileMetadata


def present_metadata(experiment: Experiment) -> FileMetadata | None:
    """Return the metadata of a run's experiment file as that is now.

    It changes nothing about the search, so it may be written when there is something to ship. Where the file is gone,
    or has become an experiment with another model or other data, what it said at the search counts.

    Args:
        experiment: As it was searched.

    Raises:
        ConfigurationError: If the section is wrong, or its file of labels is missing.
    """
    if experiment.file.is_file():
        now = parse_experiment(read_yaml(experiment.file).text, experiment.file)
        if (now.model, now.data) == (experiment.model, experiment.data):
            experiment = replace(experiment, metadata=now.metadata)
    return file_metadata(experiment.metadata, experiment.file.parent)
