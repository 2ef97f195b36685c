"""Record a table: train every policy of a grid, and keep what was measured.

``python benchmarks/table/record.py cnn`` takes about half an hour on two cores, ``dscnn`` as long. It may be
interrupted: what has been measured is kept in ``benchmarks/table/recording`` and not measured again. When nothing is
left to do it writes ``benchmarks/table/NAME.npz``.
"""

import argparse
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assemble import front_of, write_table
from grids import GRIDS, HERE, Grid
from rich.progress import Progress

from paretune.experiments.files import write_atomically
from paretune.experiments.runs.facts import description_document
from paretune.experiments.workers.pool import WorkerPool, build_keras_evaluator
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.space import Space
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.measurement import Measurement

#: The policies on the front are trained again with these seeds: what luck is worth.
NOISE_SEEDS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Recording:
    """Measures a grid, one stem with its leaves after the other, each into a file of its own."""

    grid: Grid
    pool: WorkerPool
    description: ModelDescription
    space: Space
    recipe: Recipe
    folder: Path

    def stems(self) -> Iterator[tuple[int, list[dict[str, int]]]]:
        """Yield a number for each stem, and the choices that share it."""
        trained = [each for each in self.space.parameters if each.knob != "quantization"]
        formats = [each for each in self.space.parameters if each.knob == "quantization"]
        for number, stem in enumerate(itertools.product(*(range(len(each.choices)) for each in trained))):
            decided = {each.name: index for each, index in zip(trained, stem, strict=True)}
            leaves = itertools.product(*(range(len(each.choices)) for each in formats))
            yield (
                number,
                [decided | {each.name: index for each, index in zip(formats, leaf, strict=True)} for leaf in leaves],
            )

    def record_stem(self, number: int, choices: Sequence[dict[str, int]]) -> None:
        """Measure the policies of one stem at every rung, unless that has been done."""
        file = self.folder / f"{number:05}.json"
        if not file.exists():
            rows = [
                self._row(choice, rung, seed=0) for rung in (Rung.FULL, Rung.SHORT, Rung.PROXY) for choice in choices
            ]
            write_atomically(file, json.dumps(rows).encode())

    def record_noise(self, choice: dict[str, int]) -> None:
        """Train one policy again, with other seeds."""
        name = "-".join(str(choice[each.name]) for each in self.space.parameters)
        file = self.folder / f"noise-{name}.json"
        if not file.exists():
            rows = [self._row(choice, Rung.FULL, seed=seed) for seed in NOISE_SEEDS]
            write_atomically(file, json.dumps(rows).encode())

    def _row(self, choice: dict[str, int], rung: Rung, *, seed: int) -> dict[str, Any]:
        candidate = Candidate(
            architecture=self.description.architecture,
            recipe=self.recipe,
            policy=self.space.policy(choice),
            seed=seed,
        )
        measured = self.pool.submit(candidate, rung, Limit()).result()
        return {"choice": choice, "rung": rung.value, "seed": seed, **_numbers(measured)}


def _numbers(measured: Measurement) -> dict[str, Any]:
    layers = measured.fidelity.layers
    return {
        "values": dict(measured.values),
        "seconds": dict(measured.seconds),
        "training_steps": measured.training_steps,
        "clean": measured.fidelity.is_clean,
        **{name: [getattr(layer, name) for layer in layers] for name in ("zeros", "rounding_zeros", "distinct")},
        "deflated_bytes": [layer.deflated_bytes for layer in layers],
        "stored_as": [layer.stored_as for layer in layers],
    }


def record(grid: Grid, folder: Path, workers: int) -> None:
    """Measure what is missing, and write the table."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TQDM_DISABLE"] = "1"  # ai-edge-quantizer's bars
    with WorkerPool(grid.settings(folder), workers, folder / "worker.log", build=build_keras_evaluator) as pool:
        description = pool.describe()
        recording = Recording(
            grid=grid,
            pool=pool,
            description=description,
            space=grid.space_of(description),
            recipe=grid.recipe(description.samples["train"]),
            folder=folder,
        )
        baseline = pool.baseline()
        write_atomically(
            folder / "baseline.json",
            json.dumps({"description": description_document(description), **_numbers(baseline)}).encode(),
        )
        stems = list(recording.stems())
        with Progress() as progress, ThreadPoolExecutor(workers) as threads:
            for _ in progress.track(threads.map(lambda stem: recording.record_stem(*stem), stems), total=len(stems)):
                pass
            front = front_of(folder, recording.space)
            for _ in progress.track(threads.map(recording.record_noise, front), total=len(front)):
                pass
    write_table(grid, folder, recording.space)
    print(f"{grid.file.relative_to(HERE.parent.parent)}: {recording.space.cardinality} policies")


def main() -> None:
    """Record the table that the command line names."""
    parser = argparse.ArgumentParser(description="Train every policy of a grid, and record it.")
    parser.add_argument("grid", choices=sorted(GRIDS))
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    asked = parser.parse_args()
    record(GRIDS[asked.grid], HERE / "recording" / asked.grid, asked.workers)


if __name__ == "__main__":
    main()
