"""Stage 2: weight clustering that keeps the zeros of stage 1."""

from typing import Any

from paretune.objectives.keras_door import tfmot
from paretune.objectives.pipeline.copies import fresh_copy, wrap_layers
from paretune.objectives.pipeline.fitting import AfterEachStep, Meter, TrainingData, fit
from paretune.objectives.pipeline.hold import holder
from paretune.objectives.weights import LayerWeights, compressed_variables, read_weights
from paretune.spaces.errors import Infeasible
from paretune.spaces.policy import Policy
from paretune.spaces.recipe import StageRecipe

#: Centroids spread evenly between the extremes: deterministic (tfmot's k-means++ draws unseeded numbers, and fails when
#: one sign has fewer weights than centroids), and best after fine-tuning in Han et al. (2016), sec. 3.2.
_INITIALISATION = tfmot.clustering.keras.CentroidInitialization.LINEAR


def require_clusters_possible(policy: Policy) -> None:
    """Raise before anything is trained where :func:`cluster` could not do what a policy asks.

    Raises:
        Infeasible: A pruned layer is to keep fewer than 3 values.
    """
    for name, decided in policy.items():
        if decided.sparsity > 0 and decided.clusters is not None and decided.clusters < 3:
            raise Infeasible(f"`clusters` of a pruned layer must be at least 3 (zero is one), got 2 (layer '{name}')")


def cluster(
    model: Any,
    weights: LayerWeights,
    policy: Policy,
    data: TrainingData,
    recipe: StageRecipe,
    *,
    steps: int,
    seed: int,
    meter: Meter,
) -> LayerWeights:
    """Train with tfmot's clustering, per tensor; pruned layers that are not clustered keep their zeros.

    Returns:
        The weights with at most the distinct values that each layer's cluster count asks for, zero included.

    Raises:
        Infeasible: A pruned layer is to keep fewer than 3 values, or the loss became NaN or infinite.
        LimitReached: The meter's limit was spent first.
    """
    require_clusters_possible(policy)

    def wrap(layer: Any) -> Any:
        decided = policy.get(layer.name)
        if decided is None or decided.clusters is None:
            return layer
        return tfmot.clustering.keras.cluster_weights(
            layer,
            number_of_clusters=decided.clusters,
            cluster_centroids_init=_INITIALISATION,
            preserve_sparsity=decided.sparsity > 0,
        )

    wrapped = wrap_layers(fresh_copy(model, weights), wrap)
    hold = holder(
        [
            (variable, False)
            for name, decided in policy.items()
            if decided.sparsity > 0 and decided.clusters is None
            for variable in compressed_variables(wrapped.get_layer(name))
        ]
    )
    fit(wrapped, data, recipe, steps=steps, seed=seed, meter=meter, stage="cluster", callbacks=[AfterEachStep(hold)])
    return read_weights(tfmot.clustering.keras.strip_clustering(wrapped))
