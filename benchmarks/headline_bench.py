"""What the headlines have in common: figures that are kept as they come, and a model on a bench of its own."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from cases import Case

from paretune.experiments.workers.pool import WorkerPool
from paretune.objectives.measure.latency import machine_facts, measure_latency
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.evaluator import ModelDescription, Split
from paretune.spaces.results.measurement import Measurement

Figures = Mapping[str, float]

#: What makes a policy of what is known about a model, and a recipe of how many training samples there are.
PolicyOf = Callable[[ModelDescription], Policy]
RecipeOf = Callable[[int], Recipe]


class NotMeasured(Exception):
    """A figure is not kept, and nothing may be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the table.

    Attributes:
        what: What was measured.
        measured: The figures.
        claimed: What others found or promise; empty where nobody does.
        verdict: In a few words.
    """

    what: str
    measured: str
    claimed: str = ""
    verdict: str = ""


@dataclass(slots=True, kw_only=True)
class Notebook:
    """The figures of one row by what they are of; each is kept at once, and never measured again.

    Attributes:
        row: Name of the row.
        file: Of JSON lines, one a figure, those of other rows among them; ``None`` keeps nothing.
        may_measure: Whether figures that are not kept are measured.
    """

    row: str
    file: Path | None
    may_measure: bool = True
    _known: dict[str, Figures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file is not None and self.file.exists():
            entries = map(json.loads, self.file.read_text().splitlines())
            self._known = {each["of"]: each["figures"] for each in entries if each["row"] == self.row}

    def figures(self, of: str, measure: Callable[[], Figures]) -> Figures:
        """Return what is kept under a name, or measure and keep it.

        Raises:
            NotMeasured: Nothing is kept, and nothing may be measured.
        """
        if of not in self._known:
            if not self.may_measure:
                raise NotMeasured(of)
            self._known[of] = found = dict(measure())
            text = ", ".join(f"{name} {value:.5g}" for name, value in found.items())
            print(f"{self.row}: {of}: {text}", file=sys.stderr, flush=True)
            if self.file is not None:
                entry = {"row": self.row, "of": of, "cpu": machine_facts(1)["cpu"], "figures": found}
                with self.file.open("a") as kept:
                    kept.write(json.dumps(entry) + "\n")
        return self._known[of]


class Bench:
    """One model in a worker of one thread, as a search has it; started when there is first something to measure.

    Args:
        notebook: Receives the figures.
        case: The model, and how long its trials train.
        scratch: Folder for what the worker keeps.
        rounds: How often a file's latency is measured, each time beside the uncompressed one; 0 leaves it out.
    """

    def __init__(self, notebook: Notebook, case: Case, scratch: Path, *, rounds: int = 0) -> None:
        self._notebook = notebook
        self._case = case
        self._scratch = scratch / case.model.replace(":", "-")
        self._rounds = rounds
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the worker, if there is one."""
        self._open.close()

    def baseline(self) -> Figures:
        """Measure the uncompressed file."""
        return self._notebook.figures(f"{self._case.model} untouched", lambda: self._figures(self._uncompressed))

    def trial(self, of: str, policy: PolicyOf, *, recipe: RecipeOf | None = None, seed: int = 0) -> Figures:
        """Train and measure a policy.

        Returns:
            What the evaluator measures on the validation split; under ``test_accuracy`` and ``test_loss`` what it
            measures on the test split; ``faults``, the number of layers whose file is not as asked; of ``layers``,
            how many are ``touched`` by the policy; and, where that is measured, ``latency`` (median of the rounds)
            with ``latency_low`` and ``latency_high``, their extremes.
        """

        def measure() -> Figures:
            description = self._description
            decided = policy(description)
            candidate = Candidate(
                architecture=description.architecture,
                recipe=(recipe or self._case.recipe)(description.samples["train"]),
                policy=decided,
                seed=seed,
            )
            touched = sum(not each.is_untouched for each in decided.values())
            figures = self._figures(self._pool.submit(candidate, Rung.FULL, Limit()).result())
            return {**figures, "touched": float(touched), "layers": float(len(decided))}

        return self._notebook.figures(f"{self._case.model} {of}, seed {seed}", measure)

    def _figures(self, measured: Measurement) -> Figures:
        file = measured.artifacts["model.tflite"]
        on_test = self._pool.remeasure(file, Split.TEST)
        figures = {
            "size_bytes": measured.values["size_bytes"],
            "raw_bytes": measured.values["raw_bytes"],
            "macs": measured.values["macs"],
            "accuracy": measured.values["accuracy"],
            "test_accuracy": on_test["accuracy"],
            "test_loss": on_test["loss"],
            "faults": float(len(measured.fidelity.faults)),
        }
        return figures | (self._latency(file) if self._rounds else {})

    def _latency(self, file: bytes) -> dict[str, float]:
        base = self._uncompressed.artifacts["model.tflite"]
        ratios = [measure_latency(file, base, threads=1).ratio for _ in range(self._rounds)]
        return {"latency": float(np.median(ratios)), "latency_low": min(ratios), "latency_high": max(ratios)}

    @cached_property
    def _pool(self) -> WorkerPool:
        self._scratch.mkdir(parents=True, exist_ok=True)
        # trained stages are kept, so that another number format of the same weights costs no training
        settings = replace(self._case.settings(self._scratch), stage_folder=str(self._scratch / "stages"))
        return self._open.enter_context(WorkerPool(settings, 1, self._scratch / "worker.log"))

    @cached_property
    def _description(self) -> ModelDescription:
        return self._pool.describe()

    @cached_property
    def _uncompressed(self) -> Measurement:
        return self._pool.baseline()
