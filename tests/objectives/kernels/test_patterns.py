"""Sparsity patterns imposed on kernels, checked by counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.objectives.kernels.patterns import crowded_groups, pruned, view_of, why_unstructured, zero_blocks
from paretune.spaces.policies.patterns import PATTERNS, TWO_OF_FOUR, UNSTRUCTURED, block_of

KINDS = {"Dense": 2, "Conv1D": 3, "Conv2D": 4, "Conv2DTranspose": 4}
sizes = st.integers(1, 9)


@st.composite
def kernels(draw):
    kind = draw(st.sampled_from(list(KINDS)))
    shape = tuple(draw(sizes) for _ in range(KINDS[kind]))
    values = np.random.default_rng(draw(st.integers(0, 99))).normal(size=shape).astype(np.float32)
    values[values > draw(st.sampled_from([1.0, 9.0]))] = 0  # some are zero already
    return kind, values


@given(kernels(), st.sampled_from(PATTERNS), st.floats(0.05, 0.95))
def test_zeros_keep_to_the_pattern_where_it_fits_and_reach_the_sparsity(kernel, pattern, sparsity):
    kind, values = kernel
    view = view_of(kind, values.shape)
    found = pruned(values, sparsity, pattern, view)
    assert found.shape == values.shape
    assert np.all((found == values) | (found == 0))
    zeros, matrices = np.count_nonzero(found == 0), view.of(found) == 0
    if block_of(pattern) is None or why_unstructured(pattern, view):
        assert zeros >= values.size - round(values.size * (1 - sparsity))
    else:
        zero, blocks = zero_blocks(matrices.reshape(view.rows, view.outputs), pattern)
        assert zero >= blocks - max(1, round(blocks * (1 - sparsity)))
    if pattern == TWO_OF_FOUR and not why_unstructured(pattern, view):
        assert crowded_groups(matrices)[0] == 0
    np.testing.assert_array_equal(pruned(found, sparsity, pattern, view), found)


@given(kernels())
def test_without_sparsity_a_kernel_is_left_alone(kernel):
    kind, values = kernel
    for pattern in PATTERNS:
        assert pruned(values, 0.0, pattern, view_of(kind, values.shape)) is values


def test_two_of_four_keeps_the_two_largest_of_each_group_along_the_inputs():
    column = np.float32([[3, -4, 1, 2, 5, 5, 5, 1, 7, 8]]).T
    kept = pruned(column, 0.1, TWO_OF_FOUR, view_of("Dense", column.shape))
    assert kept[:, 0].tolist() == [3, -4, 0, 0, 5, 5, 0, 0, 7, 8]
    assert view_of("Dense", column.shape).kept_of_four == 6
    sparser = pruned(column, 0.6, TWO_OF_FOUR, view_of("Dense", column.shape))
    assert sparser[:, 0].tolist() == [0, 0, 0, 0, 5, 5, 0, 0, 7, 8]


def test_groups_of_a_transposed_convolution_run_along_its_inputs_too():
    kernel = np.random.default_rng(0).normal(size=(2, 2, 5, 8)).astype(np.float32)
    view = view_of("Conv2DTranspose", kernel.shape)
    assert (view.positions, view.inputs, view.outputs) == (4, 8, 5)
    groups = pruned(kernel, 0.5, TWO_OF_FOUR, view).reshape(2, 2, 5, 2, 4)
    assert np.all(np.count_nonzero(groups, axis=-1) == 2)


@pytest.mark.parametrize(("pattern", "gone"), [("1x2", [0, 1]), ("4x1", [0, 4, 8, 12])])
def test_the_block_of_the_smallest_mean_goes_first(pattern, gone):
    kernel = np.arange(1, 33, dtype=np.float32).reshape(8, 4)
    found = pruned(kernel, 1 / 16 if pattern == "1x2" else 1 / 8, pattern, view_of("Dense", kernel.shape))
    assert np.flatnonzero(found == 0).tolist() == gone


def test_a_pattern_that_does_not_fit_leaves_zeros_anywhere():
    kernel = np.float32([[1, 2, 3], [6, 5, 4]])
    view = view_of("Dense", kernel.shape)
    assert why_unstructured(TWO_OF_FOUR, view)
    assert not why_unstructured(UNSTRUCTURED, view)
    assert pruned(kernel, 0.5, TWO_OF_FOUR, view).tolist() == [[0, 0, 0], [6, 5, 4]]
