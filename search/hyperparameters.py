"""A policy in the words of Keras Tuner, for those who go on with its hyperparameters."""

from typing import Any

from paretune.search.encoding import choice_of_trial
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.space import Parameter, Space
from paretune.spaces.trial import Trial


def hyperparameters_of(trial: Trial, space: Space) -> dict[str, Any]:
    """Return what ``keras_tuner.HyperParameters.from_config`` reads: the space, and a trial's values in it.

    Every parameter of the space is a ``Choice`` under its own name, such as ``conv1.sparsity``, among the values that
    a policy file has. No clusters are 0, since all values of a ``Choice`` must be of one type.

    Raises:
        ConfigurationError: If the trial's policy is not among the choices of the space.
    """
    choice = choice_of_trial(trial, space)
    if choice is None:
        raise ConfigurationError(
            f"The policy of trial {trial.number} must be among the choices that were searched, and is not. "
            "Widen the space, or take another trial."
        )
    return {
        "space": [{"class_name": "Choice", "config": _config(parameter)} for parameter in space.parameters],
        "values": {parameter.name: _values(parameter)[choice[parameter.name]] for parameter in space.parameters},
    }


def _config(parameter: Parameter) -> dict[str, Any]:
    values = _values(parameter)
    return {
        "name": parameter.name,
        "default": values[0],
        "conditions": [],
        "values": values,
        "ordered": parameter.is_ordered,
    }


def _values(parameter: Parameter) -> list[Any]:
    if parameter.knob == "clusters":
        return [value or 0 for value in parameter.choices]
    if parameter.knob == "quantization":
        return [str(value) for value in parameter.choices]
    return [float(value) for value in parameter.choices]
