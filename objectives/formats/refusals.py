"""Find out which number formats the layers of a model cannot have, by trying them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from paretune.objectives.formats.calibration import Ranges, activation_ranges
from paretune.objectives.formats.formats import quantize_with_ranges
from paretune.objectives.formats.recipes import why_impossible
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.templates.template import FloatTemplate
from paretune.spaces.errors import Infeasible, MeasurementFailed
from paretune.spaces.policies.policy import Quantization

_TRIED = (
    Quantization.FLOAT16,
    Quantization.DYNAMIC_INT8,
    Quantization.INT8,
    Quantization.INT16X8,
    Quantization.INT4,
    Quantization.INT4_BLOCK,
)
#: Greatest error of the outputs, relative to the outputs, root mean square. A kernel that is broken gives 1 (zeros) or
#: about 1.4 (something unrelated); rounding one layer to four bits, the coarsest there is, 0.1 for Gaussian weights.
_WILD = 0.5
#: Samples for ranges, and for comparing outputs.
_CALIBRATED, _COMPARED = 64, 8


def refused_formats(
    template: FloatTemplate, float_file: bytes, calibration: Sequence[np.ndarray]
) -> Mapping[str, Mapping[Quantization, str]]:
    """Return the number formats that layers cannot have on this runtime, and why.

    Each format is tried on all layers that may have it, together: the file is quantized, read back, run, and its
    outputs compared with those of the float file. Only when that fails are layers told apart, by halving: rounding
    errors that merely add up over many layers vanish on the way, a broken layer stays.

    Args:
        template: What ``float_file`` was filled from.
        float_file: The float file with the trained weights.
        calibration: One array per input, in Keras order, samples first; the first few are used.

    Returns:
        For every layer with a kernel in the file: a reason by format; empty where all work. ``int8_qat`` is refused
        where ``int8`` is.

    Raises:
        MeasurementFailed: The float file itself cannot be run.
    """
    refused: dict[str, dict[Quantization, str]] = {layer: {} for layer in template.places}
    ranges = activation_ranges(float_file, template.input_names, [array[:_CALIBRATED] for array in calibration])
    samples = [array[:_COMPARED] for array in calibration]
    expected = _outputs(template, float_file, samples)
    for form in _TRIED:
        possible = []
        for layer, places in template.places.items():
            reasons = [reason for place in places if (reason := why_impossible(place, form)) is not None]
            if reasons:
                refused[layer][form] = reasons[0]
            else:
                possible.append(layer)
        attempt = _attempt(template, float_file, ranges, samples, expected, form)
        for layer, reason in _failing(possible, attempt).items():
            refused[layer][form] = reason
    for reasons_by_form in refused.values():
        if Quantization.INT8 in reasons_by_form:
            reasons_by_form[Quantization.INT8_QAT] = reasons_by_form[Quantization.INT8]
    return refused


def _attempt(
    template: FloatTemplate,
    float_file: bytes,
    ranges: Ranges,
    samples: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    form: Quantization,
) -> Callable[[Sequence[str]], str | None]:
    """Return a function that tries ``form`` on some layers and tells what went wrong, if anything."""

    def attempt(layers: Sequence[str]) -> str | None:
        try:
            file = quantize_with_ranges(template, float_file, dict.fromkeys(layers, form), ranges)
            found = _outputs(template, file, samples)
        except (Infeasible, MeasurementFailed) as error:
            return str(error)
        worst = max(_relative_error(one, other) for one, other in zip(found, expected, strict=True))
        if not worst <= _WILD:
            return f"the output of the file is off by {worst:.0%} in {form} on this runtime."
        return None

    return attempt


def _failing(layers: Sequence[str], attempt: Callable[[Sequence[str]], str | None]) -> dict[str, str]:
    """Return the layers on which an attempt fails, with its reason, trying ever smaller groups."""
    if not layers:
        return {}
    reason = attempt(layers)
    if reason is None:
        return {}
    if len(layers) == 1:
        return {layers[0]: reason}
    middle = len(layers) // 2
    return _failing(layers[:middle], attempt) | _failing(layers[middle:], attempt)


def _outputs(template: FloatTemplate, file: bytes, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    return TfliteRunner(file, template.input_names, template.output_names).predict(samples, batch=1)


def _relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    size = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(found - expected, dtype=np.float64)))) / max(size, 1e-9)
