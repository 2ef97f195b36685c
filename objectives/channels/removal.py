"""What it does to the weights of a model to remove channels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.channels.groups import ChannelGroup, ModelChannels
from paretune.objectives.kernels.weights import LayerWeights
from paretune.spaces.policies.policy import Policy

#: Rank of the channels of a group, the least important first: the classes in the order in which they go.
Ranking = Mapping[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """The channels that a policy removes.

    Attributes:
        channels: Those of the model.
        dead: Classes that go.
    """

    channels: ModelChannels
    dead: NDArray[np.int64]

    @property
    def narrowed(self) -> frozenset[str]:
        """The layers of which some weights go."""
        return frozenset(
            name
            for name, own in self.channels.slices.items()
            if any(np.isin(each.labels, self.dead).any() for each in own)
        )

    def kept(self) -> dict[str, NDArray[np.bool_]]:
        """Return, for every layer that loses output channels, which of them stay."""
        return {
            name: ~np.isin(order, self.dead)
            for group in self.channels.groups
            for name, order in zip(group.layers, group.orders, strict=True)
            if np.isin(order, self.dead).any()
        }

    def without(self, weights: LayerWeights) -> LayerWeights:
        """Return the weights with zeros for all that makes or reads a removed channel.

        Statistics of norms stay: nothing depends on them any more.
        """
        result = {name: list(arrays) for name, arrays in weights.items()}
        for name in self.narrowed:
            for each in self.channels.slices[name]:
                alive = ~np.isin(each.labels, self.dead)
                if alive.all() or each.variable in self.channels.statistics.get(name, ()):
                    continue
                array = result[name][each.variable]
                along = [1] * array.ndim
                along[each.axis] = -1
                result[name][each.variable] = array * alive.reshape(along).astype(array.dtype)
        return result


def removal_of(channels: ModelChannels, policy: Policy, ranking: Ranking) -> Removal:
    """Return what a policy removes: of every group, the channels that come first in its ranking."""
    dead = [
        ranking[group.name][: group.channels - _kept(group, policy)]
        for group in channels.groups
        if group.name in policy and policy[group.name].channels < 1
    ]
    return Removal(channels, np.concatenate(dead) if dead else np.zeros(0, np.int64))


def _kept(group: ChannelGroup, policy: Policy) -> int:
    return max(1, round(group.channels * policy[group.name].channels))
