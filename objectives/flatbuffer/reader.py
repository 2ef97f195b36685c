"""Read from an exported file what a policy really achieved."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretune.objectives.flatbuffer.graph import Graph, Tensor, read_graph
from paretune.objectives.flatbuffer.pattern_faults import counts_blocks, pattern_faults, stacked_zeros
from paretune.objectives.flatbuffer.places import INNER, OUTER, KernelPlace
from paretune.objectives.flatbuffer.rank_faults import found_rank, rank_faults
from paretune.objectives.flatbuffer.stored import is_stored_as, kernel_tensor, stored_format
from paretune.objectives.kernels.cluster_lines import channel_axis, lines_of
from paretune.objectives.measure.sizes import deflated_bytes
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.candidates.stage_recipes import TENSOR
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.layers import LayerSpec
from paretune.spaces.policies.patterns import UNSTRUCTURED
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.shares import kept_share
from paretune.spaces.results.measurement import Fidelity, LayerFidelity

_NO_KERNEL = np.zeros((0, 0, 0), dtype=bool)


@dataclass(frozen=True, slots=True)
class _Count:
    """What one variable of a layer looks like in the file.

    ``is_zero`` marks its zeros, as :func:`~paretune.objectives.flatbuffer.pattern_faults.stacked_zeros` arranges them.
    """

    weights: int
    zeros: int
    rounding_zeros: int
    distinct: int
    scope: str
    is_zero: np.ndarray


def read_fidelity(
    template: FloatTemplate,
    float_file: bytes,
    exported: bytes,
    policy: Policy,
    layers: Sequence[LayerSpec],
    *,
    pattern: str = UNSTRUCTURED,
    cluster_scope: str = TENSOR,
    decomposition: str = CHANNELS,
) -> Fidelity:
    """Compare an exported file with the policy it was made for, layer by layer.

    A layer with several kernels (a recurrent one) is counted kernel by kernel: weights and zeros are added up, the
    larger number of distinct values is told. A kernel that the converter split is counted as a whole, and so are the
    two kernels of a layer with a rank.

    A layer is at fault when it has other channels than asked; when it is not stored as two kernels that meet in as many
    channels as its rank, or as the smaller side of what removed channels left of it, or these have other windows than
    the decomposition gives them; when a kernel has fewer zeros than
    asked, less one, not counting those that rounding added; when it has more distinct values than clusters were asked;
    or when it is not stored in the format asked. Where the zeros of a kernel keep to a pattern, it is at fault when
    they do not; blocks of zeros are then counted instead of zeros. Layers that lost channels are pruned without a
    pattern.

    Args:
        template: Tells where the kernels of ``float_file`` are.
        float_file: The file before number formats.
        exported: The file that would ship.
        policy: What was asked.
        layers: The layers to read.
        pattern: What the zeros of pruned layers keep to.
        cluster_scope: What shares one set of clusters: the whole ``tensor``, or each ``channel``, by which distinct
            values are always counted then.
        decomposition: How ranks split kernels.

    Raises:
        MeasurementFailed: One of the files lacks a kernel that the template has.
    """
    graphs = read_graph(float_file), read_graph(exported)
    return Fidelity(
        tuple(
            _read_layer(
                *graphs,
                layer,
                policy[layer.name],
                template.places.get(layer.name, ()),
                pattern=pattern if kept_share(layer, policy) == 1 else UNSTRUCTURED,
                by_channel=channel_axis(layer.kind, cluster_scope) is not None,
                decomposition=decomposition,
            )
            for layer in layers
        )
    )


def _read_layer(
    before: Graph,
    after: Graph,
    spec: LayerSpec,
    requested: LayerPolicy,
    places: Sequence[KernelPlace],
    *,
    pattern: str,
    by_channel: bool,
    decomposition: str,
) -> LayerFidelity:
    layer = spec.name
    compressed = [place for place in places if place.compressed]
    variables = sorted({place.variable for place in compressed})
    counts = [
        _count(before, after, [place for place in compressed if place.variable == number], by_channel=by_channel)
        for number in variables
    ]
    stored = {place.tensor: stored_format(after, place) for place in places}
    channels = _channels(after, compressed) if spec.channels else 0
    faults = [
        *_channel_faults(spec, requested, channels),
        *rank_faults(after, layer, requested, compressed, decomposition),
        *_sparsity_faults(layer, requested, counts, pattern),
        *_cluster_faults(layer, requested, counts),
        *_format_faults(layer, requested, places, stored),
    ]
    return LayerFidelity(
        layer=layer,
        requested=requested,
        channels=channels,
        rank=found_rank(after, compressed),
        weights=sum(count.weights for count in counts),
        zeros=sum(count.zeros for count in counts),
        rounding_zeros=sum(count.rounding_zeros for count in counts),
        distinct=max((count.distinct for count in counts), default=0),
        distinct_scope=min((count.scope for count in counts), key=_SCOPES.index, default="tensor"),
        stored_as=" and ".join(sorted(set(stored.values()))) or "nothing",
        deflated_bytes=_deflated_bytes(after, compressed),
        faults=tuple(faults),
    )


def _deflated_bytes(graph: Graph, places: Sequence[KernelPlace]) -> int:
    kernels = [kernel_tensor(graph, place) for place in places]
    scales = [graph.tensors[kernel.subgraph][kernel.block_scales] for kernel in kernels if kernel.block_size]
    tensors = [*kernels, *scales]
    spans = {(tensor.offset, tensor.length) for tensor in tensors}  # a layer that is used twice is stored once
    return sum(deflated_bytes(graph.file[start : start + length]) for start, length in spans)


def _channels(graph: Graph, places: Sequence[KernelPlace]) -> int:
    made = [kernel_tensor(graph, place).shape[place.channel_axis] for place in places if place.part != INNER]
    return max(made, default=0)


def _channel_faults(spec: LayerSpec, requested: LayerPolicy, found: int) -> list[str]:
    wanted = spec.kept_channels(requested.channels)
    if not spec.channels or found == wanted:
        return []
    return [f"Layer '{spec.name}' must keep {wanted} of {spec.channels} channels, found {found}."]


def _sparsity_faults(layer: str, requested: LayerPolicy, counts: Sequence[_Count], pattern: str) -> list[str]:
    if requested.sparsity == 0:
        return []
    faults = []
    for count in counts:
        faults += pattern_faults(layer, requested.sparsity, pattern, count.is_zero)
        if counts_blocks(pattern, count.is_zero):
            continue
        wanted = count.weights - round(count.weights * (1 - requested.sparsity))
        kept = count.zeros - count.rounding_zeros
        if kept < wanted - 1:
            faults.append(
                f"Layer '{layer}' must have {wanted} of {count.weights} weights zero "
                f"(sparsity {requested.sparsity:.4g}), found {kept} ({kept / count.weights:.4g})."
            )
    return faults


def _cluster_faults(layer: str, requested: LayerPolicy, counts: Sequence[_Count]) -> list[str]:
    allowed = requested.clusters
    if allowed is None:
        return []
    return [
        f"Layer '{layer}' must have at most {allowed} distinct weights per {count.scope}, found {count.distinct}."
        for count in counts
        if count.distinct > allowed
    ]


def _format_faults(
    layer: str, requested: LayerPolicy, places: Sequence[KernelPlace], stored: dict[str, str]
) -> list[str]:
    if not places and not requested.is_untouched:
        return [f"Layer '{layer}' must have a kernel in the file, none was found."]
    wrong = {
        stored[place.tensor]
        for place in places
        if not is_stored_as(requested.quantization, stored[place.tensor], place)
    }
    return [f"Layer '{layer}' must be stored as {requested.quantization}, found {found}." for found in sorted(wrong)]


def _count(before: Graph, after: Graph, places: Sequence[KernelPlace], *, by_channel: bool) -> _Count:
    """Count one variable. A layer that is used twice has its parts in the file twice: one of each counts."""
    parts = list({place.part: place for place in reversed(places)}.values())
    tensors = [kernel_tensor(after, place) for place in parts]
    originals = [before.stored(kernel_tensor(before, place)) for place in parts]
    stored = [after.stored(tensor) for tensor in tensors]
    now_zero = [_is_zero(values, tensor) for values, tensor in zip(stored, tensors, strict=True)]
    kept = sum(int(np.sum(zero & (original == 0))) for zero, original in zip(now_zero, originals, strict=True))
    zeros = sum(int(zero.sum()) for zero in now_zero)
    lines = [
        _lines(place, tensor, values, by_channel=by_channel)
        for place, tensor, values in zip(parts, tensors, stored, strict=True)
    ]
    scope = min((each for each, _ in lines), key=_SCOPES.index)
    if len(parts) > 1 and scope == "tensor":
        distinct = _most_distinct(np.concatenate([after.values(tensor).reshape(1, -1) for tensor in tensors], axis=1))
    else:
        distinct = max(_most_distinct(each) for _, each in lines)
    is_ranked = any(place.part in (INNER, OUTER) for place in parts)  # then no zeros were asked
    return _Count(
        weights=sum(values.size for values in stored),
        zeros=zeros,
        rounding_zeros=zeros - kept,
        distinct=distinct,
        scope=scope,
        is_zero=_NO_KERNEL if is_ranked else stacked_zeros(list(zip(parts, now_zero, strict=True))),
    )


def _is_zero(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    if tensor.zero_points is None:
        return np.asarray(stored == 0)
    along = [1] * stored.ndim
    along[tensor.channel_axis] = -1
    zeros = np.asarray(tensor.zero_points)
    return np.asarray(stored == (zeros.reshape(along) if zeros.size > 1 else zeros.reshape(-1)[0]))


#: What distinct values are counted in, the smallest first.
_SCOPES = ("block", "channel", "tensor")


def _lines(place: KernelPlace, tensor: Tensor, values: np.ndarray, *, by_channel: bool) -> tuple[str, np.ndarray]:
    """Return what distinct values are counted in, and the values as lines that are counted one by one."""
    if tensor.block_size:
        return "block", values.reshape(-1, tensor.block_size)
    axis = place.channel_axis if by_channel else _scaled_axis(place, tensor)
    return "tensor" if axis is None else "channel", lines_of(values, axis)


def _scaled_axis(place: KernelPlace, tensor: Tensor) -> int | None:
    """Return the axis along which weights are scaled apart, so that equal ones may differ: a scale or a norm each."""
    if tensor.scales is not None and len(tensor.scales) > 1:
        return tensor.channel_axis
    if place.channel_axis in place.folded_axes:
        return place.channel_axis
    return place.folded_axes[0] if place.folded_axes else None


def _most_distinct(lines: np.ndarray) -> int:
    """Return the largest number of distinct values in any line; shape (lines, values)."""
    ordered = np.sort(lines, axis=1)
    return int((np.diff(ordered.astype(np.float64), axis=1) != 0).sum(axis=1).max(initial=0)) + 1
