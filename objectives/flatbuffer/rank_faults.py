"""Whether a kernel of low rank is in the file as two, and as which."""

from collections.abc import Sequence

from paretune.objectives.flatbuffer.graph import Graph
from paretune.objectives.flatbuffer.places import INNER, OUTER, KernelPlace
from paretune.objectives.flatbuffer.stored import kernel_tensor
from paretune.spaces.policies.decompositions import CHANNELS, decomposition_of
from paretune.spaces.policies.policy import LayerPolicy


def found_rank(graph: Graph, places: Sequence[KernelPlace]) -> int:
    """Return in how many channels the two kernels of a layer meet; 0 where the kernel is whole."""
    return max((kernel_tensor(graph, place).shape[0] for place in places if place.part == INNER), default=0)


def rank_faults(
    graph: Graph, layer: str, requested: LayerPolicy, places: Sequence[KernelPlace], decomposition: str
) -> list[str]:
    """Return in what the kernels of a layer differ from the rank that was asked, one sentence each.

    Args:
        graph: The exported file.
        layer: Its name.
        requested: What was asked of it.
        places: Its kernels.
        decomposition: How ranks split kernels.
    """
    found = found_rank(graph, places)
    if requested.rank is None:
        return [f"Layer '{layer}' must be stored as one kernel, found two of rank {found}."] if found else []
    if not found:
        return [f"Layer '{layer}' must be stored as two kernels of rank {requested.rank}, found one."]
    first, second = (next(each for each in places if each.part == part) for part in (INNER, OUTER))
    inner, outer = kernel_tensor(graph, first), kernel_tensor(graph, second)
    windows = inner.shape[1:-1], outer.shape[1:-1]
    wanted_windows = _windows(second.shape, decomposition)
    if windows != wanted_windows:
        return [f"Layer '{layer}' must have kernels of windows {_shown(wanted_windows)}, found {_shown(windows)}."]
    wanted = min(requested.rank, inner.elements // inner.shape[0], outer.elements // outer.shape[-1])
    if found == outer.shape[-1] == wanted:
        return []
    return [f"Layer '{layer}' must have rank {wanted}, found kernels of rank {found} and {outer.shape[-1]}."]


def _windows(whole: tuple[int, ...], decomposition: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the windows of the two kernels that one is split into, from its shape in the file."""
    outputs, *window, inputs = whole
    if decomposition_of((*window, inputs, outputs), decomposition) == CHANNELS:
        return tuple(window), tuple(1 for _ in window)
    height, width = window
    return (height, 1), (1, width)


def _shown(windows: Sequence[tuple[int, ...]]) -> str:
    return " and ".join("x".join(map(str, window)) for window in windows)
