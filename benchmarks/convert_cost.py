"""What writing weights into a converted file costs, against converting the model anew: MobileNetV2 and ResNet50.

Run ``python benchmarks/convert_cost.py`` (``--help`` lists the choices). Each model has a process of its own.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from figures import Row, machine_report, spread, table
from trial_runs import call_apart

_PIXELS = 224
MODELS = ("MobileNetV2", "ResNet50")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertCost:
    """Seconds of both ways to a quantized file, and how far their outputs are apart.

    Attributes:
        parameters: Of the model.
        unmatched: Constants of the file that cannot be written; if any, the template converts anew each time.
        template_seconds: Building the template, once per model.
        fill_seconds: Writing weights into it.
        convert_seconds: Converting the model with the same weights.
        int8_seconds: Quantizing the float file to static int8, calibration included.
        dynamic_seconds: Quantizing its weights alone.
        difference: Largest difference of the float files' outputs, relative to the largest output.
        int8_difference: Likewise of the int8 files'.
    """

    parameters: int
    unmatched: int
    template_seconds: float
    fill_seconds: tuple[float, ...]
    convert_seconds: tuple[float, ...]
    int8_seconds: tuple[float, ...]
    dynamic_seconds: tuple[float, ...]
    difference: float
    int8_difference: float


def measure(name: str, repeats: int, samples: int, threads: int) -> ConvertCost:
    """Measure one of Keras' own models, in this process, with other weights in every repeat."""
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.keras_door import keras, limit_threads
    from paretune.objectives.measure.interpreter import TfliteRunner
    from paretune.objectives.templates.conversion import convert
    from paretune.objectives.templates.template import build_template
    from paretune.spaces.policies.policy import Quantization

    limit_threads(threads)
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        input_shape=(_PIXELS, _PIXELS, 3), weights=None, classifier_activation=None
    )
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (samples, _PIXELS, _PIXELS, 3)).astype(np.float32)
    template_seconds, template = _timed(lambda: build_template(model))
    int8, dynamic = (dict.fromkeys(template.places, form) for form in (Quantization.INT8, Quantization.DYNAMIC_INT8))
    rounds, differences = [], []
    for _ in range(repeats):
        _shake(model, rng)
        fill_seconds, filled = _timed(lambda: template.fill(model))
        convert_seconds, converted = _timed(lambda: convert(model))
        int8_seconds, quantized = _timed(lambda file=filled: quantize_file(template, file, int8, [images]))
        dynamic_seconds, _ = _timed(lambda file=filled: quantize_file(template, file, dynamic, [images]))
        rounds.append((fill_seconds, convert_seconds, int8_seconds, dynamic_seconds))
        pairs = ((filled, converted), (quantized, quantize_file(template, converted, int8, [images])))
        differences.append(
            [
                _difference(*(TfliteRunner(file, threads=threads).predict([images[:4]])[0] for file in pair))
                for pair in pairs
            ]
        )
    fill, convert_, static, weights_only = zip(*rounds, strict=True)
    float_difference, int8_difference = np.max(differences, axis=0)
    return ConvertCost(
        parameters=model.count_params(),
        unmatched=len(template.unmatched),
        template_seconds=template_seconds,
        fill_seconds=fill,
        convert_seconds=convert_,
        int8_seconds=static,
        dynamic_seconds=weights_only,
        difference=float(float_difference),
        int8_difference=float(int8_difference),
    )


def report(name: str, cost: ConvertCost, samples: int) -> str:
    """Return the figures of one model as text."""
    rows = [
        (f"seconds, {len(cost.fill_seconds)} repeats", "written into template", "converted anew", "ratio of medians"),
        _row("float file", cost.fill_seconds, cost.convert_seconds),
        _row(
            "with int8 weights (dynamic)",
            _sums(cost.fill_seconds, cost.dynamic_seconds),
            _sums(cost.convert_seconds, cost.dynamic_seconds),
        ),
        _row(
            f"with static int8, {samples} calibration samples",
            _sums(cost.fill_seconds, cost.int8_seconds),
            _sums(cost.convert_seconds, cost.int8_seconds),
        ),
    ]
    return (
        f"\n{name}, {_PIXELS}x{_PIXELS}, {cost.parameters:,} parameters\n{table(rows)}\n"
        f"Building the template, once per model: {cost.template_seconds:.1f} s\n"
        f"Largest difference of outputs, relative to the largest output: {cost.difference:.1e} (float32), "
        f"{cost.int8_difference:.1e} (int8)\n"
        f"Constants of the file that could not be told from the weights: {cost.unmatched}"
    )


def _row(label: str, written: tuple[float, ...], converted: tuple[float, ...]) -> Row:
    ratio = float(np.median(converted) / np.median(written))
    return label, spread(written, ".3f"), spread(converted, ".3f"), f"{ratio:.1f}x"


def _sums(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(one + other for one, other in zip(first, second, strict=True))


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = action()
    return time.perf_counter() - started, result


def _shake(model: Any, rng: np.random.Generator) -> None:
    """Move all weights a little: fresh BatchNorms hold equal constants, which the converter would merge."""
    for layer in model.layers:
        arrays = layer.get_weights()
        scales = [1.0 if array.ndim == 1 else float(np.std(array)) for array in arrays]
        layer.set_weights(
            [array + rng.uniform(0, 0.05, array.shape) * scale for array, scale in zip(arrays, scales, strict=True)]
        )


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(found - expected)) / max(float(np.max(np.abs(expected))), 1e-9))


def main() -> None:
    """Measure what the command line asks for, and print."""
    parser = argparse.ArgumentParser(description="What patching a converted file costs, and converting anew.")
    parser.add_argument("--models", default=",".join(MODELS), help=f"of {', '.join(MODELS)}; default all")
    parser.add_argument("--repeats", type=int, default=5, help="files of other weights")
    parser.add_argument("--samples", type=int, default=16, help="calibration samples for static int8, at least 4")
    parser.add_argument("--threads", type=int, default=1, help="threads of the process")
    asked = parser.parse_args()
    unknown = [name for name in asked.models.split(",") if name not in MODELS]
    if unknown:
        parser.error(f"--models must be of {', '.join(MODELS)}, got '{unknown[0]}'")
    print(machine_report(asked.threads), flush=True)
    for name in asked.models.split(","):
        cost = call_apart(measure, name, asked.repeats, asked.samples, asked.threads, threads=asked.threads)
        print(report(name, cost, asked.samples), flush=True)


if __name__ == "__main__":
    main()
