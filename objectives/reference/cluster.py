"""Stage 2: weight clustering that keeps the zeros of stage 1."""

from typing import Any

from paretune.objectives.keras_door import tfmot
from paretune.objectives.pipeline.centroid_start import CENTROID_START
from paretune.objectives.pipeline.copies import fresh_copy
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.reference.fitting import AfterEachStep, fit
from paretune.objectives.reference.hold import Held, holder
from paretune.objectives.reference.wrapping import wrap_layers
from paretune.objectives.weights import LayerWeights, compressed_variables, read_weights


def cluster(model: Any, weights: LayerWeights, task: StageTask, data: TrainingData, meter: Meter) -> LayerWeights:
    """Train with tfmot's clustering, per tensor; layers that are not clustered keep zeros and ranks.

    Returns:
        The weights with at most the distinct values that each layer's cluster count asks for, zero included.

    Raises:
        Infeasible: The loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    policy = task.policy

    def wrap(layer: Any) -> Any:
        decided = policy.get(layer.name)
        if decided is None or decided.clusters is None:
            return layer
        return tfmot.clustering.keras.cluster_weights(
            layer,
            number_of_clusters=decided.clusters,
            cluster_centroids_init=CENTROID_START,
            preserve_sparsity=task.keeps_zeros(layer.name),
        )

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    hold = holder(
        [
            Held(variable=variable, zeros=task.keeps_zeros(name), rank=decided.rank)
            for name, decided in policy.items()
            if decided.clusters is None and (task.keeps_zeros(name) or decided.rank is not None)
            for variable in compressed_variables(wrapped.get_layer(name))
        ]
    )
    fit(wrapped, data, task, meter, callbacks=[AfterEachStep(hold)])
    return read_weights(tfmot.clustering.keras.strip_clustering(wrapped))
