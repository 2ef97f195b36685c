"""How far the answers of a model are from those of the model that teaches it, output by output.

References:
    Hinton, Vinyals and Dean (2015), Distilling the knowledge in a neural network, sec. 2.
"""

from collections.abc import Sequence
from typing import Any

from paretune.objectives.keras_door import keras, tf
from paretune.objectives.tasks.output_kinds import OutputTask

#: Probabilities count as at least this before their logarithm is taken.
_LEAST = 1e-30
#: And those of a yes as no nearer to 0 and 1 than this: beyond it, one minus a float32 number is rounded away.
_NEAREST_TO_CERTAIN = 1e-7


class AnswerLoss(keras.losses.Loss):  # type: ignore[misc]  # Keras is untyped
    """A loss between what is taught and what is answered, averaged over rows, or by sample weights, as in Keras.

    Args:
        temperature: What logits are divided by; a number or a variable, read at every call.
        from_probabilities: Whether outputs are probabilities rather than logits.
    """

    def __init__(self, temperature: Any, *, from_probabilities: bool = False) -> None:
        super().__init__()
        self._temperature = temperature
        self._from_probabilities = from_probabilities


class SoftmaxAnswerLoss(AnswerLoss):
    """``T^2 KL(teacher || student)`` of the softened distributions over the last axis.

    The square of the temperature keeps the size of the gradients, which softening divides by it.
    """

    def call(self, taught: Any, answered: Any) -> Any:
        """Return the loss of every row."""
        temperature = tf.convert_to_tensor(self._temperature)
        taught, answered = (tf.nn.log_softmax(self._logits(each) / temperature) for each in (taught, answered))
        divergence = tf.reduce_sum(tf.exp(taught) * (taught - answered), axis=-1)
        return temperature * temperature * divergence

    def _logits(self, output: Any) -> Any:
        """Return numbers whose softmax is the output's distribution."""
        return tf.math.log(tf.maximum(output, _LEAST)) if self._from_probabilities else output


class SigmoidAnswerLoss(AnswerLoss):
    """``T^2 KL(teacher || student)`` of the softened yes or no of each unit, averaged over units."""

    def call(self, taught: Any, answered: Any) -> Any:
        """Return the loss of every row."""
        temperature = tf.convert_to_tensor(self._temperature)
        taught, answered = (self._logits(each) / temperature for each in (taught, answered))
        divergence = sum(
            tf.sigmoid(sign * taught) * (tf.math.log_sigmoid(sign * taught) - tf.math.log_sigmoid(sign * answered))
            for sign in (1.0, -1.0)
        )
        return temperature * temperature * tf.reduce_mean(divergence, axis=-1)

    def _logits(self, output: Any) -> Any:
        if not self._from_probabilities:
            return output
        probability = tf.clip_by_value(output, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
        return tf.math.log(probability) - tf.math.log1p(-probability)


class NumberAnswerLoss(AnswerLoss):
    """The mean squared difference of numbers; there is nothing to soften."""

    def call(self, taught: Any, answered: Any) -> Any:
        """Return the loss of every row."""
        return tf.reduce_mean(tf.math.squared_difference(taught, answered), axis=-1)


def answer_losses(outputs: Sequence[OutputTask], temperature: Any) -> list[AnswerLoss]:
    """Return a new loss for each output, in Keras order, that compares it with the teacher's at a temperature."""
    return [_answer_loss(output, temperature) for output in outputs]


def _answer_loss(output: OutputTask, temperature: Any) -> AnswerLoss:
    if output.kind == "regression":
        return NumberAnswerLoss(temperature)
    says_yes_or_no = output.activation == "sigmoid" or (output.coding == "yes_no" and output.activation != "softmax")
    kind = SigmoidAnswerLoss if says_yes_or_no else SoftmaxAnswerLoss
    return kind(temperature, from_probabilities=output.gives_probabilities)
