"""What tfmot knows, beyond what its registries tell, and what it is told."""

from typing import Any

from tensorflow_model_optimization.python.core.clustering.keras.clusterable_layer import ClusterableLayer
from tensorflow_model_optimization.python.core.clustering.keras.clustering_registry import ClusteringRegistry
from tensorflow_model_optimization.python.core.quantization.keras.quantize_aware_activation import (
    QuantizeAwareActivation,
)
from tensorflow_model_optimization.python.core.sparsity.keras.prune_registry import PruneRegistry

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import compressed_variables


def prunable(layer: Any) -> Any:
    """Return ``layer``, having told tfmot which of its weights to prune where tfmot does not know them.

    Its registry leaves Bidirectional and EinsumDense out; its wrapper takes any layer that names its weights.
    """
    if isinstance(layer, keras.layers.Bidirectional | keras.layers.EinsumDense):
        layer.get_prunable_weights = lambda: compressed_variables(layer)
    return layer


def can_wrap_for_pruning(layer: Any) -> bool:
    """Whether tfmot's pruning wrapper takes a layer, built or not; it may find no weights in it."""
    return hasattr(layer, "get_prunable_weights") or bool(PruneRegistry.supports(layer))


def prunes(layer: Any) -> bool:
    """Whether tfmot, told by :func:`prunable`, prunes a built layer; this changes it.

    The registry also supports layers in which it then finds nothing to do, such as DepthwiseConv2D.
    """
    told = prunable(layer)
    if hasattr(told, "get_prunable_weights"):
        return bool(told.get_prunable_weights())
    return bool(PruneRegistry.supports(layer)) and bool(PruneRegistry.make_prunable(layer).get_prunable_weights())


def clusterable(layer: Any) -> Any:
    """Return ``layer``, or a copy of it that names the weights to cluster where tfmot does not know them.

    Its registry leaves EinsumDense out; its wrapper takes any layer of a class that names its weights.
    """
    if type(layer) is not keras.layers.EinsumDense:
        return layer
    copy = _ClusterableEinsumDense.from_config(layer.get_config())
    if layer.built:
        copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    return copy


class _ClusterableEinsumDense(keras.layers.EinsumDense, ClusterableLayer):  # type: ignore[misc]  # both are untyped
    def get_clusterable_weights(self) -> list[tuple[str, Any]]:
        return [("kernel", self.kernel)]


def can_wrap_for_clustering(layer: Any) -> bool:
    """Whether tfmot's clustering wrapper takes what :func:`clusterable` makes of a built layer, and clusters it."""
    if type(layer) is keras.layers.EinsumDense:
        return True
    return bool(ClusteringRegistry.supports(layer)) and type(layer).__name__ != "DepthwiseConv2D"


def clusters(layer: Any) -> bool:
    """Whether tfmot clusters weights of a built layer; this changes it."""
    told = clusterable(layer)
    if isinstance(told, ClusterableLayer):
        return bool(told.get_clusterable_weights())
    return bool(ClusteringRegistry.supports(layer)) and bool(
        ClusteringRegistry.make_clusterable(layer).get_clusterable_weights()
    )


def trains_activation(layer: Any) -> bool:
    """Whether tfmot can fake-quantize behind the activation of ``layer``; its registries accept any and fail later."""
    name = activation_name(layer)
    known = QuantizeAwareActivation._PRE_QUANT_ACTIVATIONS | QuantizeAwareActivation._POST_QUANT_ACTIVATIONS
    return name == "" or name in known


def activation_name(layer: Any) -> str:
    """Return the name of a layer's activation function, or an empty string where it has none."""
    activation = getattr(layer, "activation", None)
    if activation is None:
        return ""
    return str(getattr(activation, "__name__", type(activation).__name__))


def is_relu(layer: Any) -> bool:
    """Whether tfmot takes this layer for a ReLU that belongs to the operator before it.

    Behind a layer with weights it then puts fake quantization behind the ReLU only, and leaves the weights out.
    """
    is_activation = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.relu
    return is_activation or isinstance(layer, keras.layers.ReLU)
