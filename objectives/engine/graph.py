"""What a compiled stage is made of."""

from collections.abc import Mapping
from typing import Any, Protocol

from paretune.objectives.kernels.weights import LayerWeights
from paretune.objectives.pipeline.stages import StageTask


class StageGraph(Protocol):
    """A model wrapped for one stage, whose policy is held in variables.

    Attributes:
        model: The wrapped Keras model.
    """

    model: Any

    @property
    def variables(self) -> Mapping[str, list[Any]]:
        """The variables of the original layers' weights, by layer name and in each layer's order."""

    def decide(self, task: StageTask, weights: LayerWeights) -> None:
        """Set the variables of the policy for a task that starts from ``weights``; they hold ``weights`` already."""

    def after_step(self) -> None:
        """Do what must follow an optimizer step; runs in the graph."""

    def effective(self) -> Mapping[str, list[Any]]:
        """Return the weights as they would be used, by layer like ``variables``; runs in the graph."""
