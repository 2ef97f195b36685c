"""The knobs of one model, the choices for each, and the rules between them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from paretune.spaces.errors import ConfigurationError
from paretune.spaces.knobs.known import KNOBS
from paretune.spaces.policies.blocks import check_blocks, without_broken_blocks
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.normal_form import check_possible, normal_form, without_idle_rank
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.policies.reading import policy_of_names
from paretune.spaces.policies.shares import share_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One knob of one layer, or of the layers of a group, with at least two choices.

    Attributes:
        name: ``LAYER.KNOB``, with the group's first layer.
        knob: One of :data:`~paretune.spaces.knobs.known.KNOBS`.
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
        return KNOBS[self.knob].is_ordered


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
                layer does not support, layers that keep other channels than those they are joined with, or blocks of
                weights in a layer that channels or a rank leave no whole number of.
        """
        policies = dict(policy_of_names(document, [spec.name for spec in self.layers]))
        for spec in self.layers:
            check_possible(spec, policies[spec.name])
        check_channel_groups(self.layers, policies)
        check_blocks(self.layers, policies)
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
                _meant(specs[layer], specs, {**decided, layer: replace(decided[layer], **{parameter.knob: value})})
                == decided[layer]
                for layer in parameter.layers
            ):
                return index
        return None

    def nearest(self, wish: LayerPolicy) -> tuple[Policy, dict[str, int]]:
        """Return the policy nearest to deciding ``wish`` about every layer, and its indices."""
        choice = {
            each.name: KNOBS[each.knob].nearest(each.choices, getattr(wish, each.knob)) for each in self.parameters
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
                        choice[parameter.name] = KNOBS["quantization"].nearest(parameter.choices, mode)
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
        specs = {spec.name: spec for spec in self.layers}
        return Policy(tuple((spec.name, _meant(spec, specs, policies)) for spec in self.layers))


def _meant(spec: LayerSpec, layers: Mapping[str, LayerSpec], policies: Mapping[str, LayerPolicy]) -> LayerPolicy:
    """Return the canonical spelling of what a policy decides about one layer."""
    return normal_form(spec, without_broken_blocks(spec, without_idle_rank(spec, policies), layers, policies))


def check_channel_groups(layers: Sequence[LayerSpec], policies: Mapping[str, LayerPolicy]) -> None:
    """Raise :class:`ConfigurationError` unless layers that are joined keep the same channels."""
    firsts: dict[str, str] = {}
    for spec in layers:
        if spec.channels:
            first = firsts.setdefault(spec.channel_group, spec.name)
            if policies[spec.name].channels != policies[first].channels:
                raise ConfigurationError(
                    f"Layers '{first}' and '{spec.name}' are joined, so they must keep the same `channels`, got "
                    f"{policies[first].channels} and {policies[spec.name].channels}."
                )
