"""What the tables hold: two models, a full grid of policies for each, and how every policy is trained."""

from dataclasses import dataclass
from pathlib import Path

from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import ClusterRecipe, PruneRecipe, StageRecipe
from paretune.spaces.policies.policy import Quantization
from paretune.spaces.policies.space import Space, SpaceSettings, build_space
from paretune.spaces.results.evaluator import ModelDescription

HERE = Path(__file__).resolve().parent

_INT8 = (Quantization.INT8,)
_INT8_OR_INT4 = (Quantization.INT8, Quantization.INT4)
_PRUNED = {"sparsity": (0.0, 0.5, 0.75), "clusters": (None,), "quantization": _INT8}
_PRUNED_OR_INT4 = {**_PRUNED, "quantization": _INT8_OR_INT4}
_EVERYTHING = {**_PRUNED_OR_INT4, "clusters": (None, 8)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A model and the policies that its table holds.

    Attributes:
        name: Of the table, and of its files.
        model: ``module:function``, in this folder.
        data: ``module:function``.
        space: The grid: its every combination.
        steps: Optimizer steps of prune, cluster and quantize at the rung ``full``.
    """

    name: str
    model: str
    data: str
    space: SpaceSettings
    steps: tuple[int, int, int] = (168, 84, 84)

    @property
    def file(self) -> Path:
        """The recorded table."""
        return HERE / f"{self.name}.npz"

    def settings(self, scratch: Path) -> EvaluatorSettings:
        """Return what a worker is told; what it trains is kept in ``scratch``."""
        return EvaluatorSettings(
            model=self.model,
            data=self.data,
            beside=str(HERE),
            cache_folder=str(scratch / "cache"),
            stage_folder=str(scratch / "stages"),
            turnstile_folder=str(scratch),
        )

    def space_of(self, description: ModelDescription) -> Space:
        """Return the grid as a search sees it."""
        return build_space(description.layers, self.space)

    def recipe(self, samples: int) -> Recipe:
        """Return the recipe that takes exactly these steps on so many training samples."""
        batches = -(-samples // 64)
        # half a step less, because a recipe rounds up what a fraction of an epoch leaves open
        prune, cluster, quantize = ((steps - 0.5) / batches for steps in self.steps)
        return Recipe(
            prune=PruneRecipe(epochs=prune),
            cluster=ClusterRecipe(epochs=cluster),
            quantize=StageRecipe(epochs=quantize),
        )


GRIDS = {
    grid.name: grid
    for grid in (
        Grid(
            name="cnn",
            model="models:canvas_cnn",
            data="models:canvas_data",
            space=SpaceSettings(
                layers={
                    "conv1": {**_PRUNED, "sparsity": (0.0, 0.5)},
                    "conv2": _PRUNED,
                    "conv3": _EVERYTHING,
                    "conv4": _EVERYTHING,
                    "logits": _PRUNED_OR_INT4,
                }
            ),
        ),
        Grid(
            name="dscnn",
            model="models:word_ds_cnn",
            data="models:word_data",
            space=SpaceSettings(
                pinned={"*_depthwise": {"quantization": Quantization.INT8}},
                layers={
                    "stem": {**_PRUNED, "sparsity": (0.0, 0.6)},
                    "block1_pointwise": _PRUNED_OR_INT4,
                    "block2_pointwise": _EVERYTHING,
                    "block3_pointwise": _EVERYTHING,
                    "logits": {**_PRUNED, "sparsity": (0.0,)},
                },
            ),
        ),
    )
}
