"""Write smaller tensors into a ``.tflite`` file that is held as objects of its schema."""

from collections import Counter
from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from paretune.objectives.shrinking.channel_masks import Mask

#: What a constant becomes wherever it is used, by place of the operator and number of the input; ``None`` where it
#: stays.
Uses = dict[tuple[int, int], NDArray[Any] | None]


def shrink_activations(subgraph: Any, masks: Mapping[int, Mask]) -> None:
    """Give computed tensors the shape of what stays of them, by number of the tensor."""
    for number, mask in masks.items():
        tensor, left = subgraph.tensors[number], int(mask.kept.sum())
        tensor.shape[mask.axis] = left
        if tensor.shapeSignature is not None and tensor.shapeSignature[mask.axis] >= 0:
            tensor.shapeSignature[mask.axis] = left


def replace_constants(model: Any, constants: Mapping[int, Uses]) -> None:
    """Replace constants of the first subgraph, by number of the tensor.

    The converter lets operators share a tensor, and tensors a buffer, where constants are equal. A tensor that its
    users need in several versions becomes several, and the first keeps the name; a buffer likewise.
    """
    subgraph = model.subgraphs[0]
    changed = {number: uses for number, uses in constants.items() if any(each is not None for each in uses.values())}
    wanted: dict[int, NDArray[Any]] = {}
    for number, uses in changed.items():
        wanted |= _apart(subgraph, number, uses)
    users = Counter(tensor.buffer for graph in model.subgraphs for tensor in graph.tensors)
    shared = {buffer for buffer, count in users.items() if count > 1}
    written: dict[tuple[int, bytes], int] = {}
    for number, constant in wanted.items():
        tensor = subgraph.tensors[number]
        old, data = tensor.buffer, np.ascontiguousarray(constant).reshape(-1).view(np.uint8)
        tensor.shape = list(constant.shape)
        if old not in shared:
            model.buffers[old].data = data
            continue
        key = old, data.tobytes()
        if key not in written:
            written[key] = add_buffer(model, data)
        tensor.buffer = written[key]
        users[old] -= 1
        if not users[old]:
            model.buffers[old].data = None


def _apart(subgraph: Any, number: int, uses: Uses) -> dict[int, NDArray[Any]]:
    """Make a tensor for every version of a constant, let operators use theirs, and return the versions by number."""
    versions: list[tuple[int, NDArray[Any] | None]] = []
    for (position, place), constant in uses.items():
        own = next((known for known, version in versions if _same(version, constant)), None)
        if own is None:
            own = number if not versions else _add_copy(subgraph, number)
            versions.append((own, constant))
        subgraph.operators[position].inputs[place] = own
    return {own: constant for own, constant in versions if constant is not None}


def _same(one: NDArray[Any] | None, other: NDArray[Any] | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _add_copy(subgraph: Any, number: int) -> int:
    """Add a tensor like another one under a name of its own: ai-edge-quantizer tells tensors apart by name."""
    twin = copy(subgraph.tensors[number])
    twin.name = unused_name(subgraph, twin.name)
    subgraph.tensors.append(twin)
    return len(subgraph.tensors) - 1


def unused_name(subgraph: Any, name: bytes) -> bytes:
    """Return a name, numbered if a tensor has it."""
    taken, count, free = {tensor.name for tensor in subgraph.tensors}, 1, name
    while free in taken:
        count += 1
        free = name + b"#%d" % count
    return free


def add_buffer(model: Any, data: NDArray[np.uint8]) -> int:
    """Add the bytes of a constant."""
    buffer = schema.BufferT()
    buffer.data = data
    model.buffers.append(buffer)
    return len(model.buffers) - 1
