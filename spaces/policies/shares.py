"""Which share of its weights a layer stores under a policy that takes channels out, or lowers a rank."""

from collections.abc import Mapping

from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.policy import LayerPolicy


def kept_share(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> float:
    """Return about which share of its kernel weights a layer stores: channels go that it makes, and that it reads.

    Of a layer with a rank, two kernels are stored.
    """
    return share_of(spec, policy[spec.name].rank, made=policy[spec.name].channels, read=share_read(spec, policy))


def share_of(spec: LayerSpec, rank: int | None, *, made: float, read: float) -> float:
    """Return which share of its kernel weights a layer stores that keeps these shares of its outputs and its inputs."""
    if rank is None:
        return made * read
    rows, columns = spec.matrix
    return rank * (read * rows + made * columns) / (rows * columns)


def share_read(spec: LayerSpec, policy: Mapping[str, LayerPolicy]) -> float:
    """Return which share of its inputs a layer keeps: the mean of the channel groups that it reads."""
    read = [policy[group].channels for group in spec.reads]
    return sum(read) / len(read) if read else 1.0
