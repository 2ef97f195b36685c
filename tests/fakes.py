"""Fakes that the tests of several rooms share; each passes the contract suite of what it stands in for."""

import hashlib
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paretune.search.simulation import MemoryLedger
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.hyperspace import Hyperparameter, default_values
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import Infeasible, LimitReached
from paretune.spaces.policies.layers import LayerSpec, untouched_policy
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization, digest_of
from paretune.spaces.results.evaluator import Answers, Evaluator, FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Fidelity, LayerFidelity, Measurement
from paretune.spaces.results.objective import FILE_OBJECTIVES, Direction, Objective
from paretune.spaces.results.trial import TrialState

ACCURACY = Objective(name="accuracy", direction=Direction.MAXIMIZE, tolerance=0.001)
SIZE = FILE_OBJECTIVES["size_bytes"]
LATENCY = FILE_OBJECTIVES["latency_ratio"]

#: How much accuracy a number format costs a layer of sensitivity 1, and how much time it takes beside float32.
_FORMAT_LOSS = {
    Quantization.FLOAT32: 0.0,
    Quantization.FLOAT16: 0.001,
    Quantization.DYNAMIC_INT8: 0.02,
    Quantization.INT8: 0.04,
    Quantization.INT8_QAT: 0.015,
    Quantization.INT16X8: 0.01,
    Quantization.INT4: 0.3,
    Quantization.INT4_BLOCK: 0.25,
}
_FORMAT_SECONDS = {
    Quantization.FLOAT32: 1.0,
    Quantization.FLOAT16: 1.0,
    Quantization.DYNAMIC_INT8: 1.5,
    Quantization.INT8: 0.6,
    Quantization.INT8_QAT: 0.6,
    Quantization.INT16X8: 0.9,
    Quantization.INT4: 1.5,
    Quantization.INT4_BLOCK: 1.5,
}
_FILE_OVERHEAD_BYTES = 2000.0
STEPS_PER_STAGE = 40


def _activation_bits(decided: LayerPolicy) -> int:
    """Return the bits of a layer's activations, as static formats have them."""
    if decided.quantization is Quantization.INT16X8:
        return 16
    return 8 if decided.quantization.is_static else 32


def layer_specs(count: int = 4, quantizations: Sequence[Quantization] = tuple(Quantization)) -> tuple[LayerSpec, ...]:
    """Return layers that support every knob, each larger than the one before."""
    return tuple(
        LayerSpec(
            name=f"conv{index}",
            kind="Conv2D",
            weight_shape=(3, 3, 8, 10 * 2**index),
            weights=720 * 2**index,
            distinct=720 * 2**index,
            macs=1000 * (count - index),
            quantizations=tuple(quantizations),
        )
        for index in range(count)
    )


@dataclass(frozen=True)
class AnalyticEvaluator:
    """Evaluates a policy by formula: losses, bytes and seconds add up over the layers.

    Early layers are small and sensitive, late ones large and forgiving, as in real networks. A file at rung ``proxy``
    is ``proxy_bias`` times as large as the trained one, and no training step is spent on it.

    Attributes:
        layers: The model.
        proxy_bias: Size before training over size after it.
        unclean: Whether a policy's file does not hold what was asked.
        failures: What to raise instead of measuring, by policy digest.
    """

    layers: tuple[LayerSpec, ...] = field(default_factory=layer_specs)
    proxy_bias: float = 1.05
    unclean: Callable[[Policy], bool] = lambda policy: False
    failures: Mapping[str, Exception] = field(default_factory=dict)

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        assert not hyperparameters
        return ModelDescription(
            architecture=digest_of([spec.name for spec in self.layers]),
            layers=self.layers,
            objectives={ACCURACY.name: ACCURACY, **FILE_OBJECTIVES},
            fingerprint={"model": "analytic"},
            machine={"cpu": "none", "threads": 1},
            # enough for the default recipe to take a little more steps than a trial here does
            samples={"train": 960, "validation": 50, "test": 50},
        )

    def baseline(self) -> Measurement:
        untouched = untouched_policy(self.layers)
        values = self._values(untouched, Rung.FULL)
        return Measurement(
            values=values,
            fidelity=self._fidelity(untouched, Rung.FULL),
            artifacts={"model.tflite": _file_of(values)},
        )

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        policy = candidate.policy
        if policy.digest in self.failures and rung is not Rung.PROXY:
            raise self.failures[policy.digest]
        steps = self.steps(policy, rung)
        if limit.training_steps is not None and steps > limit.training_steps:
            raise LimitReached(f"needs {steps} steps, may spend {limit.training_steps}")
        values = self._values(policy, rung)
        return Measurement(
            values=values,
            training_steps=steps,
            seconds={"prune": steps / 100, "measure": 0.1},
            fidelity=self._fidelity(policy, rung),
            details={"rung": str(rung)},
            artifacts={} if rung is Rung.PROXY else {"model.tflite": _file_of(values)},
        )

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        values: dict[str, float] = json.loads(model)
        lost = 0.0 if split is Split.VALIDATION else 0.005
        return {**values, "accuracy": values["accuracy"] - lost}

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        samples = np.arange(12, dtype=np.float32).reshape(3, 4)
        return FileExample(
            inputs={"x": samples}, outputs={"output_0": samples[:, :2] * 2}, operators=("CONV_2D", "SOFTMAX")
        )

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Get the first rows of a split right, as many as the accuracy says, and the others wrong by one."""
        from paretune.objectives.measure.resampling import resample

        values = self.remeasure(model, split, hyperparameters)
        rows = self.describe().samples[str(split)]
        right = np.arange(rows) < round(values["accuracy"] * rows)
        truth = np.arange(rows) % 4
        resampled = resample("accuracy", lambda chosen: values["accuracy"] + right[chosen].mean() - right.mean(), rows)
        said = np.where(right, truth, (truth + 1) % 4)
        return Inspection(
            values=values,
            resampled=resampled,
            answers=Answers(truth=tuple(truth.tolist()), said=tuple(said.tolist())),
        )

    def steps(self, policy: Policy, rung: Rung) -> int:
        """Return the training steps that a policy takes: one stage for each knob that trains."""
        stages = (
            any(decided.sparsity > 0 for decided in policy.values())
            + any(decided.clusters is not None for decided in policy.values())
            + any(decided.quantization is Quantization.INT8_QAT for decided in policy.values())
        )
        return int(STEPS_PER_STAGE * stages * rung.epochs_share)

    def _bias(self, rung: Rung) -> float:
        return self.proxy_bias if rung is Rung.PROXY else 1.0

    def _values(self, policy: Policy, rung: Rung) -> dict[str, float]:
        loss = seconds = float32_seconds = weight_bytes = raw_bytes = bit_operations = 0.0
        for index, spec in enumerate(self.layers):
            decided = policy[spec.name]
            sensitivity = 1 / (1 + index)
            shared = 0.0 if decided.clusters is None else 0.3 / decided.clusters
            loss += sensitivity * (0.1 * decided.sparsity**4 + shared + _FORMAT_LOSS[decided.quantization])
            weight_bytes += spec.weights * _bits_per_weight(decided) / 8
            raw_bytes += spec.weights * decided.quantization.weight_bits / 8
            seconds += spec.macs * _FORMAT_SECONDS[decided.quantization]
            float32_seconds += spec.macs
            bit_operations += spec.macs * decided.quantization.weight_bits * _activation_bits(decided)
        # a hair of disagreement between policies, the same in every process
        jitter = int(hashlib.sha256(_decisions(policy).encode()).hexdigest()[:4], 16) / 0xFFFF
        size = (weight_bytes + _FILE_OVERHEAD_BYTES) * self._bias(rung)
        return {
            "accuracy": max(0.1, 0.98 - loss - 0.002 * jitter - (0.2 if rung is Rung.PROXY else 0.0)),
            "size_bytes": round(size),
            "raw_bytes": round(raw_bytes + _FILE_OVERHEAD_BYTES),
            "entropy_bytes": round(size * 0.95),
            "macs": float32_seconds,
            "bit_operations": bit_operations,
            "parameters": float(sum(spec.weights for spec in self.layers)),
            "arena_bytes": self._arena_bytes(policy),
            "energy_nj": (bit_operations + 8 * raw_bytes) / 1e3,
            "latency_ratio": seconds / float32_seconds,
            "loss": loss + 0.002 * jitter,
        }

    def _arena_bytes(self, policy: Policy) -> float:
        """Return the most that two layers in a row take: no layer alone decides it."""
        widths = [_activation_bits(policy[spec.name]) / 8 for spec in self.layers]
        return 1000 * max(first + second for first, second in zip([*widths, 0.0], [0.0, *widths], strict=True))

    def _fidelity(self, policy: Policy, rung: Rung) -> Fidelity:
        bias = self._bias(rung)
        return Fidelity(
            tuple(
                LayerFidelity(
                    layer=spec.name,
                    requested=policy[spec.name],
                    weights=spec.weights,
                    zeros=spec.zeros(policy[spec.name].sparsity),
                    rounding_zeros=0,
                    distinct=policy[spec.name].clusters or spec.distinct,
                    distinct_scope="channel",
                    stored_as=str(policy[spec.name].quantization).removesuffix("_qat"),
                    deflated_bytes=round(spec.weights * _bits_per_weight(policy[spec.name]) / 8 * bias),
                    faults=("lost its zeros",) if self.unclean(policy) else (),
                )
                for spec in self.layers
            )
        )


@dataclass(frozen=True)
class ScaledEvaluator(AnalyticEvaluator):
    """A model of the same layers that is a little worse, or better, before it is compressed."""

    shift: float = 0.0

    def _values(self, policy: Policy, rung: Rung) -> dict[str, float]:
        values = super()._values(policy, rung)
        return {**values, "accuracy": values["accuracy"] + self.shift}


class VariedEvaluator:
    """Evaluates models of several widths and learning rates; the narrow are small and little worse.

    Attributes:
        built: Values that models were built for, in order; the baseline's, width 4, is there from the start.
        unbuildable: Widths that cannot be built.
    """

    HYPERSPACE = (
        Hyperparameter(name="width", choices=(1, 2, 4), default=4),
        Hyperparameter(name="rate", choices=("high", "low"), default="high"),
    )
    BASE_STEPS = 30

    def __init__(self, unbuildable: Sequence[int] = ()) -> None:
        self.unbuildable = unbuildable
        self.built: list[Mapping[str, Any]] = []

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        values = default_values(self.HYPERSPACE) if hyperparameters is None else dict(hyperparameters)
        if hyperparameters is not None:
            self.built.append(values)
        if values["width"] in self.unbuildable:
            raise Infeasible(f"width {values['width']} gives NaN")
        description = self.model(values).describe()
        return replace(
            description,
            architecture=digest_of([description.architecture, values]),
            hyperparameters=values,
            hyperspace=self.HYPERSPACE,
        )

    def baseline(self) -> Measurement:
        return self.model(default_values(self.HYPERSPACE)).baseline()

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        values = {**default_values(self.HYPERSPACE), **candidate.hyperparameters}
        measurement = self.model(values).evaluate(candidate, rung, limit)
        return replace(measurement, training_steps=self.BASE_STEPS) if candidate.is_base_model else measurement

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        return AnalyticEvaluator().remeasure(model, split)

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        return AnalyticEvaluator().example(model)

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        return AnalyticEvaluator().inspect(model, split)

    def model(self, values: Mapping[str, Any]) -> AnalyticEvaluator:
        """Return the evaluator of one of the models; wide ones have a layer more."""
        width = int(values["width"])
        layers = tuple(
            replace(spec, weights=spec.weights * width // 4, distinct=spec.distinct * width // 4)
            for spec in layer_specs(3 if width < 4 else 4)
        )
        shift = {1: -0.03, 2: -0.005, 4: 0.0}[width] - (0.1 if values["rate"] == "low" else 0.0)
        return ScaledEvaluator(layers=layers, shift=shift)


class GradualEvaluator(AnalyticEvaluator):
    """Loses more of its metric the less it has been trained, so that untrained policies differ as trained ones do."""

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        measurement = super().evaluate(candidate, rung, limit)
        trained = self._values(candidate.policy, Rung.FULL)
        left = {Rung.PROXY: 3.0, Rung.SHORT: 1.5, Rung.FULL: 1.0}[rung]
        changed = {"accuracy": 0.98 - left * (0.98 - trained["accuracy"]), "loss": left * trained["loss"]}
        return replace(measurement, values={**measurement.values, **changed})


def _file_of(values: Mapping[str, float]) -> bytes:
    """Return an exported file that measures as ``values``."""
    return json.dumps({name: value for name, value in values.items() if name != "latency_ratio"}).encode()


#: What tests search unless they say otherwise: what is searched by default may grow without changing what they show.
USUAL_CHOICES: dict[str, tuple[Any, ...]] = {
    "sparsity": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "clusters": (None, 32, 16, 8),
    "quantization": tuple(mode for mode in Quantization if mode is not Quantization.INT4_BLOCK),
}


def _decisions(policy: Policy) -> str:
    """Return a digest of what is decided; knobs that are left alone do not count."""
    untouched = LayerPolicy().to_document()
    return digest_of(
        {
            name: {knob: value for knob, value in decided.to_document().items() if value != untouched[knob]}
            for name, decided in policy.items()
        }
    )


def _bits_per_weight(decided: LayerPolicy) -> float:
    """Return the bits one weight takes once deflated: its zero map, and what the other values need."""
    kept = 1 - decided.sparsity
    width = float(decided.quantization.weight_bits)
    if decided.clusters is not None:
        width = min(width, math.log2(decided.clusters))
    zero_map = 0.0
    if 0 < kept < 1:
        zero_map = -kept * math.log2(kept) - (1 - kept) * math.log2(1 - kept)
    return zero_map + kept * width * 0.9


class ThreadedService:
    """Evaluates in threads of this process, as slowly as it is told; a running future can be cancelled."""

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        workers: int = 2,
        delay_seconds: Callable[[Candidate], float] = lambda candidate: 0.0,
        before: Callable[[Candidate, Rung], None] = lambda candidate, rung: None,
    ) -> None:
        self._evaluator = evaluator
        self._workers = workers
        self._delay_seconds = delay_seconds
        self._before = before
        self._lock = threading.Lock()
        self._running = 0
        self.most_running = 0
        self.futures: list[Future[Measurement]] = []

    @property
    def workers(self) -> int:
        return self._workers

    def submit(self, candidate: Candidate, rung: Rung, limit: Limit) -> Future[Measurement]:
        # The future stays pending while the thread works, so that Future.cancel takes effect at any time.
        future: Future[Measurement] = Future()
        self.futures.append(future)
        threading.Thread(target=self._work, args=(future, candidate, rung, limit), daemon=True).start()
        return future

    def submit_description(self, hyperparameters: Mapping[str, Any], limit: Limit) -> Future[ModelDescription]:
        future: Future[ModelDescription] = Future()
        future.set_result(self._evaluator.describe(hyperparameters))
        return future

    def _work(self, future: Future[Measurement], candidate: Candidate, rung: Rung, limit: Limit) -> None:
        with self._lock:
            self._running += 1
            self.most_running = max(self.most_running, self._running)
        try:
            outcome = self._outcome(future, candidate, rung, limit)
        finally:
            with self._lock:
                self._running -= 1
        if not future.set_running_or_notify_cancel():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _outcome(
        self, future: Future[Measurement], candidate: Candidate, rung: Rung, limit: Limit
    ) -> Measurement | Exception:
        try:
            self._before(candidate, rung)
            delay = 0.0 if rung is Rung.PROXY else self._delay_seconds(candidate)
            until = time.monotonic() + min(delay, math.inf if limit.seconds is None else limit.seconds)
            while time.monotonic() < until and not future.cancelled():
                time.sleep(0.001)
            if limit.seconds is not None and delay > limit.seconds:
                raise LimitReached(f"took longer than {limit.seconds:g} s")
            return self._evaluator.evaluate(candidate, rung, limit)
        except Exception as error:
            return error


def with_baseline(evaluator: AnalyticEvaluator, ledger: MemoryLedger | None = None) -> MemoryLedger:
    """Return a ledger whose trial 0 is the evaluator's baseline, as the search expects it."""
    ledger = ledger or MemoryLedger()
    untouched = untouched_policy(evaluator.layers)
    candidate = Candidate(architecture=evaluator.describe().architecture, recipe=Recipe(), policy=untouched)
    trial = ledger.open_trial(candidate=candidate, rung=Rung.FULL, origin="baseline", parameters={})
    ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=evaluator.baseline(), ended=time.time()))
    return ledger


def raising(errors: Mapping[int, Exception]) -> Callable[[Candidate, Rung], None]:
    """Return a ``before`` for a service that raises the n-th trial's error, counted from 0 over all submissions."""
    count = -1

    def before(candidate: Candidate, rung: Rung) -> None:
        nonlocal count
        if rung is Rung.PROXY:
            return
        count += 1
        if count in errors:
            raise errors[count]

    return before
