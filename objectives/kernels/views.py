"""How sparsity patterns see the kernels of a layer."""

from typing import Any

from paretune.objectives.kernels.einsum import projections, read_axes
from paretune.objectives.kernels.patterns import KernelView, matrix_view, view_of
from paretune.objectives.kernels.weights import compressed_variables


def kernel_views(layer: Any) -> list[KernelView]:
    """Return how to see each of the kernels of a built layer, in the order of its compressed variables."""
    kind, kernels = type(layer).__name__, compressed_variables(layer)
    if kind == "EinsumDense":
        einsums = [layer] if kernels else []
    elif kind == "MultiHeadAttention":
        einsums = projections(layer)
    else:
        return [view_of(kind, tuple(kernel.shape)) for kernel in kernels]
    return [
        matrix_view(tuple(kernel.shape), read_axes(each.equation) or 1)
        for each, kernel in zip(einsums, kernels, strict=True)
    ]
