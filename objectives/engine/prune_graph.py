"""The prune stage with its schedules in variables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper import PruneLowMagnitude

from paretune.objectives.engine.hold import Hold
from paretune.objectives.engine.numerics import Numerics
from paretune.objectives.engine.wrapping import MaskThrough, position, read_variables, wrapped_model
from paretune.objectives.keras_door import tf, tfmot
from paretune.objectives.kernels.tfmot_support import can_wrap_for_pruning, prunable
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.copies import fresh_layer
from paretune.objectives.pipeline.pattern_masks import PatternMasks
from paretune.objectives.pipeline.ramps import Ramp, ramp_of
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.patterns import UNSTRUCTURED

_NEVER = np.iinfo(np.int64).max
#: Nothing is clustered yet.
_PLACES = 1


class PruneGraph:
    """Implements :class:`paretune.objectives.engine.graph.StageGraph` for magnitude pruning.

    Layers without sparsity have a schedule that never comes round: their masks stay one. Those of low rank are held to
    it after each step.
    """

    def __init__(
        self, model: Any, numerics: Numerics, pattern: str = UNSTRUCTURED, decomposition: str = CHANNELS
    ) -> None:
        """Wrap a copy of every layer of ``model`` that tfmot prunes, so that their zeros keep to ``pattern``."""
        self._pruned: dict[str, _Pruned] = {}

        def wrap(layer: Any) -> Any:
            copy = prunable(fresh_layer(layer))
            if not compressed_variables(layer) or not can_wrap_for_pruning(copy):
                return copy
            self._pruned[layer.name] = _Pruned(copy, numerics, pattern)
            return self._pruned[layer.name]

        self.model, self.variables = wrapped_model(model, wrap)
        self._holds = {
            layer.name: [
                (number, Hold(self.variables[layer.name][number], _PLACES, axis=None, decomposition=decomposition))
                for number in (position(layer, variable) for variable in compressed_variables(layer))
            ]
            for layer in model.layers
        }

    def decide(self, task: StageTask, weights: LayerWeights) -> None:
        """Set every layer's schedule, and which are of low rank."""
        for name, holds in self._holds.items():
            for number, hold in holds:
                if task.rank(name) is not None:
                    hold.hold_shape(task, name, weights[name][number])
                else:
                    hold.release()
        ramp = ramp_of(task)
        for name, layer in self._pruned.items():
            layer.schedule.set(ramp, task.policy[name].sparsity if name in task.policy else 0.0)
            # tfmot's callback sets this before each batch; counted up by the wrapper, it comes to the same
            layer.pruning_step.assign(0)
            if name in task.narrowed:
                layer.keep_dead()

    def after_step(self) -> None:
        """Hold kernels to their ranks; masks are applied before each forward pass."""
        for holds in self._holds.values():
            for _, hold in holds:
                hold.project()

    def effective(self) -> dict[str, list[Any]]:
        """Return the weights, masked."""
        masks = {weight.ref(): mask for layer in self._pruned.values() for weight, mask, _ in layer.pruning_vars}
        return read_variables(self.variables, lambda each: each * masks[each.ref()] if each.ref() in masks else each)


class _Pruned(MaskThrough, PruneLowMagnitude):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's wrapper with a schedule of variables."""

    def __init__(self, layer: Any, numerics: Numerics, pattern: str) -> None:
        super().__init__(layer, pruning_schedule=_VariableSchedule())
        self._numerics = numerics
        self._pattern = pattern

    def keep_dead(self) -> None:
        """Let what is zero now stay zero: it belongs to removed channels."""
        self.narrowed.assign(True)
        for weight, mask, _ in self.pruning_vars:
            alive = tf.cast(weight != 0, weight.dtype)
            mask.assign(alive)
            self.alive[weight.ref()].assign(alive)

    @property
    def schedule(self) -> "_VariableSchedule":
        return self.pruning_schedule  # type: ignore[no-any-return]  # tfmot is untyped

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.narrowed = tf.Variable(False, trainable=False)
        self.alive = {
            weight.ref(): tf.Variable(tf.ones(weight.shape), trainable=False) for weight, _, _ in self.pruning_vars
        }
        self.pruning_obj = _Selection(
            training_step_fn=lambda: self.pruning_step,
            pruning_vars=self.pruning_vars,
            pruning_schedule=self.pruning_schedule,
            block_size=self.block_size,
            block_pooling_type=self.block_pooling_type,
            layer=self.layer,
            pattern=self._pattern,
            target=lambda: self.schedule.target,
            numerics=self._numerics,
            alive=self.alive,
            narrowed=self.narrowed,
        )


class _VariableSchedule(tfmot.sparsity.keras.PruningSchedule):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's ``PolynomialDecay`` from 0 (to the power of 3) and ``ConstantSparsity``, in variables."""

    def __init__(self) -> None:
        self.target = tf.Variable(0.0, trainable=False)
        self._is_constant = tf.Variable(False, trainable=False)
        self._begin = tf.Variable(_NEVER, dtype=tf.int64, trainable=False)
        self._end = tf.Variable(_NEVER, dtype=tf.int64, trainable=False)
        self._frequency = tf.Variable(1, dtype=tf.int64, trainable=False)

    def set(self, ramp: Ramp, sparsity: float) -> None:
        self.target.assign(sparsity)
        self._is_constant.assign(ramp.is_constant)
        self._begin.assign(ramp.begin if sparsity > 0 else _NEVER)
        self._end.assign(-1 if ramp.is_constant else ramp.end)
        self._frequency.assign(ramp.frequency)

    def __call__(self, step: Any) -> tuple[Any, Any]:
        passed = tf.cast(step - self._begin, tf.float32) / tf.cast(self._end - self._begin, tf.float32)
        progress = tf.math.minimum(1.0, tf.math.maximum(0.0, passed))
        rising = tf.math.add(tf.math.multiply(0.0 - self.target, tf.math.pow(1 - progress, 3)), self.target)
        sparsity = tf.where(self._is_constant, self.target, rising)
        return self._should_prune_in_step(step, self._begin, self._end, self._frequency), sparsity

    def get_config(self) -> dict[str, Any]:
        return {"class_name": type(self).__name__, "config": {}}


class _Selection(PatternMasks):
    """tfmot's masks, the threshold of which need not be found by sorting all weights.

    Sparsity is a share of the weights that are alive; the others, which belong to removed channels, stay masked.
    """

    def __init__(self, *, numerics: Numerics, alive: Mapping[Any, Any], **settings: Any) -> None:
        super().__init__(**settings)
        self._numerics = numerics
        self._alive = alive

    def _update_mask(self, weights: Any) -> tuple[Any, Any]:
        sparsity = self._pruning_schedule(self._step_fn())[1]
        # a pattern asks about matrices and blocks of kernels too; none of these is narrowed
        alive = self._alive.get(weights.ref(), tf.ones(weights.shape))
        magnitudes = tf.math.abs(weights) * alive
        size = tf.reduce_sum(alive)
        k = tf.cast(tf.math.maximum(tf.math.round(size * (1 - sparsity)), 1), tf.int32)
        threshold = self._numerics.kth_largest(tf.reshape(magnitudes, [-1]), k)
        return threshold, tf.cast(magnitudes >= threshold, weights.dtype) * alive
