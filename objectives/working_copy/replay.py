"""Run the graph of a functional model again, with something else in place of its layers."""

from collections.abc import Callable
from typing import Any

from paretune.objectives.keras_door import keras, tf

#: Takes a layer, its arguments and its keyword arguments, and returns its outputs.
Call = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def replay_model(model: Any, call: Call, enter: Callable[[str, Any], Any] = lambda name, tensor: tensor) -> Any:
    """Build a functional model with inputs of the same names, in which ``call`` stands for every layer call.

    Inputs and outputs come in the same order, as a list where there are several; float inputs become float32.
    ``enter`` takes the name and the tensor of each input, and returns what the layers get.
    """
    inputs = [
        keras.Input(tuple(tensor.shape[1:]), dtype="float32" if tensor.dtype.is_floating else tensor.dtype, name=name)
        for name, tensor in zip(model.input_names, model.inputs, strict=True)
    ]
    entered = [enter(name, tensor) for name, tensor in zip(model.input_names, inputs, strict=True)]
    outputs = replay(model, entered, call)
    return keras.Model(_single_or_list(inputs), _single_or_list(outputs), name=model.name)


def replay(model: Any, inputs: list[Any], call: Call) -> list[Any]:
    """Run a graph again on other tensors, with ``call`` in place of every layer call.

    This is what Keras does itself in ``Functional._run_internal_graph``.

    Args:
        model: A functional or Sequential model.
        inputs: One tensor per model input.
        call: Takes the layer, its arguments and its keyword arguments, and returns its outputs.

    Returns:
        One tensor per model output.
    """
    known: dict[str, Any] = {str(id(old)): new for old, new in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            arguments = {tensor_id: [known[tensor_id]] * len(node.flat_input_ids) for tensor_id in node.flat_input_ids}
            args, kwargs = node.map_arguments(arguments)
            outputs = call(node.layer, args, kwargs)
            known.update(zip(node.flat_output_ids, tf.nest.flatten(outputs), strict=True))
    return [known[str(id(output))] for output in model.outputs]


def _single_or_list(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
