"""Removes the channels that a policy does not keep."""

from collections.abc import Sequence
from typing import Any

from paretune.objectives.channels.groups import ModelChannels, channels_of
from paretune.objectives.channels.ranking import rank_channels
from paretune.objectives.channels.removal import Ranking, Removal, removal_of
from paretune.objectives.data.rows import Rows
from paretune.objectives.kernels.weights import LayerWeights
from paretune.spaces.policies.policy import Policy


class ChannelRemover:
    """Knows the channels of one model, and ranks them once for each criterion.

    Args:
        model: The working copy, with ``weights``; it is only read.
        weights: The trained weights.
        inputs: Training samples for each input.

    Attributes:
        channels: What can be removed.
    """

    def __init__(self, model: Any, weights: LayerWeights, inputs: Sequence[Rows]) -> None:
        self.channels: ModelChannels = channels_of(model)
        self._model = model
        self._weights = weights
        self._inputs = inputs
        self._rankings: dict[str, Ranking] = {}

    def removal(self, policy: Policy, criterion: str) -> Removal:
        """Return the channels that a policy removes, the least important ones by a criterion."""
        if criterion not in self._rankings:
            self._rankings[criterion] = rank_channels(
                criterion, self._model, self.channels, self._weights, self._inputs
            )
        return removal_of(self.channels, policy, self._rankings[criterion])
