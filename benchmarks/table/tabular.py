"""Replay a table: an evaluator that looks measurements up, so that a search takes seconds instead of hours."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from assemble import RUNGS, number_of, stage_key
from grids import GRIDS, Grid
from numpy.typing import NDArray

from paretune.experiments.runs.facts import read_description
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible, LimitReached
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.space import Space
from paretune.spaces.results.evaluator import FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement
from paretune.spaces.results.resampling import Resampled


@dataclass(frozen=True, slots=True)
class Table:
    """A recorded table.

    Attributes:
        grid: What it is a table of.
        about: Description of the model, names of the values, baseline.
        arrays: See :func:`assemble.write_table`.
        stages: Seconds of trained stages.
    """

    grid: Grid
    about: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    stages: Mapping[str, float]

    @property
    def description(self) -> ModelDescription:
        """The model, as its real evaluator describes it."""
        return read_description(self.about["description"])

    @property
    def space(self) -> Space:
        """The grid as a search sees it."""
        return self.grid.space_of(self.description)

    @property
    def recipe(self) -> Recipe:
        """How every policy was trained."""
        return self.grid.recipe(self.description.samples["train"])

    @property
    def noise(self) -> list[dict[str, Any]]:
        """What policies on the front measured with other seeds."""
        found: list[dict[str, Any]] = json.loads(str(self.arrays["noise"]))
        return found

    @property
    def reference(self) -> tuple[float, float]:
        """Accuracy and size that hypervolumes are measured from: see :class:`replay.Staircase`."""
        sizes = self.arrays["values"][:, -1, self.about["names"].index("size_bytes")]
        return self.about["values"]["accuracy"] - 0.1, float(sizes.max())

    def values(self, number: int, rung: Rung) -> dict[str, float]:
        """Return what was measured for a policy of the grid, by its number."""
        row = self.arrays["values"][number, RUNGS.index(rung)]
        return {name: float(value) for name, value in zip(self.about["names"], row, strict=True)}


@lru_cache
def read_table(name: str) -> Table:
    """Read a recorded table by name."""
    grid = GRIDS[name]
    with np.load(grid.file) as file:
        arrays = dict(file)
    return Table(grid, json.loads(str(arrays["about"])), arrays, json.loads(str(arrays["stages"])))


class TabularEvaluator:
    """Implements :class:`paretune.spaces.results.evaluator.Evaluator` for the policies of a table.

    Stages are trained once, as in the real one: their steps and seconds are charged to the first candidate that needs
    them. What it "exports" stands for the file, and says which row of the table it is.

    Args:
        table: What to replay.
        shares_stages: Whether a stage is charged only once; otherwise every candidate pays for all of its own.
    """

    def __init__(self, table: Table, *, shares_stages: bool = True) -> None:
        self._table = table
        self._shares_stages = shares_stages
        self._description = table.description
        self._space = table.space
        self._recipe = table.recipe
        self._trained: set[str] = set()

    def describe(self) -> ModelDescription:
        """Return the description of the recorded model."""
        return self._description

    def baseline(self) -> Measurement:
        """Return the measurement of the uncompressed model."""
        return Measurement(values=self._table.about["values"], artifacts={"model.tflite": b"baseline"})

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        """Look a candidate up.

        Raises:
            Infeasible: The policy is not in the grid.
            LimitReached: Its training needs more steps or seconds than ``limit`` allows.
            ValueError: Another model or another recipe than the recorded ones.
        """
        if candidate.architecture != self._description.architecture or candidate.recipe != self._recipe:
            raise ValueError("the table was recorded with another model or recipe")
        choice = self._space.choice_of(candidate.policy)
        if choice is None:
            raise Infeasible("the table does not have this policy")
        number = number_of(choice, self._space)
        missing = self._missing(candidate.policy, rung)
        steps = sum(step for step, _ in missing.values())
        seconds = {"train": sum(second for _, second in missing.values())}
        seconds["measure"] = float(self._table.arrays["seconds"][number, RUNGS.index(rung)])
        if (limit.training_steps is not None and steps > limit.training_steps) or (
            limit.seconds is not None and sum(seconds.values()) > limit.seconds
        ):
            raise LimitReached(f"the recorded training took {steps} steps and {sum(seconds.values()):.1f} seconds")
        if self._shares_stages:
            self._trained.update(missing)
        return Measurement(
            values=self._all_values(number, rung),
            training_steps=steps,
            seconds=seconds,
            fidelity=self._fidelity(number, rung, candidate.policy),
            artifacts={} if rung is Rung.PROXY else {"model.tflite": f"{number} {rung}".encode()},
        )

    def remeasure(self, model: bytes, split: Split) -> Mapping[str, float]:
        """Return the recorded values of an "exported" row; there is one split only."""
        if model == b"baseline":
            values = dict(self._table.about["values"])
        else:
            number, rung = model.decode().split()
            values = self._all_values(int(number), Rung(rung))
        values.pop("latency_ratio")
        return values

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Return the recorded values as what the "exported" row answers."""
        values = self.remeasure(model, Split.TEST)
        return FileExample(
            inputs={"row": np.frombuffer(model, np.uint8)[:1]},
            outputs={name: np.asarray([value]) for name, value in values.items()},
        )

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Return the recorded values; rows were not recorded."""
        values = self.remeasure(model, split)
        return Inspection(
            values=values, resampled=Resampled(metric="accuracy", reason="The table does not hold single rows.")
        )

    def _all_values(self, number: int, rung: Rung) -> dict[str, float]:
        baseline = self._table.about["values"]
        latency = float(self._table.arrays["latency"][number])
        return {**baseline, **self._table.values(number, rung), "latency_ratio": latency}

    def _missing(self, policy: Policy, rung: Rung) -> dict[str, tuple[int, float]]:
        """Return steps and seconds of the stages that have not been trained yet."""
        if rung is Rung.PROXY:
            return {}
        keys = {stage: stage_key(stage, policy, rung) for stage in stages_of(policy)}
        samples = self._description.samples["train"]
        return {
            key: (getattr(self._recipe, stage).steps(samples, rung), self._table.stages[key])
            for stage, key in keys.items()
            if key not in self._trained
        }

    def _fidelity(self, number: int, rung: Rung, policy: Policy) -> Fidelity:
        arrays, place = self._table.arrays, (number, RUNGS.index(rung))
        layers = [
            LayerFidelity(
                layer=spec.name,
                requested=policy[spec.name],
                weights=spec.weights,
                zeros=int(arrays["zeros"][place][row]),
                rounding_zeros=int(arrays["rounding_zeros"][place][row]),
                distinct=int(arrays["distinct"][place][row]),
                distinct_scope="channel",
                stored_as=self._table.about["words"][arrays["stored_as"][place][row]],
                deflated_bytes=int(arrays["deflated_bytes"][place][row]),
                faults=() if arrays["clean"][place] else ("Not as asked when it was recorded.",),
            )
            for row, spec in enumerate(self._space.layers)
        ]
        return Fidelity(tuple(layers))
