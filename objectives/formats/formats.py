"""Give every layer of a float32 file its number format."""

from collections.abc import Mapping, Sequence

import numpy as np

from paretune.objectives.flatbuffer.graph import read_graph
from paretune.objectives.flatbuffer.places import KernelPlace
from paretune.objectives.flatbuffer.stored import file_format, is_stored_as, kernel_tensor, stored_format
from paretune.objectives.formats.calibration import Ranges, activation_ranges
from paretune.objectives.formats.recipes import apply_recipe, make_recipe
from paretune.objectives.formats.storage import store_kernels
from paretune.objectives.formats.zero_blocks import mend_zero_blocks
from paretune.objectives.formats.zero_channels import mend_lost_biases
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.policy import Quantization


def quantize_file(
    template: FloatTemplate,
    float_file: bytes,
    formats: Mapping[str, Quantization],
    calibration: Sequence[np.ndarray],
) -> bytes:
    """Return the file with every layer in its number format; layers not named stay float32.

    Operators without weights (additions, pooling, ...) compute in the static format of the layers that feed them, if
    all of those have the same. Inputs and outputs of the file stay float32. The same arguments give the same bytes.

    Kernels of convolutions have a scale per output channel; of Dense layers one scale, as tfmot trains them, unless
    BatchNorm is folded in, they are factors, or the format is int4, where one scale is too coarse; of ``int4_block``,
    each block of 32 weights of an output has one, in half precision. Activations of ``int8`` are asymmetric, all else
    is symmetric.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The file as :meth:`FloatTemplate.fill` gave it.
        formats: Number format by layer name.
        calibration: One array per input, in Keras order, samples first; used where a static format asks for ranges.

    Raises:
        Infeasible: A layer cannot have the format; the tool skips such recipes silently, so the result is read back.
        MeasurementFailed: Calibration could not run the float file.
    """
    ranges: Ranges = {}
    if any(form.is_static or _is_lookup(template, layer) for layer, form in formats.items()):
        ranges = activation_ranges(float_file, template.input_names, calibration)
    return quantize_with_ranges(template, float_file, formats, ranges)


def check_formats(template: FloatTemplate, float_file: bytes, formats: Mapping[str, Quantization]) -> None:
    """Raise where a layer cannot have its number format in a file that lost channels, before anything is trained.

    Raises:
        Infeasible: As :func:`quantize_file` would, as far as that is known without trying.
    """
    asked = {layer: file_format(form) for layer, form in formats.items() if form is not Quantization.FLOAT32}
    make_recipe(read_graph(float_file), {layer: template.places.get(layer, ()) for layer in asked}, asked)


def quantize_with_ranges(
    template: FloatTemplate, float_file: bytes, formats: Mapping[str, Quantization], ranges: Ranges
) -> bytes:
    """Do what :func:`quantize_file` does, with activation ranges measured before; see there.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The float32 file.
        formats: Number format by layer name.
        ranges: What :func:`~paretune.objectives.formats.calibration.activation_ranges` gave for ``float_file``.
    """
    asked = {layer: file_format(form) for layer, form in formats.items() if form is not Quantization.FLOAT32}
    unknown = sorted(set(asked) - set(template.places))
    if unknown:
        raise Infeasible(f"Layer '{unknown[0]}' cannot be stored as {asked[unknown[0]]}: the file has no kernel of it.")
    if not asked:
        return float_file
    places = {layer: template.places[layer] for layer in asked}
    graph = read_graph(float_file)
    for place in (place for own in places.values() for place in own):
        kernel_tensor(graph, place)  # a conversion of its own, where the template cannot be filled, may lack one
    recipe = make_recipe(graph, places, asked)
    file = float_file
    if recipe:
        static = any(rule.config.activation_tensor_config is not None for rule in recipe)
        file = mend_lost_biases(float_file, apply_recipe(float_file, recipe, ranges if static else {}))
        file = mend_zero_blocks(file)
    file = store_kernels(file, [(place, asked[layer]) for layer, own in places.items() for place in own])
    _check(file, places, asked)
    return file


def _is_lookup(template: FloatTemplate, layer: str) -> bool:
    return any(place.operator == "GATHER" for place in template.places.get(layer, ()))


def _check(file: bytes, places: Mapping[str, Sequence[KernelPlace]], asked: Mapping[str, Quantization]) -> None:
    graph = read_graph(file)
    for layer, own in places.items():
        for place in own:
            stored = stored_format(graph, place)
            if not is_stored_as(asked[layer], stored, place):
                raise Infeasible(f"Layer '{layer}' cannot be stored as {asked[layer]}: it comes out as {stored}.")
            if (
                asked[layer] is Quantization.FLOAT16
                and not np.isfinite(graph.stored(kernel_tensor(graph, place))).all()
            ):
                raise Infeasible(f"Layer '{layer}' cannot be stored as float16: it has weights beyond 65504.")
