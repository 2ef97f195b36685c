"""Channel groups: the layers of a model whose channels are removed together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.channels.flow import ChannelFlow, Slice, follow_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Layers that are as wide as each other, channel by channel.

    Attributes:
        name: The first of its layers.
        layers: Those that make the channels, in model order.
        orders: For each of these layers, the class of each of its output channels; shape (channels,).
        readers: Layers whose kernels read the channels.
    """

    name: str
    layers: tuple[str, ...]
    orders: tuple[NDArray[np.int64], ...]
    readers: tuple[str, ...]

    @property
    def channels(self) -> int:
        """How many each layer has."""
        return len(self.orders[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChannels:
    """The channels of a model that can be removed.

    Attributes:
        groups: What goes together, in model order.
        slices: By layer: how its variables depend on channels; labels are classes, -1 where a channel always stays.
        read: By layer: the symbolic tensor that its kernel reads, and the classes along its last axis.
        statistics: By layer: the numbers of its variables that are not trained, such as moving means.
        refusals: By layer that makes channels none of which can be removed: why.
    """

    groups: tuple[ChannelGroup, ...]
    slices: Mapping[str, tuple[Slice, ...]]
    read: Mapping[str, tuple[Any, NDArray[np.int64]]]
    statistics: Mapping[str, tuple[int, ...]]
    refusals: Mapping[str, str]

    def group_of(self, layer: str) -> ChannelGroup | None:
        """Return the group of a layer that makes channels; ``None`` where these stay."""
        return next((group for group in self.groups if layer in group.layers), None)

    def read_by(self, layer: str) -> tuple[str, ...]:
        """Return the names of the groups whose channels a layer reads."""
        return tuple(group.name for group in self.groups if layer in group.readers)

    def inputs_each(self, layer: str) -> tuple[int, ...]:
        """Return how many inputs of a layer each channel of the groups is that it reads."""
        if layer not in self.read:
            return ()
        classes = self.read[layer][1]
        return tuple(
            int(np.isin(classes, group.orders[0]).sum()) // group.channels
            for group in self.groups
            if layer in group.readers
        )


def channels_of(model: Any) -> ModelChannels:
    """Find the channels that can be removed from a flat functional model; ``model`` is only read."""
    flow = follow_channels(model)
    refusals = {name: reason for name, labels in flow.made.items() if (reason := flow.classes.why_fixed(labels))}
    free = {name: flow.classes.roots(labels) for name, labels in flow.made.items() if name not in refusals}
    groups = []
    for names in _joined(free):
        classes = set(free[names[0]].tolist())
        if all(len(free[name]) == len(classes) and set(free[name].tolist()) == classes for name in names):
            groups.append(names)
        else:
            refusals |= {name: f"It shares some of its channels with {_others(names, name)}." for name in names}
    removable = {label for names in groups for label in free[names[0]].tolist()}
    read = {name: (tensor, _only(flow, labels, removable)) for name, (tensor, labels) in flow.read.items()}
    return ModelChannels(
        groups=tuple(
            ChannelGroup(
                name=names[0],
                layers=names,
                orders=tuple(free[name] for name in names),
                readers=tuple(name for name, (_, own) in read.items() if np.isin(own, free[names[0]]).any()),
            )
            for names in groups
        ),
        slices={
            name: tuple(Slice(each.variable, each.axis, _only(flow, each.labels, removable)) for each in own)
            for name, own in flow.slices.items()
        },
        read=read,
        statistics={name: _statistics(model.get_layer(name)) for name in flow.slices},
        refusals=refusals,
    )


def _statistics(layer: Any) -> tuple[int, ...]:
    not_trained = {id(variable) for variable in layer.non_trainable_weights}
    return tuple(number for number, variable in enumerate(layer.weights) if id(variable) in not_trained)


def _joined(free: Mapping[str, NDArray[np.int64]]) -> list[tuple[str, ...]]:
    """Return the layers in components that share a class, in model order."""
    components: list[tuple[list[str], set[int]]] = []
    for name, roots in free.items():
        own = set(roots.tolist())
        touching = [component for component in components if component[1] & own]
        merged = [each for component in touching for each in component[0]] + [name]
        classes = own.union(*(component[1] for component in touching))
        components = [component for component in components if component not in touching] + [(merged, classes)]
    places = {name: place for place, name in enumerate(free)}
    ordered = [tuple(sorted(names, key=lambda name: places[name])) for names, _ in components]
    return sorted(ordered, key=lambda names: places[names[0]])


def _only(flow: ChannelFlow, labels: NDArray[np.int64], removable: set[int]) -> NDArray[np.int64]:
    roots = flow.classes.roots(labels)
    return np.where(np.isin(roots, list(removable)), roots, -1)


def _others(names: tuple[str, ...], name: str) -> str:
    return ", ".join(f"'{other}'" for other in names if other != name) or "itself"
