"""Lower the rank of the kernels of a model, as a policy asks."""

from collections.abc import Mapping
from typing import Any

from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.ranks.spectrum import nearest_of_rank
from paretune.spaces.policies.policy import Policy


def ranks_of(policy: Policy) -> Mapping[str, int]:
    """Return the ranks of the layers that have one."""
    return {name: decided.rank for name, decided in policy.items() if decided.rank is not None}


def with_low_ranks(model: Any, weights: LayerWeights, policy: Policy, decomposition: str) -> LayerWeights:
    """Return the weights with the nearest kernels of the ranks that a policy asks for.

    Args:
        model: For its architecture.
        weights: Trained; those of removed channels are zero, and stay so.
        policy: What is asked.
        decomposition: How ranks split kernels.
    """
    result = dict(weights)
    for name, rank in ranks_of(policy).items():
        layer = model.get_layer(name)
        compressed = {id(variable) for variable in compressed_variables(layer)}
        result[name] = [
            nearest_of_rank(values, rank, decomposition) if id(variable) in compressed else values
            for variable, values in zip(layer.weights, weights[name], strict=True)
        ]
    return result
