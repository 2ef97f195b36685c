"""The loss of a stage that the uncompressed model teaches."""

from collections.abc import Sequence
from typing import Any

from paretune.objectives.keras_door import tf
from paretune.objectives.pipeline.teacher import Teacher
from paretune.objectives.tasks.answer_losses import answer_losses
from paretune.spaces.candidates.stage_recipes import StageRecipe


class Distillation:
    """``(1 - weight) * loss of the task + weight * loss against the teacher``; regularizers count as they always do.

    Weight and temperature are variables, so that one graph serves all recipes.

    Args:
        teacher: Whose answers are learnt from.

    References:
        Hinton, Vinyals and Dean (2015), Distilling the knowledge in a neural network, sec. 2.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._weight = tf.Variable(0.0, trainable=False)
        self._temperature = tf.Variable(1.0, trainable=False)
        self._losses = answer_losses(teacher.outputs, self._temperature)

    def decide(self, recipe: StageRecipe) -> None:
        """Set weight and temperature."""
        self._weight.assign(recipe.distillation)
        self._temperature.assign(recipe.temperature)

    def loss(self, model: Any, targets: Any, taught: Sequence[Any], outputs: Any, sample_weight: Any) -> Any:
        """Return the loss of a batch; runs in the graph.

        Args:
            model: A compiled Keras model, just called.
            targets: Of the batch, for each output.
            taught: What the teacher answers, for each output.
            outputs: What the model answers.
            sample_weight: Factor of each sample's loss, for both parts; ``None`` weighs all alike.
        """
        of_task = model.compiled_loss(targets, outputs, sample_weight)
        answered = tf.nest.flatten(outputs)
        against_teacher = tf.add_n(
            [
                loss(teachers, own, sample_weight)
                for loss, teachers, own in zip(self._losses, taught, answered, strict=True)
            ]
        )
        total = (1 - self._weight) * of_task + self._weight * against_teacher
        return tf.add_n([total, *model.losses])


def distillation_for(recipe: StageRecipe, teacher: Teacher | None) -> Distillation | None:
    """Return the loss that a recipe asks for; ``None`` where the targets alone teach.

    Raises:
        ValueError: The recipe asks for a teacher, and there is none.
    """
    if recipe.distillation == 0:
        return None
    if teacher is None:
        raise ValueError("a recipe with `distillation` needs a teacher")
    return Distillation(teacher)
