"""The shape of an experiment file, as pydantic checks it: which keys there are and what kind of value each takes.

What the values mean, and which of them are possible, is for :mod:`paretune.experiments.config.experiment`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from paretune.spaces.policies.policy import KNOBS


class Section(BaseModel):
    """A mapping in which every key is known, and no value is converted into another kind.

    A key without a value (all below it commented out, say) counts as left out, except for a knob, where null means
    none.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_keys_without_value(cls, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        return {key: value for key, value in section.items() if value is not None or key in KNOBS}


class TaskSection(Section):
    """What the model is for."""

    kind: Literal["classification", "regression"] | None = None
    metric: str | None = None
    direction: Literal["maximize", "minimize"] | None = None
    class_weights: Any = None


class KnobsSection(Section):
    """Choices of every knob: one value, a list of values, or a range (sparsity)."""

    channels: Any = None
    rank: Any = None
    sparsity: Any = None
    clusters: Any = None
    quantization: Any = None


class SpaceSection(KnobsSection):
    """What is searched."""

    layers: dict[str, KnobsSection] = {}
    groups: list[list[str]] = []
    pinned: dict[str, KnobsSection] = {}


class BaseSection(Section):
    """How base models are trained, where `model` builds them for their hyperparameters."""

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=1)


class SamplerSection(Section):
    """Who proposes: Paretune's own funnel, or a sampler of Optuna's or Keras Tuner's."""

    name: str
    arguments: dict[str, Any] = {}


class FlatSection(Section):
    """When the front counts as flat."""

    trials: int = Field(default=30, ge=1)
    gain: float = Field(default=0.001, ge=0)


class SearchSection(Section):
    """How to look."""

    sampler: SamplerSection = SamplerSection(name="funnel")
    rungs: list[Literal["proxy", "short", "full"]] = ["proxy", "short", "full"]
    stop_when_flat: FlatSection | None = None
    seed: int = Field(default=0, ge=0)
    workers: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    trial_minutes: float = Field(default=10.0, gt=0)
    leaves: int = Field(default=2, ge=0)
    engine: Literal["compiled", "reference"] = "compiled"

    @field_validator("sampler", mode="before")
    @classmethod
    def _accept_a_name_alone(cls, sampler: Any) -> Any:
        return {"name": sampler} if isinstance(sampler, str) else sampler


class BudgetSection(Section):
    """Totals for the run; whichever is spent first ends it."""

    trials: int | None = Field(default=None, gt=0)
    minutes: float | None = Field(default=None, gt=0)
    training_steps: int | None = Field(default=None, gt=0)


class DeviceSection(Section):
    """What files are compiled for, or run on, where such objectives are asked for."""

    accelerator: str = "ethos-u55-128"
    adb: str | None = None
    benchmark_model: str | None = None


class TrackingSection(Section):
    """Where MLflow keeps its record."""

    uri: str | None = None
    experiment: str = Field(default="paretune", min_length=1)


class MetadataSection(Section):
    """What an exported file tells about itself."""

    description: str = ""
    author: str = ""
    license: str = ""
    version: str = ""
    labels: Any = None
    mean: Any = None
    std: Any = None


class ExperimentSection(Section):
    """The whole file."""

    name: str | None = Field(default=None, min_length=1)
    model: str = Field(min_length=1)
    data: str = Field(min_length=1)
    base: BaseSection | None = None
    task: TaskSection = TaskSection()
    space: SpaceSection = SpaceSection()
    target: str | None = None
    device: DeviceSection | None = None
    objectives: list[Any] = Field(default=["metric", "size_bytes"], min_length=1)
    constraints: dict[str, Any] = {}
    stop_when: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    search: SearchSection = SearchSection()
    budget: BudgetSection | None = None
    tracking: TrackingSection | None = TrackingSection()
    metadata: MetadataSection | None = None

    @field_validator("tracking", mode="before")
    @classmethod
    def _accept_off(cls, tracking: Any) -> Any:
        return None if tracking in ("off", False) else tracking
