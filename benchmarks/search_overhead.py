"""What a search itself costs: seconds of deciding, for as many trials and layers as asked.

Run ``python benchmarks/search_overhead.py`` (``--help`` lists the choices). The evaluator here is a formula whose time
is taken off, and nothing else: profile, additive front, learner, rungs, and Optuna's share of the proposals stay in.
Every trial counts, also one that was refused untrained.
"""

import argparse
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in a search, whose workers have the other cores

import numpy as np
from figures import machine_report

from paretune.search.driver import run_search
from paretune.search.settings import FUNNEL, SamplerSettings, SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe, training_steps_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.layers import LayerSpec, untouched_policy
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization, digest_of
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.evaluator import FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement
from paretune.spaces.results.objective import FILE_OBJECTIVES, Direction, Objective
from paretune.spaces.results.trial import Budget, TrialState

_ACCURACY = Objective(name="accuracy", direction=Direction.MAXIMIZE, tolerance=0.001)
_SAMPLES = 1_000
_SHARES = 10


@dataclass(frozen=True)
class FormulaEvaluator:
    """Losses and bytes that add up over the layers, halved by training."""

    layers: tuple[LayerSpec, ...]

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        """Return a model of these layers."""
        return ModelDescription(
            architecture=digest_of([spec.name for spec in self.layers]),
            layers=self.layers,
            objectives={_ACCURACY.name: _ACCURACY, **FILE_OBJECTIVES},
            samples={"train": _SAMPLES, "validation": _SAMPLES, "test": _SAMPLES},
        )

    def baseline(self) -> Measurement:
        """Return what the uncompressed model measures."""
        return Measurement(values=self._values(untouched_policy(self.layers), Rung.FULL))

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        """Return what the formula gives."""
        rows = tuple(
            LayerFidelity(
                layer=spec.name,
                requested=candidate.policy[spec.name],
                weights=spec.weights,
                zeros=0,
                rounding_zeros=0,
                distinct=spec.distinct,
                distinct_scope="tensor",
                stored_as=str(candidate.policy[spec.name].quantization),
                deflated_bytes=round(_bytes(spec, candidate.policy[spec.name])),
                faults=(),
            )
            for spec in self.layers
        )
        return Measurement(
            values=self._values(candidate.policy, rung),
            training_steps=training_steps_of(candidate.policy, candidate.recipe, rung, _SAMPLES),
            fidelity=Fidelity(rows),
        )

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """There are no files."""
        raise NotImplementedError

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """There are no files."""
        raise NotImplementedError

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """There are no files."""
        raise NotImplementedError

    def _values(self, policy: Policy, rung: Rung) -> dict[str, float]:
        loss = sum(_loss(place, policy[spec.name]) for place, spec in enumerate(self.layers)) / len(self.layers)
        left = 1.0 if rung is Rung.FULL else 2.0
        luck = int(policy.digest[:4], 16) / 0xFFFF
        return {
            "accuracy": max(0.1, 0.98 - left * loss - 0.003 * luck),
            "loss": left * loss,
            "size_bytes": 2_000 + sum(_bytes(spec, policy[spec.name]) for spec in self.layers),
            "latency_ratio": 1.0,
        }


def _loss(place: int, decided: LayerPolicy) -> float:
    clusters = 0.0 if decided.clusters is None else 0.6 / decided.clusters
    bits = 4 / decided.quantization.weight_bits**2
    return (0.3 * decided.sparsity**3 + clusters + bits) * (1 + (7 * place) % 5) / 3


def _bytes(spec: LayerSpec, decided: LayerPolicy) -> float:
    bits = float(decided.quantization.weight_bits)
    if decided.clusters is not None:
        bits = min(bits, np.log2(decided.clusters))
    return spec.weights * (1 - 0.9 * decided.sparsity) * bits / 8


class _TimedService(ImmediateService):
    """Keeps what the evaluator takes apart."""

    evaluating = 0.0

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        started = time.perf_counter()
        try:
            return super().submit(candidate, rung, limit)
        finally:
            self.evaluating += time.perf_counter() - started


def main() -> None:
    """Search once, and print how long it took to decide."""
    asked = _arguments()
    print(machine_report(1), flush=True)
    layers = tuple(
        LayerSpec(
            name=f"layer{place}",
            kind="Conv2D",
            weight_shape=(3, 3, 16, 16),
            weights=2_304 * (1 + place % 4),
            distinct=2_304,
            macs=1,
            quantizations=tuple(Quantization),
        )
        for place in range(asked.layers)
    )
    evaluator = FormulaEvaluator(layers)
    description = evaluator.describe()
    problem = SearchProblem(
        description=description,
        space=build_space(layers, SpaceSettings()),
        objectives=(_ACCURACY, FILE_OBJECTIVES["size_bytes"]),
        sampler=SamplerSettings(name=FUNNEL),
        rungs=tuple(Rung),
        budget=Budget(trials=asked.trials),
    )
    ledger, service = MemoryLedger(), _TimedService(evaluator)
    candidate = Candidate(architecture=description.architecture, recipe=Recipe(), policy=untouched_policy(layers))
    trial = ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="baseline", parameters={})
    ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=evaluator.baseline()))
    started = time.perf_counter()
    marks = {0: 0.0}

    def is_enough() -> bool:
        marks[len(ledger.trials()) - 1] = time.perf_counter() - started - service.evaluating
        return len(ledger.trials()) > asked.trials

    run_search(problem, service, ledger, stop_requested=is_enough, clock=service.clock)
    total = max(marks.values())
    last = max(marks)
    print(f"\n{asked.layers} layers, {len(problem.space.parameters)} knobs, {last} trials: {total:.0f} s of deciding")
    print(f"of which the profile and the additive front {marks[min(number for number in marks if number)]:.1f} s")
    print("seconds a trial, tenth by tenth: " + "  ".join(f"{each:.2f}" for each in _by_share(marks, last)))
    print(f"2 % of the wall if a trial takes {50 * total / last:.1f} s of it")


def _by_share(marks: Mapping[int, float], last: int) -> list[float]:
    numbers = np.array(sorted(marks))
    at = np.interp(np.linspace(numbers[1], last, _SHARES + 1), numbers, [marks[number] for number in numbers])
    return [float(each) for each in np.diff(at) / ((last - numbers[1]) / _SHARES)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a search itself costs, beside the evaluations.")
    parser.add_argument("--trials", type=int, default=1_000, help="refused ones among them")
    parser.add_argument("--layers", type=int, default=30)
    return parser.parse_args()


if __name__ == "__main__":
    main()
