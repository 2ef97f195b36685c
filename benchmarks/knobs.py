"""What each knob does on its own: the demo's ResNet-8 under one decision for every layer, option by option.

Run ``python benchmarks/knobs.py``; a layer that does not support an option stays as it was. Accuracy is the file's on
the test split, retrained as ``digits.yaml`` says where the knob needs it; latency is the ratio to the float32 file.
Every file is timed in turn with that one (a search times one file for each set of number formats).
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cases import CASES, uniform_policy
from figures import Row, machine_report, table

from paretune.experiments.workers.pool import WorkerPool
from paretune.objectives.measure.latency import measure_latency
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.results.evaluator import ModelDescription, Split
from paretune.spaces.results.measurement import Measurement

_ALONE: Mapping[str, tuple[Any, ...]] = {
    "channels": (0.75, 0.5, 0.25),
    "sparsity": (0.5, 0.7, 0.8, 0.9, 0.95),
    "clusters": (32, 16, 8, 4),
    "quantization": tuple(mode for mode in Quantization if mode is not Quantization.FLOAT32),
}
_TOGETHER = (
    LayerPolicy(channels=0.5, quantization=Quantization.INT8),
    LayerPolicy(channels=0.5, sparsity=0.5, clusters=16, quantization=Quantization.INT8),
    LayerPolicy(sparsity=0.8, clusters=16),
    LayerPolicy(sparsity=0.8, quantization=Quantization.INT8),
    LayerPolicy(clusters=16, quantization=Quantization.INT8),
    LayerPolicy(sparsity=0.8, clusters=16, quantization=Quantization.INT8),
    LayerPolicy(sparsity=0.8, clusters=16, quantization=Quantization.INT8_QAT),
    LayerPolicy(sparsity=0.9, clusters=8, quantization=Quantization.INT8),
)


def main() -> None:
    """Measure every option, and print the table; a line for each option goes to stderr as it comes."""
    parser = argparse.ArgumentParser(description="What each knob does on its own.")
    parser.add_argument("--case", default="resnet8-demo", choices=sorted(CASES))
    parser.add_argument("--threads", type=int, default=1, help="threads of training and inference")
    asked = parser.parse_args()
    print(machine_report(asked.threads), flush=True)
    case = CASES[asked.case]
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        scratch = Path(folder)
        settings = case.settings(scratch, threads=asked.threads)
        with WorkerPool(settings, 1, scratch / "worker.log") as pool:
            description = pool.describe()
            baseline = pool.baseline()
            rows = [("option", "size", "smaller", "raw", "accuracy", "latency", "layers")]
            rows.append(_row(pool, settings, description, "untouched", baseline, baseline, ""))
            for name, wanted in _options():
                policy = uniform_policy(description.layers, wanted)
                candidate = Candidate(
                    architecture=description.architecture,
                    recipe=case.recipe(description.samples["train"]),
                    policy=policy,
                )
                measured = pool.submit(candidate, Rung.FULL, Limit()).result()
                touched = sum(not decided.is_untouched for decided in policy.values())
                rows.append(_row(pool, settings, description, name, measured, baseline, f"{touched}/{len(policy)}"))
                print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(rows))


def _options() -> Iterator[tuple[str, LayerPolicy]]:
    for knob, options in _ALONE.items():
        for option in options:
            yield f"{knob} {option}", LayerPolicy(**{knob: option})
    for policy in _TOGETHER:
        untouched = LayerPolicy().to_document()
        decided = {knob: value for knob, value in policy.to_document().items() if value != untouched[knob]}
        yield ", ".join(f"{knob} {value}" for knob, value in decided.items()), policy


def _row(
    pool: WorkerPool,
    settings: EvaluatorSettings,
    description: ModelDescription,
    name: str,
    measured: Measurement,
    baseline: Measurement,
    touched: str,
) -> Row:
    values = measured.values
    metric = next(iter(description.objectives))
    file = measured.artifacts["model.tflite"]
    on_test = pool.remeasure(file, Split.TEST)[metric]
    latency = measure_latency(file, baseline.artifacts["model.tflite"], threads=settings.threads)
    return (
        name,
        f"{values['size_bytes'] / 1000:.1f} kB",
        f"{baseline.values['size_bytes'] / values['size_bytes']:.1f}x",
        f"{values['raw_bytes'] / 1000:.1f} kB",
        f"{on_test:.4f}",
        f"{latency.ratio:.2f}x",
        touched,
    )


if __name__ == "__main__":
    main()
