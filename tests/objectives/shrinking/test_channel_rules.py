"""What operators do with channels that go, one operator at a time."""

from types import SimpleNamespace

import numpy as np
import pytest

from paretune.objectives.shrinking.channel_masks import Mask, Operand, Step
from paretune.objectives.shrinking.channel_rules import RULES
from paretune.spaces.errors import Infeasible

KEPT = np.array([True, False, True, True])
SLICED = {"beginMask": 0, "endMask": 0, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}


def activations(*shape, axis=-1, kept=KEPT, layer="conv"):
    return Operand(shape=shape, mask=None if kept is None else Mask(axis % len(shape), kept, layer))


def constant(values):
    values = np.asarray(values)
    return Operand(shape=values.shape, constant=values)


def run(kind, inputs, output, own=None, **options):
    step = Step(
        kind=kind, name="here", options=SimpleNamespace(**options), inputs=tuple(inputs), output=output, own=own
    )
    return RULES[kind](step)


def test_a_constant_is_sliced_along_channels_wherever_it_has_them():
    image = activations(1, 3, 3, 4)
    for values, left in (
        (np.arange(4), [0, 2, 3]),
        (np.arange(4).reshape(1, 1, 4), [[[0, 2, 3]]]),
        (5.0, None),
        (np.ones((3, 1)), None),
    ):
        passed = run("MUL", [image, constant(values)], (1, 3, 3, 4))
        assert passed.mask.axis == 3
        assert (passed.constants[1].tolist() if 1 in passed.constants else None) == left


def test_an_input_that_is_spread_over_positions_or_channels_may_meet_the_others():
    image, per_channel = activations(1, 3, 3, 4), activations(1, 4, layer="gate")
    assert run("MUL", [per_channel, image], (1, 3, 3, 4)).mask.axis == 3
    assert run("MUL", [image, activations(1, 3, 3, 1, kept=None)], (1, 3, 3, 4)).mask.kept is KEPT


@pytest.mark.parametrize("kind", ["ADD", "CONCATENATION"])
def test_layers_that_meet_must_keep_the_same_channels(kind):
    image = activations(1, 3, 3, 4)
    alike, unlike = (activations(1, 3, 3, 4, kept=kept, layer="other") for kept in (KEPT.copy(), ~KEPT))
    assert run(kind, [image, alike], (1, 3, 6, 4), axis=2).mask.kept.tolist() == KEPT.tolist()
    with pytest.raises(ValueError, match=rf"'conv' and 'other' must keep the same channels, as they meet in {kind}"):
        run(kind, [image, unlike], (1, 3, 6, 4), axis=2)
    with pytest.raises(ValueError, match=r"'conv' must keep all its channels.* it keeps 3 of 4"):
        run(kind, [image, activations(1, 3, 3, 4, kept=None)], (1, 3, 6, 4), axis=-2)


def test_a_mean_over_positions_passes_channels_on_and_one_over_channels_does_not():
    image = activations(1, 3, 3, 4)
    assert run("MEAN", [image, constant([1, -2])], (1, 4), keepDims=False).mask.axis == 1
    assert run("MEAN", [image, constant([1, 2])], (1, 1, 1, 4), keepDims=True).mask.axis == 3
    with pytest.raises(Infeasible, match=r"layer 'conv' cannot be removed: the operator MEAN \('here'\)"):
        run("MEAN", [image, constant(-1)], (1, 3, 3), keepDims=False)


def test_flattening_repeats_channels_for_every_position_and_unflattening_takes_that_back():
    flat = run("RESHAPE", [activations(1, 2, 4), constant([-1, 8])], (1, 8))
    assert (flat.mask.axis, flat.mask.kept.tolist()) == (1, [*KEPT, *KEPT])
    assert flat.constants[1].tolist() == [-1, 6]
    back = run("RESHAPE", [activations(1, 8, kept=flat.mask.kept), constant([1, 2, -1])], (1, 2, 4))
    assert (back.mask.axis, back.mask.kept.tolist()) == (2, KEPT.tolist())
    assert back.constants[1].tolist() == [1, 2, -1]
    with pytest.raises(Infeasible):  # of the second two, the first two lose one
        run("RESHAPE", [activations(1, 4), constant([1, 2, 2])], (1, 2, 2))
    with pytest.raises(Infeasible):  # a shape that is computed
        run("RESHAPE", [activations(1, 2, 4), activations(2, kept=None)], (1, 8))


def test_a_dense_layer_may_read_positions_and_channels_at_once():
    weights = np.arange(16).reshape(2, 8)
    passed = run("FULLY_CONNECTED", [activations(1, 2, 4), constant(weights), None], (1, 2))
    assert passed.mask is None
    assert passed.constants[1].tolist() == weights[:, [0, 2, 3, 4, 6, 7]].tolist()


def test_kernels_whose_columns_are_not_the_channels_are_refused():
    grouped = constant(np.ones((4, 1, 1, 2)))
    for own in (None, Mask(3, KEPT, "grouped")):
        with pytest.raises(Infeasible):
            run("CONV_2D", [activations(1, 3, 3, 4, kept=None if own else KEPT), grouped, None], (1, 3, 3, 4), own)
    with pytest.raises(Infeasible):
        run("CONV_2D", [activations(1, 4, 4, 4, axis=1), constant(np.ones((2, 1, 1, 4)))], (1, 4, 4, 2))
    with pytest.raises(Infeasible):  # two activations, multiplied
        run("FULLY_CONNECTED", [activations(1, 4), activations(2, 4, kept=None), None], (1, 2))


def test_added_channels_stay_and_mirrored_ones_are_refused():
    image, pads = activations(1, 3, 3, 4), constant([[0, 0], [1, 1], [0, 0], [1, 2]])
    assert run("PAD", [image, pads], (1, 5, 3, 7)).mask.kept.tolist() == [True, *KEPT, True, True]
    assert run("MIRROR_PAD", [image, constant([[0, 0], [1, 1], [0, 0], [0, 0]])], (1, 5, 3, 4)).mask.kept is KEPT
    with pytest.raises(Infeasible):
        run("MIRROR_PAD", [image, pads], (1, 5, 3, 7))


def test_positions_may_be_cut_out_and_channels_may_not():
    def cut(begin, end, **masks):
        slices = [constant(each) for each in (begin, end, [1] * len(begin))]
        return run("STRIDED_SLICE", [activations(1, 3, 3, 4), *slices], (1, 2, 3, 4), **{**SLICED, **masks}).mask.axis

    assert cut([0, 1, 0, 0], [1, 3, 3, 4]) == 3
    assert cut([0, 1, 0, 2], [1, 3, 3, 2], beginMask=8, endMask=8) == 3
    assert cut([0, 1, 0, 0], [1, 2, 3, 4], shrinkAxisMask=2) == 2
    for end in ([1, 3, 3, 3], [1, 3, 3, -1]):
        with pytest.raises(Infeasible):
            cut([0, 1, 0, 0], end)
    with pytest.raises(Infeasible):
        cut([0, 1, 0, 0], [1, 3, 3, 1], shrinkAxisMask=8, endMask=8)


def test_transposing_moves_channels_to_another_axis_where_pooling_is_refused():
    image = activations(1, 3, 3, 4)
    moved = run("TRANSPOSE", [image, constant([0, 3, 1, 2])], (1, 4, 3, 3)).mask
    assert moved.axis == 1
    for kind in ("MAX_POOL_2D", "DEPTHWISE_CONV_2D"):
        with pytest.raises(Infeasible):
            run(kind, [activations(1, 4, 3, 3, axis=1), constant(np.ones((1, 2, 2, 3)))], (1, 2, 2, 3))
