"""A trial as people write it today: what tfmot's guides show, stage by stage, and TensorFlow's own converter.

Every stage clones, wraps and traces the model anew, is trained with ``model.fit`` and stripped; the result is converted
from Keras. Of Paretune it takes the trained model, its data and the policies. Importing this loads TensorFlow.

Zeros and clusters follow a policy layer by layer. Number formats cannot: the converter quantizes the whole file to
int8. Training for int8 can, but in some models (ResNet-8) the converter of TensorFlow 2.21 then ruins the layers that
were not trained for it, and says nothing; so the whole model can be trained for int8 instead. Some policies fail in
tfmot.

References:
    TensorFlow Model Optimization, Sparsity and cluster preserving quantization aware training (PCQAT) Keras example.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from paretune.objectives.data.dataset import load_dataset
from paretune.objectives.keras_door import keras, limit_threads, tf, tfmot
from paretune.objectives.settings import EvaluatorSettings
from paretune.objectives.working_copy.prepared import prepare_model
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.stage_recipes import PruneRecipe, StageRecipe
from paretune.spaces.policies.policy import Policy, Quantization

_CALIBRATION_SAMPLES = 128


class PlainFlow:
    """Trains, converts and measures policies of one classifier of logits; starts from the evaluator's weights."""

    def __init__(self, settings: EvaluatorSettings) -> None:
        limit_threads(settings.threads)
        self._threads = settings.threads
        self._model = prepare_model(settings).model
        data = load_dataset(settings.data, beside=Path(settings.beside), model=self._model, seed=settings.seed)
        (self._x,), (self._y,) = data.train.inputs, data.train.targets
        (self._x_validation,), (self._y_validation,) = data.validation.inputs, data.validation.targets

    def run(self, candidate: Candidate, *, whole: bool) -> tuple[float, float]:
        """Train a candidate that needs all stages, convert it, and measure the file.

        Args:
            candidate: What to train.
            whole: Train all layers for int8, rather than those of ``int8_qat`` alone.

        Returns:
            Accuracy on the validation samples, and deflated bytes.
        """
        keras.backend.clear_session()
        keras.utils.set_random_seed(candidate.seed)
        policy, recipe = candidate.policy, candidate.recipe
        model = keras.models.clone_model(self._model)
        model.set_weights(self._model.get_weights())
        model = self._prune(model, policy, recipe.prune)
        model = self._cluster(model, policy, recipe.cluster)
        annotated = tfmot.quantization.keras.quantize_annotate_model(model) if whole else _annotated(model, policy)
        file = self._convert(self._train_quantized(annotated, recipe.quantize))
        return self._accuracy(file), float(len(zlib.compress(file, 9)))

    def _prune(self, model: Any, policy: Policy, recipe: PruneRecipe) -> Any:
        end_step = int(recipe.end * recipe.steps(len(self._x)))

        def wrap(layer: Any) -> Any:
            schedule = tfmot.sparsity.keras.PolynomialDecay(
                initial_sparsity=0.0,
                final_sparsity=policy[layer.name].sparsity,
                begin_step=0,
                end_step=end_step,
                frequency=recipe.frequency,
            )
            return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

        wrapped = _wrapped(model, wrap, [name for name, decided in policy.items() if decided.sparsity > 0])
        self._fit(wrapped, recipe, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
        return tfmot.sparsity.keras.strip_pruning(wrapped)

    def _cluster(self, model: Any, policy: Policy, recipe: StageRecipe) -> Any:
        def wrap(layer: Any) -> Any:
            return tfmot.clustering.keras.cluster_weights(
                layer,
                number_of_clusters=policy[layer.name].clusters,
                cluster_centroids_init=tfmot.clustering.keras.CentroidInitialization.LINEAR,
                preserve_sparsity=True,
            )

        wrapped = _wrapped(model, wrap, [name for name, decided in policy.items() if decided.clusters is not None])
        self._fit(wrapped, recipe)
        return tfmot.clustering.keras.strip_clustering(wrapped)

    def _train_quantized(self, annotated: Any, recipe: StageRecipe) -> Any:
        scheme = tfmot.experimental.combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True)
        quantized = tfmot.quantization.keras.quantize_apply(annotated, scheme)
        self._fit(quantized, recipe)
        return quantized

    def _fit(self, model: Any, recipe: StageRecipe, callbacks: Sequence[Any] = ()) -> None:
        samples = len(self._x)
        steps, batch_size = recipe.steps(samples), recipe.batch_size_for(samples)
        epochs = -(-steps * batch_size // samples)
        rows = np.concatenate([np.random.permutation(samples) for _ in range(epochs)])[: steps * batch_size]
        schedule = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
        model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        model.fit(self._x[rows], self._y[rows], batch_size=batch_size, shuffle=False, verbose=0, callbacks=callbacks)

    def _convert(self, model: Any) -> bytes:
        def calibration() -> Iterator[list[Any]]:
            for row in range(_CALIBRATION_SAMPLES):
                yield [self._x[row : row + 1]]

        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = calibration
        return bytes(converter.convert())

    def _accuracy(self, file: bytes) -> float:
        interpreter = Interpreter(model_content=file, num_threads=self._threads)
        (entry,), (exit_,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(entry["index"], self._x_validation.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry["index"], self._x_validation)
        interpreter.invoke()
        answers = interpreter.get_tensor(exit_["index"]).argmax(axis=1)
        return float((answers == self._y_validation).mean())


def _annotated(model: Any, policy: Policy) -> Any:
    names = [name for name, decided in policy.items() if decided.quantization is Quantization.INT8_QAT]
    return _wrapped(model, tfmot.quantization.keras.quantize_annotate_layer, names)


def _wrapped(model: Any, wrap: Callable[[Any], Any], names: Sequence[str]) -> Any:
    """Return the model with ``wrap(layer)`` for the layers of these names."""
    return keras.models.clone_model(model, clone_function=lambda layer: wrap(layer) if layer.name in names else layer)
