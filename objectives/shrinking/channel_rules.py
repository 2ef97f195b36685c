"""How each kind of operator passes the removal of channels on to its output and its constants.

A rule takes an operator that loses channels of an input, or of its own, and says what stays of its output. Kinds
without a rule cannot lose any.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paretune.objectives.flatbuffer.graph import KERNEL_INPUTS
from paretune.objectives.shrinking.channel_masks import Mask, Passed, Step

Rule = Callable[[Step], Passed]


def _kernel(step: Step) -> Passed:
    """A kernel loses the columns of input channels that are gone, and the rows of its own; the bias likewise.

    A Dense layer may read a tensor of more axes without a RESHAPE between.
    """
    source, weights, bias = KERNEL_INPUTS[step.kind]
    operand, kernel = step.inputs[source], step.constant(weights)
    if operand is None or (step.kind != "FULLY_CONNECTED" and operand.shape[-1] != kernel.shape[-1]):
        raise step.refusal()  # a grouped convolution
    constants: dict[int, NDArray[Any]] = {}
    columns = None
    if operand.mask is not None:
        columns = operand.mask.reshaped(operand.shape, (_rows(operand.shape, kernel), kernel.shape[-1]))
        if columns is None or columns.axis != 1:
            raise step.refusal()
    if step.own is not None:  # first, as whole rows are copied fast
        constants[weights] = kernel = _sliced(kernel, 0, step.own)
        if bias < len(step.inputs) and step.inputs[bias] is not None:
            constants[bias] = _sliced(step.constant(bias), 0, step.own)
        if step.kind == "TRANSPOSE_CONV":
            constants[0] = _resized(step.constant(0), step.own)
    if columns is not None:
        constants[weights] = _sliced(kernel, -1, columns)
    return Passed(mask=step.own, constants=constants)


def _rows(shape: tuple[int, ...], kernel: NDArray[Any]) -> int:
    """Return how often a kernel is applied to a tensor."""
    return int(np.prod(shape, dtype=np.int64)) // int(kernel.shape[-1])


def _depthwise(step: Step) -> Passed:
    """Each input channel has its own output channels, next to each other."""
    mask, kernel = step.over_channels(), step.constant(1)
    own = mask.of(np.repeat(mask.kept, kernel.shape[3] // mask.kept.size))
    constants = {1: _sliced(kernel, 3, own)}
    if len(step.inputs) > 2 and step.inputs[2] is not None:
        constants[2] = _sliced(step.constant(2), 0, own)
    return Passed(mask=own, constants=constants)


def _elementwise(step: Step) -> Passed:
    """What is computed element by element needs the same channels of every input; one that is spread has none."""
    rank = len(step.output)
    masks = [mask.on(mask.axis + rank - len(operand.shape)) for operand, mask in step.masked]
    mask = _equal(step, masks)
    return Passed(mask=mask, constants=_slices_of_others(step, mask))


def _concatenation(step: Step) -> Passed:
    """Joined channels stay where they did before."""
    axis = step.options.axis % len(step.output)
    masks = [mask for _, mask in step.masked]
    if any(mask.axis != axis for mask in masks):
        mask = _equal(step, masks)
        return Passed(mask=mask, constants=_slices_of_others(step, mask))
    kept = [
        operand.mask.kept if operand.mask is not None else np.ones(operand.shape[axis], bool)
        for operand in step.inputs
        if operand is not None
    ]
    return Passed(mask=masks[0].of(np.concatenate(kept)))


def _over_positions(step: Step) -> Passed:
    """What moves or joins positions leaves channels alone."""
    return Passed(mask=step.over_channels())


def _reduction(step: Step) -> Passed:
    """A mean over positions leaves channels alone; one over channels needs them all."""
    operand, mask = step.only()
    reduced = {int(axis) % len(operand.shape) for axis in step.constant(1).reshape(-1)}
    if mask.axis in reduced:
        raise step.refusal()
    if step.options.keepDims:
        return Passed(mask=mask)
    return Passed(mask=mask.on(mask.axis - sum(axis < mask.axis for axis in reduced)))


def _padding(step: Step) -> Passed:
    """Positions are added; channels that are added stay."""
    _, mask = step.only()
    before, behind = (int(count) for count in step.constant(1)[mask.axis])
    if before == behind == 0:
        return Passed(mask=mask)
    if step.kind == "MIRROR_PAD":
        raise step.refusal()
    return Passed(mask=mask.of(np.pad(mask.kept, (before, behind), constant_values=True)))


def _reshape(step: Step) -> Passed:
    """Elements stay with the channel they are of."""
    operand, mask = step.only()
    passed = mask.reshaped(operand.shape, step.output)
    if passed is None:
        raise step.refusal()
    if step.kind != "RESHAPE" or len(step.inputs) < 2:
        return Passed(mask=passed)
    return Passed(mask=passed, constants={1: _resized(step.constant(1), passed)})


def _transpose(step: Step) -> Passed:
    _, mask = step.only()
    return Passed(mask=mask.on(step.constant(1).reshape(-1).tolist().index(mask.axis)))


def _strided_slice(step: Step) -> Passed:
    """Positions may be cut out; all channels must be asked for, and from the first in order."""
    operand, mask = step.only()
    begin, end, stride = (int(step.constant(number)[mask.axis]) for number in (1, 2, 3))
    bit, options = 1 << mask.axis, step.options
    whole = (begin == 0 or options.beginMask & bit) and (end >= operand.shape[mask.axis] or options.endMask & bit)
    if not whole or stride != 1 or options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask & bit:
        raise step.refusal()
    removed = sum(bool(options.shrinkAxisMask & 1 << axis) for axis in range(mask.axis))
    return Passed(mask=mask.on(mask.axis - removed))  # an end beyond the last channel counts as the last


def _equal(step: Step, masks: list[Mask]) -> Mask:
    """Return the mask that all of them are.

    Raises:
        ValueError: They differ.
    """
    for mask in masks[1:]:
        if mask.axis != masks[0].axis or not np.array_equal(mask.kept, masks[0].kept):
            raise ValueError(
                f"Layers '{masks[0].layer}' and '{mask.layer}' must keep the same channels, as they meet in "
                f"{step.kind} ('{step.name}'); they differ."
            )
    return masks[0]


def _slices_of_others(step: Step, mask: Mask) -> dict[int, NDArray[Any]]:
    """Return what becomes of constants beside an input that loses channels.

    Raises:
        ValueError: A computed input would have to lose them too, and does not.
    """
    constants = {}
    for number, operand in enumerate(step.inputs):
        if operand is None or operand.mask is not None:
            continue
        axis = mask.axis - len(step.output) + len(operand.shape)
        if axis < 0 or operand.shape[axis] == 1:
            continue
        if operand.constant is None:
            raise ValueError(
                f"Layer '{mask.layer}' must keep all its channels, as they meet others in {step.kind} "
                f"('{step.name}') of which all stay; it keeps {int(mask.kept.sum())} of {mask.kept.size}."
            )
        constants[number] = _sliced(operand.constant, axis, mask)
    return constants


def _sliced(constant: NDArray[Any], axis: int, mask: Mask) -> NDArray[Any]:
    return np.compress(mask.kept, constant, axis=axis)


def _resized(shape: NDArray[Any], mask: Mask) -> NDArray[Any]:
    """Return a shape that the file holds with fewer channels; -1 stands for what is left over and stays."""
    resized = shape.copy()
    if resized[mask.axis] >= 0:
        resized[mask.axis] = mask.kept.sum()
    return resized


_ELEMENTWISE = """
    ABS ADD ADD_N CAST CEIL COS DEQUANTIZE DIV ELU EQUAL EXP FAKE_QUANT FLOOR FLOOR_DIV FLOOR_MOD GELU GREATER
    GREATER_EQUAL HARD_SWISH LEAKY_RELU LESS LESS_EQUAL LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC MAXIMUM MINIMUM
    MUL NEG NOT_EQUAL POW PRELU QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SELECT_V2 SIGN SIN SQRT SQUARE
    SQUARED_DIFFERENCE SUB TANH ZEROS_LIKE
"""
_OVER_POSITIONS = """
    AVERAGE_POOL_2D BATCH_TO_SPACE_ND L2_POOL_2D MAX_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR SPACE_TO_BATCH_ND
"""

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"), _kernel),
    "DEPTHWISE_CONV_2D": _depthwise,
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    "CONCATENATION": _concatenation,
    **dict.fromkeys(_OVER_POSITIONS.split(), _over_positions),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), _reduction),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), _padding),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), _reshape),
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
}
