"""Where centroids start: what tfmot computes where it is deterministic, seeded numbers elsewhere."""

import numpy as np
import pytest

from paretune.objectives.engine.hold import Hold
from paretune.objectives.keras_door import tf, tfmot
from paretune.objectives.kernels.cluster_lines import from_lines, lines_of
from paretune.objectives.pipeline.centroid_start import NOWHERE, initial_centroids, present_centroids
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.reference.hold import Held, projection
from paretune.spaces.candidates.stage_recipes import INITIALISATIONS, ClusterRecipe, StageRecipe
from paretune.spaces.policies.policy import LayerPolicy, Policy

pytestmark = pytest.mark.tensorflow

TFMOTS = tfmot.clustering.keras.CentroidInitialization
KERNEL = np.random.default_rng(4).normal(size=(3, 3, 4, 5)).astype(np.float32)
PRUNED = np.where(np.abs(KERNEL) < 0.7, np.float32(0), KERNEL)


def start(weights, clusters, initialisation, *, sparsity=0.0, axis=None, seed=1, name="conv", narrowed=()):
    recipe = ClusterRecipe(initialisation=initialisation)
    policy = Policy(((name, LayerPolicy(sparsity=sparsity, clusters=clusters)),))
    task = StageTask(stage="cluster", policy=policy, recipe=recipe, steps=1, seed=seed, narrowed=frozenset(narrowed))
    return initial_centroids(weights, task, name, 0, axis, zero_stays=sparsity > 0)


@pytest.mark.parametrize("axis", [None, 3])
@pytest.mark.parametrize(("weights", "sparsity"), [(KERNEL, 0.0), (PRUNED, 0.5), (np.abs(PRUNED), 0.5)])
@pytest.mark.parametrize(("initialisation", "tfmots"), [("linear", TFMOTS.LINEAR), ("density", TFMOTS.DENSITY_BASED)])
def test_linear_and_density_are_those_of_tfmot_to_the_last_bit(initialisation, tfmots, weights, sparsity, axis):
    from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import (
        CentroidsInitializerFactory,
    )

    kind = CentroidsInitializerFactory.get_centroid_initializer(tfmots)
    for clusters in (3, 4, 9):
        theirs = kind(tf.constant(weights), clusters, axis is not None, "channels_last", sparsity > 0)
        ours = start(weights, clusters, initialisation, sparsity=sparsity, axis=axis)
        np.testing.assert_array_equal(ours, theirs.get_cluster_centroids().numpy())


@pytest.mark.parametrize("initialisation", ["kmeans++", "random"])
def test_what_is_drawn_follows_from_the_seed_and_the_kernel(initialisation):
    first = start(KERNEL, 6, initialisation)
    np.testing.assert_array_equal(start(KERNEL, 6, initialisation), first)
    assert not np.array_equal(start(KERNEL, 6, initialisation, seed=2), first)
    assert not np.array_equal(start(KERNEL, 6, initialisation, name="other"), first)


def test_careful_seeds_are_weights_far_from_each_other():
    groups = np.concatenate([np.random.default_rng(0).normal(at, 0.01, 500) for at in (-3, 0.2, 5)])
    found = start(groups.astype(np.float32), 3, "kmeans++")
    assert set(found) <= set(groups.astype(np.float32))
    np.testing.assert_allclose(np.sort(found), [-3, 0.2, 5], atol=0.1)


def test_two_values_start_badly_at_the_extremes_and_well_where_weights_were_drawn():
    weights = np.random.default_rng(0).normal(size=(3, 3, 32, 64)).astype(np.float32)

    def error(initialisation, seed=0):
        centroids = start(weights, 2, initialisation, seed=seed)
        return np.min(np.square(weights.reshape(-1, 1) - centroids), axis=1).mean()

    assert error("linear") == pytest.approx(10.5, abs=0.1)
    assert np.mean([error("kmeans++", seed) for seed in range(10)]) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_centroids_of_a_pruned_kernel_are_zero_and_on_both_sides_of_it(initialisation):
    found = start(PRUNED, 5, initialisation, sparsity=0.5, axis=3)
    assert found.shape == (5, 5)
    assert np.all(np.sum(found == 0, axis=1) == 1)
    assert np.all(found.min(axis=1) < 0)
    assert np.all(found.max(axis=1) > 0)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
def test_a_channel_of_zeros_has_one_centroid_and_one_of_few_weights_takes_them_all(initialisation):
    weights = np.array([[0, 2], [0, -1], [0, 2]], np.float32)
    dead, few = start(weights, 4, initialisation, sparsity=0.5, axis=1)
    assert dead.tolist() == [0, *[np.float32(NOWHERE)] * 3]
    assert few.size == 4
    if initialisation == "kmeans++":
        assert set(few) == {-1, 0, 2}


def test_only_a_recipe_for_clusters_says_where_they_start():
    policy = Policy((("conv", LayerPolicy(clusters=3)),))
    task = StageTask(stage="cluster", policy=policy, recipe=StageRecipe(), steps=1, seed=1)
    with pytest.raises(TypeError, match="needs clusters and a ClusterRecipe"):
        initial_centroids(KERNEL, task, "conv", 0, None, zero_stays=False)


@pytest.mark.parametrize("initialisation", INITIALISATIONS)
@pytest.mark.parametrize("axis", [None, 1])
def test_zeros_of_removed_channels_are_no_weights(initialisation, axis):
    left = np.random.default_rng(7).normal(size=(6, 2)).astype(np.float32)
    kernel = np.zeros((9, 3), np.float32)
    kernel[np.ix_([0, 1, 3, 4, 6, 8], [0, 1])] = left
    found = start(kernel, 3, initialisation, axis=axis, narrowed=["conv"])
    np.testing.assert_array_equal(found if axis is None else found[:2], start(left, 3, initialisation, axis=axis))
    assert axis is None or np.all(found[2] == np.float32(NOWHERE))


def test_present_values_come_in_order_of_appearance():
    values = np.array([[3, 1], [3, 2], [0, 1]], np.float32)
    assert present_centroids(values, None).tolist() == [3, 1, 2, 0]
    assert present_centroids(values, 1).tolist() == [[3, 0], [1, 2]]
    assert present_centroids(values, None, with_zero=False).tolist() == [3, 1, 2]


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_lines_are_put_back_where_they_came_from(axis):
    kernel = np.arange(24.0).reshape(2, 3, 4)
    lines = lines_of(kernel, axis)
    assert lines.shape == ((1, 24) if axis is None else (kernel.shape[axis], 24 // kernel.shape[axis]))
    np.testing.assert_array_equal(from_lines(lines, kernel.shape, axis), kernel)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_both_flows_hold_the_clusters_of_every_channel(axis):
    generator = np.random.default_rng(0)
    values = generator.choice(np.array([0, 1, 2], np.float32), (4, 5))
    moved = values + generator.normal(0, 0.1, values.shape).astype(np.float32)
    variable = tf.Variable(values)
    hold = Hold(variable, 3, axis)
    hold.hold_clusters(values)
    variable.assign(moved)
    tf.function(hold.project)()
    held = variable.numpy()
    in_reference = projection(Held(variable=tf.Variable(values), clustered=True, axis=axis))
    np.testing.assert_allclose(held, in_reference(tf.constant(moved)))
    for line, moving, kept in zip(*(lines_of(each, axis) for each in (held, moved, values)), strict=True):
        for value in np.unique(kept[kept != 0]):
            np.testing.assert_allclose(line[kept == value], moving[kept == value].mean(), rtol=1e-5)
    assert np.all(held[values == 0] == 0)
    assert (np.unique(held).size > 3) == (axis is not None)
