"""Evaluate candidates of one Keras model: train, export, read the file back, measure it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretune.objectives.channels.remover import ChannelRemover
from paretune.objectives.costs.asked import AskedObjectives, require_free_names
from paretune.objectives.costs.file_costs import file_costs
from paretune.objectives.data.dataset import Dataset, Samples, dataset_digest
from paretune.objectives.data.rows import Rows
from paretune.objectives.doctor import examine, examine_others
from paretune.objectives.exporting import Exporter
from paretune.objectives.flatbuffer.reader import read_fidelity
from paretune.objectives.formats.refusals import refused_formats
from paretune.objectives.keras_door import tf
from paretune.objectives.kernels.weights import LayerWeights, pack_weights, read_weights
from paretune.objectives.loading.functions import function_digest, is_function_reference
from paretune.objectives.measure.agreement import require_faithful_file
from paretune.objectives.measure.example import record_example
from paretune.objectives.measure.graph_latencies import GraphLatencies
from paretune.objectives.measure.interpreter import TfliteRunner
from paretune.objectives.measure.latency import machine_facts
from paretune.objectives.measure.memory import give_back_freed_memory
from paretune.objectives.measure.resampling import resample
from paretune.objectives.measure.sizes import file_sizes
from paretune.objectives.measure.turnstile import Turnstile
from paretune.objectives.pipeline.stage_tree import StageTree
from paretune.objectives.pipeline.teacher import Teacher
from paretune.objectives.pipeline.trainer import Pipeline
from paretune.objectives.pipeline.training_data import TrainingData
from paretune.objectives.repairs.recalibration import Recalibration
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.shrinking.splitting import why_not_split
from paretune.objectives.stage_running import EngineOrReference
from paretune.objectives.tasks.loss_weights import loss_weights
from paretune.objectives.tasks.task import build_task
from paretune.objectives.working_copy.fixed_shapes import with_fixed_shapes
from paretune.objectives.working_copy.prepared import PreparedModel
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import decomposition_in
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import values_of_model
from paretune.spaces.errors import Infeasible
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.policy import Policy, untouched_policy
from paretune.spaces.results.evaluator import Answers, FileExample, Inspection, ModelDescription, Split
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.objective import FILE_OBJECTIVES

_CALIBRATION_SAMPLES = 128


class KerasEvaluator:
    """Implements :class:`paretune.spaces.results.evaluator.Evaluator` for a tf_keras model in this process.

    Args:
        settings: What to evaluate.
        prepared: The working copy of the model.
        data: As this model takes it.
        latency_base: The file that latencies are ratios to; ``None`` for the model's own uncompressed one.

    Attributes:
        baseline_file: The uncompressed float32 model as a ``.tflite``.

    Raises:
        ParetuneError: The model or the data cannot be used; one line says why.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        prepared: PreparedModel,
        data: Dataset,
        *,
        latency_base: bytes | None = None,
    ) -> None:
        self._settings = settings
        self._prepared = prepared
        self._data = data
        self._model, self._notes_on_shapes = with_fixed_shapes(prepared.model, data)
        self._weights = read_weights(self._model)
        self._task = build_task(
            settings.task, settings.metric, self._model, self._data, Path(settings.beside), direction=settings.direction
        )
        self._task.check(self._data)
        self._loss_weights = loss_weights(self._data.train, self._task.outputs, settings.class_weights)
        calibration = tuple(array[:_CALIBRATION_SAMPLES] for array in self._data.train.inputs)
        self._exporter = Exporter(self._model, self._weights, calibration)
        self._template, self.baseline_file = self._exporter.template, self._exporter.baseline_file
        require_faithful_file(self._template, self.baseline_file, self._model, self._data.train.inputs)
        self._recalibrate = Recalibration(self._model, self._data.train.inputs)
        self._asked = AskedObjectives(settings, self._where_integers_run)
        require_free_names(settings, self._task.objective.name)
        refused = refused_formats(self._template, self.baseline_file, calibration)
        self._remover = ChannelRemover(self._model, self._weights, self._data.train.inputs)
        self._layers = examine(self._model, refused, self._remover.channels, why_not_split(self._template))
        self._description = self._describe()
        self._turnstile = Turnstile(_folder(settings.turnstile_folder))
        self._latencies = GraphLatencies(latency_base or self.baseline_file, settings.threads, self._turnstile)
        self._runner, self._pipeline = self._build_pipeline()

    def _build_pipeline(self) -> tuple[EngineOrReference, Pipeline]:
        data, settings = self._data.train, self._settings
        teacher = Teacher(self._model, data.inputs, self._task.outputs)
        training = TrainingData(data.inputs, data.targets, self._task.losses(), self._loss_weights, teacher)
        runner = EngineOrReference(self._model, training, self._turnstile.working, engine=settings.engine)
        tree = StageTree(self._description.fingerprint, _folder(settings.stage_folder), settings.stage_bytes)
        return runner, Pipeline(self._model, self._weights, training.samples, self._remover, runner, tree)

    def describe(self, hyperparameters: Mapping[str, Any] | None = None) -> ModelDescription:
        """Return what is known about the model without training anything.

        Raises:
            ValueError: There are hyperparameters, but the model is what it is.
        """
        _require_none(hyperparameters)
        return self._description

    def _describe(self) -> ModelDescription:
        metric = self._task.objective
        others = (f"Layer '{name}': {reason}" for name, reason in examine_others(self._model).items())
        return ModelDescription(
            architecture=self._prepared.digest,
            layers=self._layers,
            objectives={metric.name: metric, **FILE_OBJECTIVES, **self._asked.objectives},
            fingerprint=self._fingerprint(),
            notes=(*self._prepared.notes, *others, *self._notes_on_shapes, *self._data.notes, *self._notes_on_task()),
            machine=machine_facts(self._settings.threads),
            samples={
                "train": len(self._data.train.inputs[0]),
                "validation": len(self._data.validation.inputs[0]),
                "test": len(self._data.test.inputs[0]),
            },
        )

    def _notes_on_task(self) -> list[str]:
        if self._settings.task is not None:
            return []
        kinds = " and ".join(sorted({output.kind for output in self._task.outputs}))
        metric = self._task.objective.name
        return [f"Told from the model and the targets: {kinds}, scored by {metric}. Set `task` if it is not."]

    def baseline(self) -> Measurement:
        """Convert and measure the uncompressed float32 model, like any trial."""
        file, untouched = self.baseline_file, untouched_policy(self._layers)
        measurement = self._measure(file, self._weights, Policy(()))
        # Against itself the ratio is 1 by definition; what was measured stays in the details and shows the noise.
        return replace(
            measurement,
            values={**measurement.values, "latency_ratio": 1.0},
            fidelity=read_fidelity(self._template, file, file, untouched, self._layers),
        )

    def evaluate(self, candidate: Candidate, rung: Rung, limit: Limit) -> Measurement:
        """Train, export and measure one candidate on the validation split.

        Raises:
            Infeasible: The policy cannot be built or trained.
            MeasurementFailed: The file was built but could not be measured.
            LimitReached: ``limit`` was spent first.
        """
        if candidate.architecture != self._prepared.digest:
            raise ValueError(f"candidate is of model {candidate.architecture}, this evaluates {self._prepared.digest}")
        removal = self._remover.removal(candidate.policy, candidate.recipe.structure.criterion)
        self._exporter.check(candidate.policy, removal.kept())
        try:
            trained = self._pipeline.train(candidate, rung, limit)
        except tf.errors.ResourceExhaustedError as error:
            reason = str(error.message).splitlines()[0]
            raise Infeasible(f"training ran out of memory; lower batch_size ({reason})") from None
        started = time.monotonic()
        with self._turnstile.working():
            weights = self._recalibrate(trained.weights) if rung is Rung.PROXY else trained.weights
            exported = self._exporter.export(weights, trained.kept, candidate)
            fidelity = exported.fidelity(candidate, self._layers)
        exporting = time.monotonic() - started
        if rung is Rung.PROXY:
            measurement = self._measure_proxy(exported.contents, candidate)
        else:
            decomposition = decomposition_in(candidate.policy, candidate.recipe)
            measurement = self._measure(exported.contents, weights, candidate.policy, decomposition)
        give_back_freed_memory()
        return replace(
            measurement,
            training_steps=trained.training_steps,
            seconds={**trained.seconds, "export": exporting, **measurement.seconds},
            fidelity=fidelity,
            details={
                **measurement.details,
                "step_seconds": trained.step_seconds,
                "reused_stages": list(trained.reused),
                **({"fallback": self._runner.fallback} if self._runner.fallback else {}),
            },
        )

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """Measure the contents of an exported ``.tflite`` on a split; latency is left out.

        Raises:
            ValueError: There are hyperparameters, but the model is what it is.
        """
        _require_none(hyperparameters)
        return self._values(model, self._samples(split).targets, self._outputs(model, split))

    def inspect(self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None) -> Inspection:
        """Measure a file as :meth:`remeasure` does, and how sure that is.

        Raises:
            ValueError: There are hyperparameters, but the model is what it is.
        """
        _require_none(hyperparameters)
        targets, outputs = self._samples(split).targets, self._outputs(model, split)
        score = self._task.by_rows(targets, outputs)
        labels = self._task.labels(targets, outputs)
        truth, said = (tuple(side.tolist()) for side in labels) if labels is not None else ((), ())
        return Inspection(
            values=self._values(model, targets, outputs),
            resampled=resample(self._task.objective.name, score, len(targets[0])),
            answers=None
            if labels is None
            else Answers(truth=truth, said=said, class_names=self._data.class_names or ()),
        )

    def _samples(self, split: Split) -> Samples:
        return self._data.validation if split is Split.VALIDATION else self._data.test

    def _outputs(self, model: bytes, split: Split) -> list[np.ndarray]:
        names = self._template.input_names, self._template.output_names
        return TfliteRunner(model, *names, threads=self._settings.threads).predict(self._samples(split).inputs)

    def _values(self, model: bytes, targets: Sequence[Rows], outputs: Sequence[np.ndarray]) -> dict[str, float]:
        return {
            self._task.objective.name: self._task.score(targets, outputs),
            "loss": self._task.loss(targets, outputs),
            **file_sizes(model),
            **file_costs(model),
            **self._asked.of_file(model),
        }

    def _where_integers_run(self, model: bytes) -> bytes:
        """Return what stands for the uncompressed file where only integers run: itself, every layer in int8."""
        return self._exporter.in_integers(self._layers) if model == self.baseline_file else model

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Run the contents of an exported ``.tflite`` on the first samples of the test split.

        Raises:
            ValueError: There are hyperparameters, but the model is what it is.
        """
        _require_none(hyperparameters)
        template = self._template
        return record_example(
            model,
            self._data.test.inputs,
            template.input_names,
            template.output_names,
            threads=self._settings.threads,
        )

    def _measure(
        self, exported: bytes, weights: LayerWeights, policy: Policy, decomposition: str = CHANNELS
    ) -> Measurement:
        """Measure a file; what training cost is not known here."""
        started = time.monotonic()
        with self._turnstile.working():
            values = self.remeasure(exported, Split.VALIDATION)
            packed = pack_weights(weights)
        measured = time.monotonic()
        latency = self._latencies.of(exported, policy, decomposition)
        on_device = self._asked.on_device(exported)
        arrays = [array for layer in weights.values() for array in layer]
        return Measurement(
            values={**values, "latency_ratio": latency.ratio, **on_device},
            seconds={"measure": measured - started, "latency": time.monotonic() - measured},
            details={
                "latency": asdict(latency),
                "nonzero_parameters": sum(int(np.count_nonzero(array)) for array in arrays),
            },
            artifacts={"model.tflite": exported, "weights.npz": packed},
        )

    def _measure_proxy(self, exported: bytes, candidate: Candidate) -> Measurement:
        """Measure what is only asked for its numbers: nothing is kept.

        Latency is measured only if it matters, and only where formats, channels and ranks alone differ: zeros and
        clusters leave it alone.
        """
        policy, started = candidate.policy, time.monotonic()
        with self._turnstile.working():
            values = dict(self.remeasure(exported, Split.VALIDATION))
        measured = time.monotonic()
        graph_alone = all(decided.sparsity == 0 and decided.clusters is None for decided in policy.values())
        if self._settings.proxy_latency and graph_alone:
            decomposition = decomposition_in(policy, candidate.recipe)
            values["latency_ratio"] = self._latencies.of(exported, policy, decomposition).ratio
        values |= self._asked.on_device(exported, anew=graph_alone)
        return Measurement(
            values=values, seconds={"measure": measured - started, "latency": time.monotonic() - measured}
        )

    def _fingerprint(self) -> dict[str, str]:
        beside = Path(self._settings.beside)
        fingerprint = {
            "model": self._prepared.digest,
            "data": dataset_digest(self._data),
            "task": self._task.objective.name,
            "threads": str(self._settings.threads),
            "engine": self._settings.engine,
            **self._settings.versions(),
        }
        if self._settings.class_weights is not None:
            fingerprint["class_weights"] = str(self._settings.class_weights)
        metric = self._settings.metric
        if metric is not None and is_function_reference(metric):
            fingerprint["metric"] = function_digest(metric, beside)
        return {**fingerprint, **self._asked.fingerprint()}


def _folder(path: str | None) -> Path | None:
    return None if path is None else Path(path)


def _require_none(hyperparameters: Mapping[str, Any] | None) -> None:
    if hyperparameters and values_of_model(hyperparameters):
        raise ValueError(f"this model has no hyperparameters, got {dict(hyperparameters)}")
