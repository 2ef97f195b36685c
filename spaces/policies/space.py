"""The knobs of one model, the choices for each, and the rules between them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.choices import DEFAULT_CHOICES, nearest_choice, ordered, supports
from paretune.spaces.policies.layers import LayerSpec, share_of, without_idle_rank
from paretune.spaces.policies.policy import KNOBS, LayerPolicy, Policy, Quantization, read_choice, read_knob
from paretune.spaces.suggest import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSettings:
    """What an experiment file says about its space; names are layer names or globs.

    Attributes:
        choices: Values by knob, for every layer; a knob that is left out takes its default choices. Those of ``rank``
            are energies, see :func:`~paretune.spaces.policies.policy.read_choice`.
        layers: Values by knob for the layers a name matches; later entries win.
        groups: Layers that share one decision, as lists of names.
        pinned: Decisions by knob for layers that are not searched; a knob that is left out stays untouched.
    """

    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    groups: tuple[tuple[str, ...], ...] = ()
    pinned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One knob of one layer, or of the layers of a group, with at least two choices.

    Attributes:
        name: ``LAYER.KNOB``, with the group's first layer.
        knob: One of :data:`~paretune.spaces.policies.policy.KNOBS`.
        layers: The layers it decides about.
        choices: Values in order; but for number formats, the later, the smaller the file. Ranks are whole numbers here.
    """

    name: str
    knob: str
    layers: tuple[str, ...]
    choices: tuple[Any, ...]

    @property
    def is_ordered(self) -> bool:
        """Whether neighbouring choices are alike."""
        return self.knob != "quantization"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The knobs and choices of one model; build it with :func:`build_space`.

    Attributes:
        layers: Every layer that a policy can decide about, in model order.
        parameters: What is searched.
        fixed: Decisions that are not searched: by layer, by knob.
    """

    layers: tuple[LayerSpec, ...]
    parameters: tuple[Parameter, ...]
    fixed: Mapping[str, Mapping[str, Any]]

    @property
    def cardinality(self) -> int:
        """Number of combinations of choices, before normal forms make some of them equal."""
        return math.prod(len(parameter.choices) for parameter in self.parameters)

    def policy(self, choice: Mapping[str, int]) -> Policy:
        """Return the resolved policy for an index into the choices of every parameter, by parameter name."""
        decided: dict[str, dict[str, Any]] = {name: dict(knobs) for name, knobs in self.fixed.items()}
        for parameter in self.parameters:
            value = parameter.choices[choice[parameter.name]]
            for layer in parameter.layers:
                decided[layer][parameter.knob] = value
        return self._normal({name: LayerPolicy(**knobs) for name, knobs in decided.items()})

    def policies(self) -> Iterator[Policy]:
        """Yield the policy of every combination of choices; equal ones come as often as they are spelled."""
        names = [parameter.name for parameter in self.parameters]
        for indices in product(*(range(len(parameter.choices)) for parameter in self.parameters)):
            yield self.policy(dict(zip(names, indices, strict=True)))

    def resolve(self, document: Mapping[str, Any]) -> Policy:
        """Read a policy from plain data: ``{layers: {NAME_OR_GLOB: {knob: value}}}``.

        Entries apply in order, knob by knob; what none of them names stays untouched (sparsity 0, no clusters,
        float32). Any policy that the layers support is accepted, whether or not it is among the choices searched.

        Raises:
            ConfigurationError: On a name that matches no layer, an unknown knob, a value out of range, a knob that a
                layer does not support, or layers that keep other channels than those they are joined with.
        """
        policies = dict(policy_of_names(document, [spec.name for spec in self.layers]))
        for spec in self.layers:
            spec.check(policies[spec.name])
        _check_channel_groups(self.layers, policies)
        return self._normal(policies)

    def choice_of(self, policy: Policy) -> dict[str, int] | None:
        """Return the indices that give ``policy``, or ``None`` when the choices cannot express it."""
        decided = dict(policy.entries)
        choice: dict[str, int] = {}
        for parameter in self.parameters:
            values = {getattr(decided[layer], parameter.knob) for layer in parameter.layers}
            if len(values) == 1 and (value := values.pop()) in parameter.choices:
                choice[parameter.name] = parameter.choices.index(value)
                continue
            index = self._normal_choice(parameter, decided)
            if index is None:
                return None
            choice[parameter.name] = index
        return choice if self.policy(choice) == policy else None

    def _normal_choice(self, parameter: Parameter, decided: Mapping[str, LayerPolicy]) -> int | None:
        """Return a choice that means what was decided: a count of clusters that means none there, say."""
        specs = {spec.name: spec for spec in self.layers}
        for index, value in enumerate(parameter.choices):
            if all(
                specs[layer].normal_form(replace(decided[layer], **{parameter.knob: value})) == decided[layer]
                for layer in parameter.layers
            ):
                return index
        return None

    def nearest(self, wish: LayerPolicy) -> tuple[Policy, dict[str, int]]:
        """Return the policy nearest to deciding ``wish`` about every layer, and its indices."""
        choice = {
            each.name: nearest_choice(each.knob, each.choices, getattr(wish, each.knob)) for each in self.parameters
        }
        return self.policy(choice), choice

    def smallest(self) -> tuple[Policy, ...]:
        """Return the policies among which the smallest file of the space is found: extremes of every knob.

        All layers take their highest sparsity and fewest clusters, combined once with the fewest bits and once with
        each number format that the space knows; and, where that leaves fewer weights, their lowest rank instead.
        """
        low_ranks = self._ranks_below_sparsity()
        searched = [parameter.choices for parameter in self.parameters if parameter.knob == "quantization"]
        formats = dict.fromkeys(mode for choices in searched for mode in choices)
        found: dict[Policy, None] = {}
        for mode in formats or {Quantization.FLOAT32: None}:
            for pick_fewest_clusters, ranked in product((True, False), dict.fromkeys((low_ranks, frozenset()))):
                choice = {}
                for parameter in self.parameters:
                    last = len(parameter.choices) - 1
                    if parameter.knob == "quantization":
                        choice[parameter.name] = nearest_choice("quantization", parameter.choices, mode)
                    elif parameter.knob == "clusters":
                        choice[parameter.name] = last if pick_fewest_clusters else 0
                    elif parameter.knob == "rank":
                        choice[parameter.name] = last if parameter.name in ranked else 0
                    else:
                        choice[parameter.name] = last
                found[self.policy(choice)] = None
        return tuple(found)

    def _ranks_below_sparsity(self) -> frozenset[str]:
        """Return the parameters whose lowest rank leaves fewer weights than the highest sparsity of the same layers."""
        specs = {spec.name: spec for spec in self.layers}
        highest = {each.layers: each.choices[-1] for each in self.parameters if each.knob == "sparsity"}
        found = set()
        for each in self.parameters:
            if each.knob == "rank":
                first = each.layers[0]
                sparsity = highest.get(each.layers, self.fixed[first].get("sparsity", 0.0))
                if share_of(specs[first], each.choices[-1], made=1.0, read=1.0) < 1 - sparsity:
                    found.add(each.name)
        return frozenset(found)

    def _normal(self, policies: Mapping[str, LayerPolicy]) -> Policy:
        return Policy(tuple((spec.name, spec.normal_form(without_idle_rank(spec, policies))) for spec in self.layers))


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
            decided[layer].update(_read_knobs(str(pattern), knobs))
    return Policy(tuple((name, _layer_policy(name, knobs)) for name, knobs in decided.items()))


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
    groups = _groups(names, settings, pinned)
    for group in _channel_groups(layers, groups):
        held = [pinned[name]["channels"] for name in group if name in pinned]
        choices = (
            (held[0],)
            if held
            else _group_choices([spec for spec in layers if spec.name in group], "channels", settings)
        )
        if len(choices) > 1:
            parameters.append(Parameter(name=f"{group[0]}.channels", knob="channels", layers=group, choices=choices))
        else:
            for name in group:
                fixed[name]["channels"] = choices[0]
    for group in groups:
        specs = [spec for spec in layers if spec.name in group]
        for knob in KNOBS[1:]:
            choices = _group_choices(specs, knob, settings)
            if len(choices) > 1:
                parameters.append(Parameter(name=f"{group[0]}.{knob}", knob=knob, layers=group, choices=choices))
            else:
                for name in group:
                    fixed[name][knob] = choices[0]
    return Space(layers=tuple(layers), parameters=tuple(parameters), fixed=fixed)


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


def _pinned(layers: Sequence[LayerSpec], settings: SpaceSettings) -> dict[str, dict[str, Any]]:
    untouched = LayerPolicy()
    specs = {spec.name: spec for spec in layers}
    decided: dict[str, dict[str, Any]] = {}
    for pattern, knobs in settings.pinned.items():
        for name in matching(pattern, list(specs)):
            decided.setdefault(name, {knob: getattr(untouched, knob) for knob in KNOBS})
            decided[name].update(_read_knobs(pattern, knobs))
    policies = {name: _layer_policy(name, knobs) for name, knobs in decided.items()}
    for name, policy in policies.items():
        specs[name].check(policy)
    _check_channel_groups([specs[name] for name in specs if name in policies], policies)
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


def _check_channel_groups(layers: Sequence[LayerSpec], policies: Mapping[str, LayerPolicy]) -> None:
    firsts: dict[str, str] = {}
    for spec in layers:
        if spec.channels:
            first = firsts.setdefault(spec.channel_group, spec.name)
            if policies[spec.name].channels != policies[first].channels:
                raise ConfigurationError(
                    f"Layers '{first}' and '{spec.name}' are joined, so they must keep the same `channels`, got "
                    f"{policies[first].channels} and {policies[spec.name].channels}."
                )


def _group_choices(specs: Sequence[LayerSpec], knob: str, settings: SpaceSettings) -> tuple[Any, ...]:
    offered = [_layer_choices(spec, knob, settings) for spec in specs]
    common = [value for value in offered[0] if all(value in other for other in offered[1:])]
    if not common:
        raise ConfigurationError(f"The group of '{specs[0].name}' has no `{knob}` in common.")
    if knob == "rank":
        common = list(dict.fromkeys(_common_rank(specs, energy) for energy in common))
    return ordered(knob, common)


def _common_rank(specs: Sequence[LayerSpec], energy: float | None) -> int | None:
    """Return the rank at which every layer keeps a share of its energy; ``None`` where that makes none smaller."""
    if energy is None:
        return None
    rank = max(spec.rank_of(energy) or len(spec.energies) + 1 for spec in specs)
    return rank if any(rank <= len(spec.energies) for spec in specs) else None


def _layer_choices(spec: LayerSpec, knob: str, settings: SpaceSettings) -> tuple[Any, ...]:
    asked: tuple[Any, ...] = settings.choices.get(knob, DEFAULT_CHOICES[knob])
    for pattern, knobs in settings.layers.items():
        if knob in knobs and (pattern == spec.name or fnmatchcase(spec.name, pattern)):
            asked = knobs[knob]
    values = [read_choice(knob, value) for value in asked]
    supported = [value for value in dict.fromkeys(values) if supports(spec, knob, value)]
    if not supported:
        reason = spec.refusals.get(str(values[0]) if knob == "quantization" else knob, "")
        raise ConfigurationError(
            f"Layer '{spec.name}' supports none of the `{knob}` choices {[str(value) for value in values]}. {reason}"
        )
    return tuple(supported)


def _read_knobs(pattern: str, knobs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {knob: read_knob(knob, value) for knob, value in knobs.items()}
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (layer '{pattern}')") from None


def _layer_policy(name: str, knobs: Mapping[str, Any]) -> LayerPolicy:
    try:
        return LayerPolicy(**knobs)
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} (layer '{name}')") from None
