"""Stage 2: weight clustering that keeps the zeros of stage 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.keras_door import tf, tfmot
from paretune.objectives.kernels.cluster_lines import channel_axis, lines_of
from paretune.objectives.kernels.tfmot_support import clusterable
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.centroid_start import initial_centroids
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.spaces.candidates.stage_recipes import CHANNEL

_Initialisation = tfmot.clustering.keras.CentroidInitialization
#: Of the recipe's initialisations, those that tfmot computes without drawing numbers.
_TFMOTS_OWN = {"linear": _Initialisation.LINEAR, "density": _Initialisation.DENSITY_BASED}


def cluster(model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter) -> LayerWeights:
    """Train with tfmot's clustering; layers that are not clustered keep zeros and ranks.

    By channel, tfmot clusters Conv2D alone: with a bias (it takes the size of the last variable for the number of
    channels), with more weights in a channel than clusters, and, where the layer keeps zeros, with weights left in
    every channel. Others have one set of clusters for the whole kernel, so that no channel has more values than asked
    either.

    Returns:
        The weights with at most the distinct values that each layer's cluster count asks for, zero included.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    policy = task.policy
    initialisation = getattr(task.recipe, "initialisation", "linear")

    def wrap(layer: Any) -> Any:
        decided = policy.get(layer.name)
        if decided is None or decided.clusters is None:
            return layer
        return tfmot.clustering.keras.cluster_weights(
            clusterable(layer),
            number_of_clusters=decided.clusters,
            cluster_centroids_init=_TFMOTS_OWN.get(initialisation, _Initialisation.LINEAR),
            preserve_sparsity=task.keeps_zeros(layer.name),
            cluster_per_channel=task.cluster_scope == CHANNEL and _is_clustered_by_channel(layer, task),
        )

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    if initialisation not in _TFMOTS_OWN:
        for layer in wrapped.layers:
            if _is_wrapped(layer):
                _start_again(layer, task)
    hold = holder(
        [
            Held(
                variable=variable,
                zeros=task.keeps_zeros(name),
                rank=decided.rank,
                decomposition=task.decomposition,
            )
            for name, decided in policy.items()
            if decided.clusters is None and (task.keeps_zeros(name) or decided.rank is not None)
            for variable in compressed_variables(wrapped.get_layer(name))
        ]
    )
    fit(wrapped, data, task, meter, callbacks=[AfterEachStep(hold)])
    named = {layer.layer.name if _is_wrapped(layer) else layer.name: layer for layer in wrapped.layers}
    return {layer.name: _clustered(named[layer.name]) for layer in model.layers if layer.weights}


def _is_wrapped(layer: Any) -> bool:
    return hasattr(layer, "cluster_centroids")


def _clustered(layer: Any) -> list[NDArray[np.float32]]:
    """Return the weights of a layer in its own order, clustered where it is wrapped.

    tfmot's ``strip_clustering`` gives attention back with its variables in another order.
    """
    if not _is_wrapped(layer):
        return list(layer.get_weights())
    layer.update_clustered_weights_associations()
    weights = list(layer.layer.get_weights())  # the clustered ones are tensors by now, and not among them
    for place, name in sorted(layer.position_original_weights.items()):
        weights.insert(place, layer.get_weight_from_layer(name).numpy())
    return weights


def _is_clustered_by_channel(layer: Any, task: StageTask) -> bool:
    kind, clusters = type(layer).__name__, task.policy[layer.name].clusters
    if kind != "Conv2D" or not layer.use_bias or clusters is None:
        return False
    lines = lines_of(layer.kernel.numpy(), channel_axis(kind, CHANNEL))
    return lines.shape[1] > clusters and (not task.keeps_zeros(layer.name) or bool(np.any(lines, axis=1).all()))


def _start_again(layer: Any, task: StageTask) -> None:
    """Set the centroids of a wrapped layer to where they start, and what follows from them, as its ``build`` does."""
    name, kind = layer.layer.name, type(layer.layer).__name__
    axis = channel_axis(kind, CHANNEL) if layer.cluster_per_channel else None
    for index, weight in layer.position_original_weights.items():
        original, centroids = layer.original_clusterable_weights[weight], layer.cluster_centroids[weight]
        start = initial_centroids(original.numpy(), task, name, index, axis, zero_stays=layer.preserve_sparsity)
        centroids.assign(start[..., : centroids.shape[-1]])
        algorithm = layer.clustering_algorithms[weight]
        indices = algorithm.get_pulling_indices(original)
        layer.pulling_indices[weight].assign(indices)
        if layer.preserve_sparsity:
            nonzero = tf.not_equal(algorithm.get_clustered_weight(indices, original), 0)
            layer.sparsity_masks[weight] = tf.cast(nonzero, tf.float32)
            layer.zero_idx[weight] = tf.argmin(tf.abs(centroids), axis=-1)
