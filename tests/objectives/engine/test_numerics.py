"""The fast kernels give what tfmot's own give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.objectives.engine.numerics import AS_TFMOT, FAST
from paretune.objectives.keras_door import tf

pytestmark = pytest.mark.tensorflow

#: Even numbers, in any order, and places that are not used: midpoints are whole numbers, so that no weight ties.
CENTROIDS = st.lists(st.integers(-40, 40), min_size=2, max_size=20, unique=True).map(
    lambda values: np.array([*(2 * value for value in values), 1e9, 1e9], np.float32)
)
WEIGHTS = st.lists(st.integers(-100, 100), min_size=1, max_size=40).map(
    lambda values: np.array(values, np.float32).reshape(1, -1) + np.float32(0.25)
)
# TensorFlow takes subnormal numbers for zero
MAGNITUDES = st.lists(st.floats(0, 10, width=32, allow_subnormal=False), min_size=1, max_size=60)


@settings(deadline=None, max_examples=80)
@given(WEIGHTS, CENTROIDS)
def test_a_search_finds_the_centroid_at_the_smallest_distance(weights, centroids):
    by_search, by_distance = (
        np.asarray(numerics.nearest(tf.constant(weights), tf.constant(centroids))) for numerics in (FAST, AS_TFMOT)
    )
    np.testing.assert_array_equal(by_search, by_distance)


@pytest.mark.parametrize("numerics", [FAST, AS_TFMOT], ids=["fast", "as_tfmot"])
def test_lines_of_weights_find_their_own_centroids(numerics):
    generator = np.random.default_rng(0)
    weights, centroids = (generator.normal(size=shape).astype(np.float32) for shape in ((3, 4, 5), (3, 6)))
    upstream = generator.normal(size=weights.shape).astype(np.float32)
    variable = tf.Variable(centroids)
    with tf.GradientTape() as tape:
        found = numerics.nearest(tf.constant(weights), variable)
        total = tf.reduce_sum(found * upstream)
    gradient = np.asarray(tf.convert_to_tensor(tape.gradient(total, variable)))
    for line in range(3):
        nearest = np.abs(weights[line][..., None] - centroids[line]).argmin(axis=-1)
        np.testing.assert_array_equal(found[line], centroids[line][nearest])
        sums = [upstream[line][nearest == place].sum() for place in range(6)]
        np.testing.assert_allclose(gradient[line], sums, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(WEIGHTS, CENTROIDS)
def test_a_search_sends_the_gradient_of_every_weight_to_its_centroid(weights, centroids):
    gradients = []
    for numerics in (FAST, AS_TFMOT):
        places, upstream = tf.constant(centroids), tf.reshape(tf.range(float(weights.size)), weights.shape)
        with tf.GradientTape() as tape:
            tape.watch(places)
            total = tf.reduce_sum(numerics.nearest(tf.constant(weights), places) * upstream)
        gradients.append(np.asarray(tf.convert_to_tensor(tape.gradient(total, places))))
    np.testing.assert_array_equal(*gradients)


@settings(deadline=None, max_examples=80)
@given(MAGNITUDES, st.data())
def test_selecting_the_kth_largest_gives_what_sorting_gives(magnitudes, data):
    k = data.draw(st.integers(1, len(magnitudes)))
    for numerics in (FAST, AS_TFMOT):
        found = numerics.kth_largest(tf.constant(magnitudes, tf.float32), tf.constant(k))
        assert float(found) == sorted(magnitudes, reverse=True)[k - 1]
