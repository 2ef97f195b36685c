"""A policy in the words of Keras Tuner, for those who go on with its hyperparameters."""

from collections.abc import Sequence
from typing import Any

from paretune.search.additive.encoding import choice_of_trial
from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.space import Parameter, Space
from paretune.spaces.results.trial import Trial


def hyperparameters_of(trial: Trial, space: Space, hyperspace: Sequence[Hyperparameter] = ()) -> dict[str, Any]:
    """Return what ``keras_tuner.HyperParameters.from_config`` reads: the space, and a trial's values in it.

    Every parameter of the space is a ``Choice`` under its own name, such as ``conv1.sparsity``, among the values that
    a policy file has. No clusters are 0, since all values of a ``Choice`` must be of one type. Hyperparameters of the
    model that were searched too come first, under their own names: ``build(hp)`` gives the trial's base model.

    Args:
        trial: Of any state.
        space: Of its variant.
        hyperspace: What was searched beside policies; those that do not matter in the trial are left out.

    Raises:
        ConfigurationError: If the trial's policy is not among the choices of the space.
    """
    choice = choice_of_trial(trial, space)
    if choice is None:
        raise ConfigurationError(
            f"The policy of trial {trial.number} must be among the choices that were searched, and is not. "
            "Widen the space, or take another trial."
        )
    values = trial.candidate.hyperparameters
    parameters = space.parameters
    searched = [each for each in hyperspace if values[each.name] != OFF]
    return {
        "space": [
            *(_choice(each.name, each.choices, each.default, is_ordered=each.is_ordered) for each in searched),
            *(_choice(each.name, _values(each), _values(each)[0], is_ordered=each.is_ordered) for each in parameters),
        ],
        "values": {
            **{each.name: values[each.name] for each in searched},
            **{each.name: _values(each)[choice[each.name]] for each in parameters},
        },
    }


def _choice(name: str, values: Sequence[Any], default: Any, *, is_ordered: bool) -> dict[str, Any]:
    config = {"name": name, "default": default, "conditions": [], "values": list(values), "ordered": is_ordered}
    return {"class_name": "Choice", "config": config}


def _values(parameter: Parameter) -> list[Any]:
    if parameter.knob in ("rank", "clusters"):
        return [value or 0 for value in parameter.choices]
    if parameter.knob == "quantization":
        return [str(value) for value in parameter.choices]
    return [float(value) for value in parameter.choices]
