"""tfmot's masks for kernels of any rank, under a sparsity pattern."""

from collections.abc import Callable
from typing import Any

from tensorflow_model_optimization.python.core.sparsity.keras import pruning_impl

from paretune.objectives.keras_door import tf
from paretune.objectives.kernels.patterns import KernelView, why_unstructured
from paretune.objectives.kernels.views import kernel_views
from paretune.objectives.kernels.weights import compressed_variables
from paretune.spaces.policies.patterns import TWO_OF_FOUR, block_of

_TWO_BY_FOUR = (2, 4)


class PatternMasks(pruning_impl.Pruning):  # type: ignore[misc]  # tfmot is untyped
    """tfmot's choice of masks, which is shown every kernel as a matrix.

    tfmot prunes blocks of matrices only, and takes the outputs of a Conv2DTranspose for its inputs. Kernels that a
    pattern does not fit are pruned weight by weight. Where a layer is to have more zeros than 2:4 gives, the smallest
    of the weights that 2:4 keeps go as well, whenever the schedule comes round; else 2:4 is chosen once, at the first
    step, as in tfmot.

    Args:
        layer: The layer, built; its kernels are still variables.
        pattern: What its zeros keep to.
        target: Gives the sparsity that the layer ends with, 0 where it is not pruned.
        narrowed: A variable that tells whether channels of the layer were removed: what is left of its kernel is no
            matrix in which a pattern could be told, and is pruned weight by weight. ``None`` where none ever are.
        settings: Of tfmot's class.
    """

    def __init__(
        self, *, layer: Any, pattern: str, target: Callable[[], Any], narrowed: Any = None, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self._views = {
            kernel.ref(): view for kernel, view in zip(compressed_variables(layer), kernel_views(layer), strict=True)
        }
        self._pattern = pattern
        self._target = target
        self._narrowed = narrowed
        self._block_size = list(block_of(pattern) or (1, 1))

    def _maybe_update_block_mask(self, weights: Any) -> tuple[Any, Any]:
        view = self._view(weights)
        if why_unstructured(self._pattern, view):
            return self._update_mask(weights)  # type: ignore[no-any-return]  # tfmot is untyped
        if self._narrowed is None:
            return self._patterned(weights, view)
        return tf.cond(  # type: ignore[no-any-return]  # TensorFlow is untyped
            self._narrowed, lambda: self._update_mask(weights), lambda: self._patterned(weights, view)
        )

    def _patterned(self, weights: Any, view: KernelView) -> tuple[Any, Any]:
        matrices = _matrices(weights, view)
        if self._pattern == TWO_OF_FOUR:
            chosen = self._update_mask_sparsity_m_by_n(tf.expand_dims(matrices, 1), _TWO_BY_FOUR)
            mask = tf.reshape(chosen, view.shape)
            threshold, larger = self._update_mask(matrices * mask)
            return threshold, _kernel(mask * larger, view, weights.shape)
        threshold, mask = super()._maybe_update_block_mask(tf.reshape(matrices, [view.rows, view.outputs]))
        return threshold, _kernel(mask, view, weights.shape)

    def conditional_mask_update(self) -> Any:
        """Return an operation that updates the masks whose turn it is."""
        if self._pattern != TWO_OF_FOUR:
            return super().conditional_mask_update()
        return tf.group([self._update_in_turn(*each) for each in self._pruning_vars])

    def _update_in_turn(self, weights: Any, mask: Any, threshold: Any) -> Any:
        view, step = self._view(weights), self._step_fn()
        turn = self._pruning_schedule(step)[0]
        if not why_unstructured(self._pattern, view):
            size = float(view.rows * view.outputs)
            wants_more = tf.math.round(size * (1 - self._target())) < view.kept_of_four
            is_first = tf.logical_and(tf.equal(step, 1), self._target() > 0)
            patterned = tf.logical_or(is_first, tf.logical_and(turn, wants_more))
            turn = patterned if self._narrowed is None else tf.where(self._narrowed, turn, patterned)

        def update() -> Any:
            new_threshold, new_mask = self._maybe_update_block_mask(weights)
            return tf.group(threshold.assign(new_threshold), mask.assign(new_mask))

        return tf.cond(turn, update, tf.no_op)

    def _view(self, weights: Any) -> KernelView:
        return self._views[weights.ref()]


def _matrices(weights: Any, view: KernelView) -> Any:
    turned = tf.linalg.matrix_transpose(weights) if view.is_turned else weights
    return tf.reshape(turned, view.shape)


def _kernel(matrices: Any, view: KernelView, shape: Any) -> Any:
    if not view.is_turned:
        return tf.reshape(matrices, shape)
    return tf.linalg.matrix_transpose(tf.reshape(matrices, [*shape[:-2], shape[-1], shape[-2]]))
