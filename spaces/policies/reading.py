"""Policies as plain data, read: names or globs of layers, and a value for each knob."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.known import knob_named
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.suggest import nearest


def policy_of_names(document: Mapping[str, Any], names: Sequence[str]) -> Policy:
    """Read a policy as :meth:`Space.resolve` does, for layers of which nothing but the names is known.

    Raises:
        ConfigurationError: On a name that matches no layer, an unknown knob, or a value out of range.
    """
    entries = document.get("layers")
    if not isinstance(entries, Mapping):
        raise ConfigurationError(f"A policy needs `layers:`, a mapping of layer names; got {entries!r}.")
    decided: dict[str, dict[str, Any]] = {name: {} for name in names}
    for pattern, knobs in entries.items():
        if not isinstance(knobs, Mapping):
            raise ConfigurationError(f"Layer '{pattern}' needs a mapping of knobs, got {knobs!r}.")
        for layer in matching(str(pattern), list(decided)):
            decided[layer].update(read_knobs(str(pattern), knobs))
    return Policy(tuple((name, layer_policy(name, knobs)) for name, knobs in decided.items()))


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a layer name or glob matches, in order.

    Raises:
        ConfigurationError: If it matches none.
    """
    found = [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        raise ConfigurationError(
            f"No layer matches '{pattern}'; the layers are {', '.join(names)}.{nearest(pattern, names)}"
        )
    return found


def read_knobs(pattern: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a mapping of knobs; errors name the layer or glob it stands for."""
    try:
        return {knob: knob_named(knob).read(value) for knob, value in knobs.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (layer '{pattern}')") from None


def layer_policy(name: str, knobs: Mapping[str, Any]) -> LayerPolicy:
    """Return what is decided about a layer; errors name it."""
    try:
        return LayerPolicy(**knobs)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (layer '{name}')") from None
