"""The knobs of one model, the choices for each, and the rules between them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.layers import LayerSpec
from paretune.spaces.policy import KNOBS, LayerPolicy, Policy, Quantization, read_knob
from paretune.spaces.suggest import nearest

DEFAULT_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "clusters": (None, 32, 16, 8, 4),
    "quantization": tuple(Quantization),
}

#: What stands in for a number format that a layer does not offer, nearest first.
_STAND_INS: Mapping[Quantization, tuple[Quantization, ...]] = {
    Quantization.INT8_QAT: (Quantization.INT8, Quantization.DYNAMIC_INT8, Quantization.INT16X8, Quantization.FLOAT16),
    Quantization.INT8: (Quantization.INT8_QAT, Quantization.DYNAMIC_INT8, Quantization.INT16X8, Quantization.FLOAT16),
    Quantization.INT16X8: (Quantization.INT8, Quantization.DYNAMIC_INT8, Quantization.FLOAT16),
    Quantization.DYNAMIC_INT8: (Quantization.INT8, Quantization.INT8_QAT, Quantization.FLOAT16),
    Quantization.INT4: (
        Quantization.INT4_BLOCK,
        Quantization.DYNAMIC_INT8,
        Quantization.INT8,
        Quantization.FLOAT16,
    ),
    Quantization.INT4_BLOCK: (
        Quantization.INT4,
        Quantization.DYNAMIC_INT8,
        Quantization.INT8,
        Quantization.FLOAT16,
    ),
    Quantization.FLOAT16: (),
    Quantization.FLOAT32: (),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSettings:
    """What an experiment file says about its space; names are layer names or globs.

    Attributes:
        choices: Values by knob, for every layer; a knob that is left out takes :data:`DEFAULT_CHOICES`.
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
        knob: ``sparsity``, ``clusters`` or ``quantization``.
        layers: The layers it decides about.
        choices: Values in order; sparsity ascends, clusters descend from none: the later, the smaller the file.
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
            ConfigurationError: On a name that matches no layer, an unknown knob, a value out of range, or a knob that
                a layer does not support.
        """
        policies = dict(policy_of_names(document, [spec.name for spec in self.layers]))
        for spec in self.layers:
            spec.check(policies[spec.name])
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
            parameter.name: _nearest_choice(parameter, getattr(wish, parameter.knob)) for parameter in self.parameters
        }
        return self.policy(choice), choice

    def smallest(self) -> tuple[Policy, ...]:
        """Return the policies among which the smallest file of the space is found: extremes of every knob.

        All layers take their highest sparsity and fewest clusters, combined once with the fewest bits and once with
        each number format that the space knows.
        """
        searched = [parameter.choices for parameter in self.parameters if parameter.knob == "quantization"]
        formats = dict.fromkeys(mode for choices in searched for mode in choices)
        found: dict[Policy, None] = {}
        for mode in formats or {Quantization.FLOAT32: None}:
            for pick_fewest_clusters in (True, False):
                choice = {}
                for parameter in self.parameters:
                    last = len(parameter.choices) - 1
                    if parameter.knob == "quantization":
                        choice[parameter.name] = _nearest_choice(parameter, mode)
                    elif parameter.knob == "clusters":
                        choice[parameter.name] = last if pick_fewest_clusters else 0
                    else:
                        choice[parameter.name] = last
                found[self.policy(choice)] = None
        return tuple(found)

    def _normal(self, policies: Mapping[str, LayerPolicy]) -> Policy:
        return Policy(tuple((spec.name, spec.normal_form(policies[spec.name])) for spec in self.layers))


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
    for group in _groups(names, settings, pinned):
        specs = [spec for spec in layers if spec.name in group]
        for knob in KNOBS:
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
    for name, knobs in decided.items():
        specs[name].check(_layer_policy(name, knobs))
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


def _group_choices(specs: Sequence[LayerSpec], knob: str, settings: SpaceSettings) -> tuple[Any, ...]:
    offered = [_layer_choices(spec, knob, settings) for spec in specs]
    common = [value for value in offered[0] if all(value in other for other in offered[1:])]
    if not common:
        raise ConfigurationError(f"The group of '{specs[0].name}' has no `{knob}` in common.")
    return tuple(common)


def _layer_choices(spec: LayerSpec, knob: str, settings: SpaceSettings) -> tuple[Any, ...]:
    asked: tuple[Any, ...] = settings.choices.get(knob, DEFAULT_CHOICES[knob])
    for pattern, knobs in settings.layers.items():
        if knob in knobs and (pattern == spec.name or fnmatchcase(spec.name, pattern)):
            asked = knobs[knob]
    values = [read_knob(knob, value) for value in asked]
    for value in values:
        LayerPolicy(**{knob: value})
    supported = [value for value in dict.fromkeys(values) if _supports(spec, knob, value)]
    if not supported:
        reason = spec.refusals.get(str(values[0]) if knob == "quantization" else knob, "")
        raise ConfigurationError(
            f"Layer '{spec.name}' supports none of the `{knob}` choices {[str(value) for value in values]}. {reason}"
        )
    return _ordered(knob, supported)


def _supports(spec: LayerSpec, knob: str, value: Any) -> bool:
    if knob == "sparsity":
        return value == 0 or spec.prunable
    if knob == "clusters":
        return value is None or (spec.clusterable and value < spec.distinct)
    return value in spec.quantizations


def _ordered(knob: str, values: list[Any]) -> tuple[Any, ...]:
    if knob == "sparsity":
        return tuple(sorted(values))
    if knob == "clusters":
        return tuple(sorted(values, key=lambda value: -value if value is not None else -math.inf))
    return tuple(mode for mode in Quantization if mode in values)


def _nearest_choice(parameter: Parameter, wish: Any) -> int:
    if parameter.knob == "quantization":
        for mode in (wish, *_STAND_INS[wish], *parameter.choices):
            if mode in parameter.choices:
                return parameter.choices.index(mode)
    numbers = [math.inf if value is None else float(value) for value in parameter.choices]
    target = math.inf if wish is None else float(wish)
    if parameter.knob == "clusters":
        numbers, target = [1 / number for number in numbers], 1 / target
    return min(range(len(numbers)), key=lambda index: abs(numbers[index] - target))


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
