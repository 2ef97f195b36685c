"""The cluster stage with its centroids in variables."""

from typing import Any

from tensorflow_model_optimization.python.core.clustering.keras.cluster_wrapper import (
    ClusterWeights,
    ClusterWeightsMHA,
    ClusterWeightsRNN,
)

from paretune.objectives.engine.centroids import Centroids
from paretune.objectives.engine.hold import Hold
from paretune.objectives.engine.numerics import Numerics
from paretune.objectives.engine.wrapping import MaskThrough, position, read_variables, wrapped_model
from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.cluster_lines import channel_axis
from paretune.objectives.kernels.tfmot_support import can_wrap_for_clustering, clusterable
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.centroid_start import initial_centroids
from paretune.objectives.pipeline.copies import fresh_layer
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.policies.decompositions import CHANNELS


class ClusterGraph:
    """Implements :class:`paretune.objectives.engine.graph.StageGraph` for weight clustering.

    Layers that a policy does not cluster use their weights as they are, and are held to their zeros and ranks.
    """

    def __init__(self, model: Any, numerics: Numerics, places: int, scope: str, decomposition: str = CHANNELS) -> None:
        """Wrap a copy of every layer of ``model`` that tfmot clusters.

        Args:
            model: The working copy of the user's model; it is only read.
            numerics: How to compute.
            places: The largest cluster count.
            scope: What shares one set of clusters: the whole ``tensor`` or a ``channel``.
            decomposition: How ranks split kernels.
        """
        self._clustered: dict[str, _Clustered] = {}

        def wrap(layer: Any) -> Any:
            copy = fresh_layer(layer)
            if not compressed_variables(layer) or not can_wrap_for_clustering(layer):
                return copy
            axis = channel_axis(type(layer).__name__, scope)
            self._clustered[layer.name] = _wrapper_of(layer)(clusterable(copy), numerics, places, axis)
            return self._clustered[layer.name]

        self.model, self.variables = wrapped_model(model, wrap)
        self._holds = {
            layer.name: [
                (index, Hold(self.variables[layer.name][index], places, axis=None, decomposition=decomposition))
                for index in (position(layer, variable) for variable in compressed_variables(layer))
            ]
            for layer in model.layers
        }

    def decide(self, task: StageTask, weights: LayerWeights) -> None:
        """Set where clusters start, and what must stay zero or of low rank."""
        for name, layer in self._clustered.items():
            layer.decide(task, name, weights[name])
        for name, holds in self._holds.items():
            decided = task.policy.get(name)
            for index, hold in holds:
                if decided is not None and decided.clusters is None:
                    hold.hold_shape(task, name, weights[name][index])
                else:
                    hold.release()

    def after_step(self) -> None:
        """Hold what is not clustered to its zeros and ranks."""
        for holds in self._holds.values():
            for _, hold in holds:
                hold.project()

    def effective(self) -> dict[str, list[Any]]:
        """Return the weights, clustered with the centroids as they are now."""
        centroids = {
            variable.ref(): own for layer in self._clustered.values() for variable, own in layer.centroids_of()
        }
        return read_variables(
            self.variables, lambda each: centroids[each.ref()].apply(each) if each.ref() in centroids else each
        )


class _ByVariables:
    """Replaces what tfmot's wrapper builds for one cluster count by what serves all."""

    def __init__(self, layer: Any, numerics: Numerics, places: int, axis: int | None) -> None:
        super().__init__(layer, number_of_clusters=places)  # type: ignore[call-arg]  # mixed into tfmot's wrappers
        self._numerics = numerics
        self._places = places
        self._axis = axis
        self._centroids: dict[str, Centroids] = {}

    def build(self, input_shape: Any) -> None:
        # not super().build(input_shape): it would look for the centroids of the weights there are now
        keras.layers.Wrapper.build(self, input_shape)
        wrapper: Any = self
        for name, _ in wrapper.layer.get_clusterable_weights():
            original = wrapper.get_weight_from_layer(name)
            wrapper.original_clusterable_weights[name] = original
            setattr(self, f"original_weight_{name}", original)  # so that Keras goes on tracking it
            plain = name.replace("/", "_").replace(".", "_")
            self._centroids[name] = Centroids(self, plain, original.shape, self._places, self._numerics, self._axis)

    def update_clustered_weights_associations(self) -> None:
        wrapper: Any = self
        for name, original in wrapper.original_clusterable_weights.items():
            wrapper.set_weight_to_layer(name, self._centroids[name].apply(original))

    def centroids_of(self) -> list[tuple[Any, Centroids]]:
        wrapper: Any = self
        return [(variable, self._centroids[name]) for name, variable in wrapper.original_clusterable_weights.items()]

    def decide(self, task: StageTask, name: str, weights: list[Any]) -> None:
        decided = task.policy.get(name)
        wrapper: Any = self
        for variable, centroids in self.centroids_of():
            if decided is None or decided.clusters is None:
                centroids.stop()
                continue
            index = next(i for i, own in enumerate(wrapper.wrapped_weights) if own is variable)
            values, zero_stays = weights[index], decided.sparsity > 0
            start = initial_centroids(values, task, name, index, self._axis, zero_stays=zero_stays)
            mask = values != 0 if name in task.narrowed else None
            if zero_stays:
                mask = centroids.mask_of(values, start)
            centroids.start(start, mask, zero_stays=zero_stays)


class _Clustered(MaskThrough, _ByVariables, ClusterWeights):  # type: ignore[misc]  # tfmot is untyped
    pass


class _ClusteredRecurrent(MaskThrough, _ByVariables, ClusterWeightsRNN):  # type: ignore[misc]  # tfmot is untyped
    pass


class _ClusteredAttention(MaskThrough, _ByVariables, ClusterWeightsMHA):  # type: ignore[misc]  # tfmot is untyped
    pass


def _wrapper_of(layer: Any) -> Any:
    if isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional):
        return _ClusteredRecurrent
    return _ClusteredAttention if isinstance(layer, keras.layers.MultiHeadAttention) else _Clustered
