"""Give inputs that take any length the shape of the data: a file is made for one shape."""

from typing import Any

from paretune.objectives.data.dataset import Dataset
from paretune.objectives.keras_door import keras
from paretune.spaces.errors import DataError, ModelRefused


def with_fixed_shapes(model: Any, data: Dataset) -> tuple[Any, tuple[str, ...]]:
    """Return the model with inputs of the data's shapes, and what was fixed, one sentence each.

    Args:
        model: The working copy; it is returned as it is where all its shapes are known.
        data: What it is to be trained and measured on.

    Raises:
        DataError: The splits differ in a shape that has to be fixed.
        ModelRefused: The model cannot be built for that shape.
    """
    notes, inputs = [], []
    for position, (name, tensor) in enumerate(zip(model.input_names, model.inputs, strict=True)):
        shape = tuple(data.train.inputs[position].shape[1:])
        if None in tensor.shape[1:]:
            for split, samples in data.splits().items():
                if samples.inputs[position].shape[1:] != shape:
                    raise DataError(
                        f"Input '{name}' takes any length, but all data must have one, because a file is made for one: "
                        f"x_train has {shape}, x_{split} has {samples.inputs[position].shape[1:]}; pad or cut the rows."
                    )
            notes.append(f"Input '{name}' takes any length; files are made for that of the data, {shape}.")
        inputs.append(keras.Input(shape, dtype=tensor.dtype, name=name))
    if not notes:
        return model, ()
    try:
        fixed = keras.models.clone_model(model, input_tensors=inputs if len(inputs) > 1 else inputs[0])
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelRefused(f"The model cannot take the shape of the data: {reason}") from error
    for layer in fixed.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return fixed, tuple(notes)
