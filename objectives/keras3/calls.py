"""The calls recorded in the configuration of a functional Keras 3 model, as values.

Each layer lists its calls (``inbound_nodes``); each call its arguments, any structure of plain values and tensors; and
each tensor is named by the call it comes out of.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

#: Masks travel with the tensors in tf_keras; and what a file records for ``training`` is overruled by ``fit`` and
#: ``predict`` in Keras 3 itself.
_LEFT_OUT = ("mask", "query_mask", "value_mask", "key_mask", "training")


@dataclass(frozen=True, slots=True)
class TensorSource:
    """Where a tensor comes from: output ``output`` of call number ``call`` of a layer.

    Its ``shape``, batch first, is known where it is an argument.
    """

    layer: str
    call: int
    output: int
    shape: tuple[int | None, ...] = field(default=(), compare=False)

    @property
    def node(self) -> tuple[str, int]:
        """The call alone."""
        return self.layer, self.call


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a layer; where a tensor was passed, its :class:`TensorSource` stands.

    Masks and ``training`` are left out.
    """

    args: list[Any]
    kwargs: dict[str, Any]

    def sources(self) -> list[TensorSource]:
        """Return the tensors it is called with."""
        return [leaf for leaf in leaves([self.args, self.kwargs]) if isinstance(leaf, TensorSource)]


def read_calls(config: Mapping[str, Any]) -> dict[tuple[str, int], Call]:
    """Return the calls of a functional model's configuration by layer name and number, in the file's order."""
    return {
        (document["name"], number): Call(
            args=list(_read(call["args"])),
            kwargs={
                key: _read(value) for key, value in call["kwargs"].items() if key not in _LEFT_OUT and value is not None
            },
        )
        for document in config["layers"]
        for number, call in enumerate(document["inbound_nodes"])
    }


def read_outputs(config: Mapping[str, Any], nested: Collection[str]) -> list[TensorSource]:
    """Return the tensors that a functional model gives.

    Args:
        config: Of the model.
        nested: Names of the functional models in it. Among the outputs, and nowhere else, their first call has number
            1: number 0 is what they are made of.
    """
    return [
        replace(end, call=end.call - 1) if end.layer in nested else end for end in read_ends(config["output_layers"])
    ]


def read_ends(structure: Any) -> list[TensorSource]:
    """Return the tensors of ``input_layers`` or ``output_layers``, in the order of ``model.inputs``: dicts by key."""
    if isinstance(structure, Mapping):
        return [end for key in sorted(structure) for end in read_ends(structure[key])]
    if len(structure) == 3 and isinstance(structure[0], str):
        return [TensorSource(structure[0], int(structure[1]), int(structure[2]))]
    return [end for part in structure for end in read_ends(part)]


def needed_calls(calls: Mapping[tuple[str, int], Call], ends: Sequence[TensorSource]) -> list[tuple[str, int]]:
    """Return the calls that ``ends`` depend on, in the file's order; calls that only compute masks are left out."""
    needed: set[tuple[str, int]] = set()
    stack = [end.node for end in ends]
    while stack:
        node = stack.pop()
        if node in calls and node not in needed:
            needed.add(node)
            stack.extend(source.node for source in calls[node].sources())
    return [node for node in calls if node in needed]


def leaves(value: Any) -> Iterator[Any]:
    """Visit what a structure of lists, tuples and dicts holds; dicts by key, as Keras does."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from leaves(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def with_tensors(value: Any, tensor: Callable[[TensorSource], Any]) -> Any:
    """Return a structure of arguments with every source replaced by its tensor."""
    if isinstance(value, TensorSource):
        return tensor(value)
    if isinstance(value, Mapping):
        return {key: with_tensors(item, tensor) for key, item in value.items()}
    return [with_tensors(item, tensor) for item in value] if isinstance(value, list | tuple) else value


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        kind, config = value.get("class_name"), value.get("config", {})
        if kind == "__keras_tensor__":
            layer, call, output = config["keras_history"]
            return TensorSource(str(layer), int(call), int(output), tuple(config["shape"]))
        if kind in ("__numpy__", "__tensor__"):
            return np.asarray(config["value"], dtype=config["dtype"])
        if kind == "__slice__":
            return slice(*(_read(config[end]) for end in ("start", "stop", "step")))
        return Ellipsis if kind == "__ellipsis__" else {key: _read(item) for key, item in value.items()}
    return [_read(item) for item in value] if isinstance(value, list | tuple) else value
