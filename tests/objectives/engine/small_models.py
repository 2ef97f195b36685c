"""Tiny seeded Keras models, what they are trained on, and one stage of training."""

from typing import Any

import numpy as np

from paretune.objectives.keras_door import keras
from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.meter import Meter
from paretune.objectives.pipeline.stages import StageRunner, StageTask
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.stage_recipes import TENSOR, ClusterRecipe, PruneRecipe, StageRecipe
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization

STAGES = ("prune", "cluster", "quantize")
QAT = Quantization.INT8_QAT


def residual_cnn() -> Any:
    """BatchNorm with and without ReLU, a merge, global pooling."""
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(5, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.BatchNormalization(name="branch_norm")(layers.Conv2D(5, 3, padding="same", name="branch")(x))
    x = layers.ReLU(name="joined")(layers.Add(name="add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(x))


def mlp() -> Any:
    """Activations that are fake-quantized before they are applied, and a regularizer."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    inputs = keras.Input((10,))
    x = layers.Dense(12, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.01), name="first")(inputs)
    x = layers.Dense(9, activation="tanh", name="second")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax", name="head")(x))


def depthwise_cnn() -> Any:
    """A layer that is pruned and trained quantized, but never clustered."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2, name="depthwise")(inputs)
    x = layers.ReLU(6.0, name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(4, 1, activation="relu", name="pointwise")(x)
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.Flatten(name="flat")(x)))


def attention() -> Any:
    """Attention to other rows, and an einsum layer that joins two axes."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    inputs = keras.Input((4, 6))
    x = layers.Reshape((4, 2, 3), name="halves")(inputs)
    x = layers.EinsumDense("abcd,cde->abe", output_shape=(4, 6), activation="relu", bias_axes="e", name="joined")(x)
    x = layers.MultiHeadAttention(2, 3, value_dim=4, output_shape=5, name="attention")(x, value=inputs)
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.Flatten(name="flat")(x)))


def noise_for(model: Any, samples: int = 40, *, sample_weights: bool = False) -> TrainingData:
    """Return random inputs (small whole numbers where integers are taken) and random classes for every output."""
    generator = np.random.default_rng(0)
    inputs = tuple(
        generator.normal(size=(samples, *tensor.shape[1:])).astype(np.float32)
        if tensor.dtype.is_floating
        else generator.integers(0, 7, (samples, *tensor.shape[1:])).astype(tensor.dtype.as_numpy_dtype)
        for tensor in model.inputs
    )
    targets = tuple(generator.integers(0, tensor.shape[-1], (samples, *tensor.shape[1:-1])) for tensor in model.outputs)
    is_softmax = model.layers[-1].get_config().get("activation") == "softmax"
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=not is_softmax) for _ in targets]
    weights = generator.uniform(0, 2, samples).astype(np.float32) if sample_weights else None
    return TrainingData(inputs, targets, losses, weights)


def policy(**layers: LayerPolicy) -> Policy:
    return Policy(tuple(layers.items()))


KINDS = {"prune": PruneRecipe, "cluster": ClusterRecipe, "quantize": StageRecipe}


def task(
    stage: str, decided: Policy, *, steps: int = 7, seed: int = 5, cluster_scope: str = TENSOR, **settings: Any
) -> StageTask:
    """Return a stage of a few steps; an epoch of 40 samples is 5 of them."""
    recipe = KINDS[stage](**{"batch_size": 8, "learning_rate": 0.01, **settings})
    return StageTask(stage=stage, policy=decided, recipe=recipe, steps=steps, seed=seed, cluster_scope=cluster_scope)


def run(runner: StageRunner, asked: StageTask, weights: LayerWeights) -> LayerWeights:
    return runner.run(asked, weights, Meter(Limit()))


def run_all(runner: StageRunner, decided: Policy, weights: LayerWeights, **settings: Any) -> LayerWeights:
    """Train through all three stages."""
    for stage in STAGES:
        weights = run(runner, task(stage, decided, **settings), weights)
    return weights


def require_same(first: LayerWeights, second: LayerWeights) -> None:
    """Raise unless all weights are the same to the last bit."""
    assert list(first) == list(second)
    for name, arrays in first.items():
        assert len(arrays) == len(second[name])
        for number, (one, other) in enumerate(zip(arrays, second[name], strict=True)):
            np.testing.assert_array_equal(one, other, err_msg=f"{name} {number}")
