"""Let biases make up for what rounding the weights adds to the mean output of a layer.

Rounded weights are off by a little each, and what they add to an output has a mean: with few bits, or few inputs to a
channel (depthwise), one that shifts whole channels. Since an operator with a kernel is linear before its activation,
that mean is what the operator makes of the mean input with the errors of the weights for a kernel, and the bias can
take it off.

References:
    Nagel, van Baalen, Blankevoort and Welling (2019), Data-free quantization through weight equalization and bias
    correction, sec. 4.2. Banner, Nahshan and Soudry (2019), Post training 4-bit quantization of convolutional networks
    for rapid-deployment, sec. 4.2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from paretune.objectives.flatbuffer.graph import Graph, Tensor, read_graph
from paretune.objectives.formats.calibration import activation_means
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.policies.policy import Quantization

#: Biases stay below so many units, as where they are stored in the first place.
_MOST_UNITS = 2**30


def correct_biases(
    template: FloatTemplate,
    float_file: bytes,
    quantized: bytes,
    formats: Mapping[str, Quantization],
    calibration: Sequence[np.ndarray],
) -> bytes:
    """Return the quantized file with biases that keep the mean output of every layer, channel by channel.

    All layers are corrected in one pass, each for its own weights: for the inputs that the float file gives it on the
    samples, its mean output before the activation is that of the float file. These are also the mean inputs that it
    gets once the layers before it are corrected. Layers trained for their rounding (``int8_qat``), those without a
    bias, and recurrent ones stay as they are.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The file before number formats.
        quantized: The file with them.
        formats: Number format by layer name; layers not named are float32.
        calibration: One array per input, in Keras order, samples first.

    Raises:
        MeasurementFailed: The float file cannot be run.
    """
    kernels = {
        place.tensor
        for layer, form in formats.items()
        if form.weight_levels is not None and form is not Quantization.INT8_QAT
        for place in template.places.get(layer, ())
    }
    file = bytearray(quantized)
    before, after = read_graph(float_file), read_graph(file)
    rounded = [found for found in _linear_operators(before, float_file, after) if found.kernel.name in kernels]
    if not rounded:
        return quantized
    shapes = {found.input.name: found.input_shape for found in rounded}
    means = activation_means(float_file, template.input_names, calibration, shapes)
    for found in rounded:
        if found.input.name in means:
            _correct(found, before, after, means[found.input.name])
    return bytes(file)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Linear:
    """An operator with a kernel and a bias, in the float file and in the quantized one.

    Attributes:
        kind: Such as ``CONV_2D``.
        options: As in the schema; ``None`` for ``FULLY_CONNECTED``.
        input: What it reads, in the float file.
        output: What it gives, likewise.
        kernel: Its kernel, likewise.
        bias: Its bias, likewise.
        rounded: The kernel in the quantized file.
        stored: The bias there.
    """

    kind: str
    options: Any
    input: Tensor
    output: Tensor
    kernel: Tensor
    bias: Tensor
    rounded: Tensor
    stored: Tensor

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample of the input, as the kernel meets it."""
        return self.kernel.shape[1:] if self.kind == "FULLY_CONNECTED" else self.input.shape[1:]


def _correct(found: _Linear, before: Graph, after: Graph, mean: np.ndarray) -> None:
    """Write the bias anew, in place."""
    error = after.values(found.rounded).astype(np.float64) - before.values(found.kernel)
    wanted = before.values(found.bias).astype(np.float64).reshape(-1) - _SHIFTS[found.kind](found, error, mean)
    stored = after.stored(found.stored).reshape(-1)
    if found.stored.scales is None:
        stored[:] = wanted
        return
    units = np.round(wanted / np.asarray(found.stored.scales, np.float64))
    stored[:] = np.clip(units, -_MOST_UNITS, _MOST_UNITS)


def _shift_of_dense(found: _Linear, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.asarray(error @ mean)


def _shift_of_convolution(found: _Linear, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("ohwi,hwi->o", error, _mean_under_kernel(found, mean)))


def _shift_of_depthwise(found: _Linear, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    seen = _mean_under_kernel(found, mean)
    seen = np.repeat(seen, error.shape[-1] // seen.shape[-1], axis=-1)
    return np.asarray(np.einsum("hwc,hwc->c", error[0], seen))


def _mean_under_kernel(found: _Linear, mean: np.ndarray) -> np.ndarray:
    """Return the mean input that each place of a kernel meets as it moves, shape (height, width, channels)."""
    options, sizes = found.options, found.kernel.shape[1:3]
    strides = options.StrideH(), options.StrideW()
    spread = options.DilationHFactor(), options.DilationWFactor()
    steps = found.output.shape[1:3]
    padding = [(0, 0)] * 3
    for axis in range(2):
        reach = (steps[axis] - 1) * strides[axis] + (sizes[axis] - 1) * spread[axis] + 1
        missing = max(reach - mean.shape[axis], 0)  # none where the padding is VALID
        padding[axis] = missing // 2, missing - missing // 2
    padded = np.pad(mean, padding)
    seen = np.empty((*sizes, mean.shape[-1]))
    for row, column in np.ndindex(*sizes):
        rows, columns = (
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip((row * spread[0], column * spread[1]), steps, strides, strict=True)
        )
        seen[row, column] = padded[rows, columns].mean(axis=(0, 1))
    return seen


def _shift_of_transposed(found: _Linear, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Each input is spread over the outputs around it; those beyond the edge are cut off."""
    strides, steps = (found.options.StrideH(), found.options.StrideW()), found.output.shape[1:3]
    sizes = found.kernel.shape[1:3]
    seen = np.zeros((*sizes, mean.shape[-1]))
    for place in np.ndindex(*sizes):
        inside = []
        for axis in range(2):
            cut = max((mean.shape[axis] - 1) * strides[axis] + sizes[axis] - steps[axis], 0) // 2
            target = np.arange(mean.shape[axis]) * strides[axis] + place[axis] - cut
            inside.append((target >= 0) & (target < steps[axis]))
        seen[place] = mean[np.ix_(*inside)].sum(axis=(0, 1)) / (steps[0] * steps[1])
    return np.asarray(np.einsum("ohwi,hwi->o", error, seen))


#: By kind of operator: the mean that an error of the kernel adds to each output channel, given the mean input.
_SHIFTS: Mapping[str, Callable[[_Linear, np.ndarray, np.ndarray], np.ndarray]] = {
    "CONV_2D": _shift_of_convolution,
    "DEPTHWISE_CONV_2D": _shift_of_depthwise,
    "FULLY_CONNECTED": _shift_of_dense,
    "TRANSPOSE_CONV": _shift_of_transposed,
}
#: Which inputs carry activations, kernel and bias.
_INPUTS = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
_OPTIONS = {
    "CONV_2D": schema.Conv2DOptions,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
    "TRANSPOSE_CONV": schema.TransposeConvOptions,
}


def _linear_operators(before: Graph, float_file: bytes, after: Graph) -> list[_Linear]:
    """Return the operators of the main subgraph whose bias is a constant of their own in the quantized file."""
    operators = schema.Model.GetRootAs(float_file, 0).Subgraphs(0)
    tensors, uses = after.by_name(), _uses(after)
    found = []
    for number, operator in enumerate(each for each in before.operators if each.subgraph == 0):
        places = _INPUTS.get(operator.kind)
        if places is None or len(operator.inputs) <= places[2] or operator.inputs[places[2]] < 0:
            continue
        given, kernel, bias = (before.named(operator, operator.inputs[place]) for place in places)
        rounded, stored = tensors.get(kernel.name), tensors.get(bias.name)
        if rounded is None or stored is None or not stored.is_constant or uses[stored.buffer] > 1:
            continue
        options = None
        if operator.kind in _OPTIONS:
            options, table = _OPTIONS[operator.kind](), operators.Operators(number).BuiltinOptions()
            options.Init(table.Bytes, table.Pos)
        found.append(
            _Linear(
                kind=operator.kind,
                options=options,
                input=given,
                output=before.named(operator, operator.outputs[0]),
                kernel=kernel,
                bias=bias,
                rounded=rounded,
                stored=stored,
            )
        )
    return found


def _uses(graph: Graph) -> dict[int, int]:
    """Return how many inputs of operators read each buffer."""
    counts: dict[int, int] = {}
    for operator in graph.operators:
        for number in operator.inputs:
            if number >= 0:
                buffer = graph.named(operator, number).buffer
                counts[buffer] = counts.get(buffer, 0) + 1
    return counts
