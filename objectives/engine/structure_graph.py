"""The structure stage: the layers as they are, held to the zeros of removed channels, and to low ranks."""

from typing import Any

from paretune.objectives.engine.hold import Hold
from paretune.objectives.engine.wrapping import position, read_variables, wrapped_model
from paretune.objectives.kernels.weights import LayerWeights, compressed_variables
from paretune.objectives.pipeline.copies import fresh_layer
from paretune.objectives.pipeline.stages import StageTask
from paretune.spaces.policies.decompositions import CHANNELS

#: Nothing is clustered yet.
_PLACES = 1


class StructureGraph:
    """Implements :class:`paretune.objectives.engine.graph.StageGraph` for training with fewer channels and lower ranks.

    For channels it is enough that no kernel reads a removed one: then whatever makes it has no gradient, and stays
    zero.
    """

    def __init__(self, model: Any, decomposition: str = CHANNELS) -> None:
        """Copy every layer of ``model``, whose kernels ranks are to split by a decomposition."""
        self.model, self.variables = wrapped_model(model, fresh_layer)
        self._holds = {
            layer.name: [
                (number, Hold(self.variables[layer.name][number], _PLACES, axis=None, decomposition=decomposition))
                for number in (position(layer, variable) for variable in compressed_variables(layer))
            ]
            for layer in model.layers
        }

    def decide(self, task: StageTask, weights: LayerWeights) -> None:
        """Set what must stay zero, or of low rank."""
        for name, holds in self._holds.items():
            for number, hold in holds:
                hold.hold_shape(task, name, weights[name][number])

    def after_step(self) -> None:
        """Hold the weights to their zeros and ranks."""
        for holds in self._holds.values():
            for _, hold in holds:
                hold.project()

    def effective(self) -> dict[str, list[Any]]:
        """Return the weights."""
        return read_variables(self.variables, lambda each: each)
