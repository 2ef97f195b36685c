"""The kernels of einsum layers, attention among them: which of their axes are read, and which are made."""

from typing import Any


def read_axes(equation: str) -> int | None:
    """Return how many axes of the kernel of an EinsumDense are summed over, where it is a matrix of inputs by outputs.

    It is one if the axes that are summed over come first, in the order of the inputs, and those that it makes come
    after, in the order of the outputs: then TensorFlow Lite stores it as that matrix. A kernel with an axis that
    inputs and outputs share is a matrix for each position of it.

    Args:
        equation: Such as ``abc,cde->abde``; an ellipsis stands for axes that the kernel has no part in.

    Returns:
        The count, or ``None`` where the kernel is no such matrix.
    """
    given, _, made = equation.replace(" ", "").replace("...", "").partition("->")
    inputs, _, kernel = given.partition(",")
    summed = [axis for axis in inputs if axis in kernel and axis not in made]
    left = [axis for axis in made if axis in kernel and axis not in inputs]
    return len(summed) if summed and left and list(kernel) == summed + left else None


def projections(attention: Any) -> list[Any]:
    """Return the einsum layers inside a built MultiHeadAttention: query, key, value and output, as tfmot has them."""
    return [attention._query_dense, attention._key_dense, attention._value_dense, attention._output_dense]


def build_projections(attention: Any) -> None:
    """Make the variables of a MultiHeadAttention that was copied from its settings; Keras does so when it is called."""
    query, key, value = attention._query_shape, attention._key_shape, attention._value_shape
    combined = [*query[:-1], attention._num_heads, attention._value_dim]
    for layer, shape in zip(projections(attention), (query, key, value, combined), strict=True):
        layer.build(shape)
