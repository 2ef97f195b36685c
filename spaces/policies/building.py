"""Build a space from what the layers of a model support and what an experiment asks for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.knob import Knob
from paretune.spaces.knobs.known import KNOBS
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.normal_form import check_possible
from paretune.spaces.policies.reading import layer_policy, matching, read_knobs
from paretune.spaces.policies.space import Parameter, Space, check_channel_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSettings:
    """What an experiment file says about its space; names are layer names or globs.

    Attributes:
        choices: Values by knob, for every layer; a knob that is left out takes its default choices. Those of ``rank``
            are energies, see :class:`~paretune.spaces.knobs.rank.Rank`.
        layers: Values by knob for the layers a name matches; later entries win.
        groups: Layers that share one decision, as lists of names.
        pinned: Decisions by knob for layers that are not searched; a knob that is left out stays untouched.
    """

    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = ()
    pinned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def build_space(layers: Sequence[LayerSpec], settings: SpaceSettings) -> Space:
    """Combine what the layers support with what the experiment asks for.

    Choices a layer does not support are left out for it; asking for nothing else is an error.

    Raises:
        ConfigurationError: On a name that matches no layer, a layer in two groups, a pinned layer in a group, or
            a layer left without any choice.
    """
    names = [spec.name for spec in layers]
    if not names:
        raise ConfigurationError("The model has no layer that can be compressed; `paretune doctor` tells why.")
    for pattern in settings.layers:
        matching(pattern, names)
    pinned = _pinned(layers, settings)
    parameters: list[Parameter] = []
    fixed: dict[str, dict[str, Any]] = {name: dict(pinned.get(name, {})) for name in names}
    for group, knob, choices in _decisions(layers, settings, pinned):
        if len(choices) > 1:
            name = f"{group[0]}.{knob.name}"
            parameters.append(Parameter(name=name, knob=knob.name, layers=group, choices=choices))
        else:
            for name in group:
                fixed[name][knob.name] = choices[0]
    return Space(layers=tuple(layers), parameters=tuple(parameters), fixed=fixed)


def _decisions(
    layers: Sequence[LayerSpec], settings: SpaceSettings, pinned: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, ...], Knob, tuple[Any, ...]]]:
    """Yield what is decided at once: the layers that share it, the knob, and its choices, of which there may be one."""
    specs = {spec.name: spec for spec in layers}
    groups = _groups(list(specs), settings, pinned)
    channels = KNOBS["channels"]
    for group in _channel_groups(layers, groups):
        held = [pinned[name]["channels"] for name in group if name in pinned]
        choices = (held[0],) if held else _group_choices([specs[name] for name in group], channels, settings)
        yield group, channels, choices
    for group in groups:
        for knob in KNOBS.values():
            if knob is not channels:
                yield group, knob, _group_choices([specs[name] for name in group], knob, settings)


def _pinned(layers: Sequence[LayerSpec], settings: SpaceSettings) -> dict[str, dict[str, Any]]:
    specs = {spec.name: spec for spec in layers}
    decided: dict[str, dict[str, Any]] = {}
    for pattern, knobs in settings.pinned.items():
        for name in matching(pattern, list(specs)):
            decided.setdefault(name, {knob.name: knob.untouched for knob in KNOBS.values()})
            decided[name].update(read_knobs(pattern, knobs))
    policies = {name: layer_policy(name, knobs) for name, knobs in decided.items()}
    for name, policy in policies.items():
        check_possible(specs[name], policy)
    check_channel_groups([specs[name] for name in specs if name in policies], policies)
    return decided


def _groups(names: list[str], settings: SpaceSettings, pinned: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the layers to search, in groups (most of one layer), in model order of their first layers."""
    searched = [name for name in names if name not in set(pinned)]
    group_of: dict[str, tuple[str, ...]] = {}
    for patterns in settings.groups:
        members = {name for pattern in patterns for name in matching(pattern, names)}
        ordered = tuple(name for name in names if name in members)
        for name in ordered:
            if name not in searched:
                raise ConfigurationError(f"Layer '{name}' is pinned and cannot be in a group.")
            if name in group_of:
                raise ConfigurationError(f"Layer '{name}' is in two groups.")
            group_of[name] = ordered
    return list(dict.fromkeys(group_of.get(name, (name,)) for name in searched))


def _channel_groups(layers: Sequence[LayerSpec], groups: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the layers that lose channels together: those that the model joins, and those that a group joins."""
    members = {spec.name: spec.channel_group for spec in layers if spec.channels}
    for group in groups:
        joined = {members[name] for name in group if name in members}
        members = {name: min(joined) if own in joined else own for name, own in members.items()}
    together: dict[str, list[str]] = {}
    for name, own in members.items():
        together.setdefault(own, []).append(name)
    return [tuple(names) for names in together.values()]


def _group_choices(specs: Sequence[LayerSpec], knob: Knob, settings: SpaceSettings) -> tuple[Any, ...]:
    offered = [_layer_choices(spec, knob, settings) for spec in specs]
    common = [value for value in offered[0] if all(value in other for other in offered[1:])]
    if not common:
        raise ConfigurationError(f"The group of '{specs[0].name}' has no `{knob.name}` in common.")
    return knob.shared(specs, common)


def _layer_choices(spec: LayerSpec, knob: Knob, settings: SpaceSettings) -> tuple[Any, ...]:
    asked: tuple[Any, ...] = settings.choices.get(knob.name, knob.default_choices)
    for pattern, knobs in settings.layers.items():
        if knob.name in knobs and (pattern == spec.name or fnmatchcase(spec.name, pattern)):
            asked = knobs[knob.name]
    values = [knob.read_choice(value) for value in asked]
    offered = [value for value in dict.fromkeys(values) if knob.offers(spec, value)]
    if not offered:
        raise ConfigurationError(
            f"Layer '{spec.name}' supports none of the `{knob.name}` choices {[str(value) for value in values]}. "
            f"{spec.refusals.get(knob.subject(values[0]), '')}"
        )
    return tuple(offered)
