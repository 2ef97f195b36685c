"""An experiment: what one YAML file asks for.

Every key but ``model`` and ``data`` can be left out::

    name: digits                      # default: the file's name; the run lives in runs/NAME
    model: my_model:build             # module:function beside this file or installed, .keras, .h5, SavedModel folder
    base: {epochs: 10, batch_size: 64}   # if the function is a build(hp) or a keras_tuner.HyperModel: its training
    data: digits.npz                  # module:function, .npz file, folder of .npy files or images, or keras:mnist
    task: {kind: classification, metric: accuracy, direction: maximize, class_weights: balanced}   # or {0: 1, 1: 5}
    space:
      sparsity: [0, 0.5, 0.8]         # or {from: 0, to: 0.9, step: 0.1}
      clusters: [none, 32, 16, 8]
      quantization: [float32, int8, int8_qat, int4]
      layers: {head: {sparsity: [0, 0.5]}}          # other choices for the layers a name or glob matches
      groups: [[block1_*], [block2_a, block2_b]]    # layers that share one decision
      pinned: {stem: {quantization: int8}}          # layers that are not searched
    target: microcontroller           # or cpu, download, ethos-u, android: defaults for what is searched and traded off
    device: {accelerator: ethos-u55-128, adb: SERIAL, benchmark_model: PATH}   # for objectives measured with them
    objectives: [metric, size_bytes]  # or the metric by its own name; also latency_ratio, raw_bytes, arena_bytes, ...
                                      # or your own: {name: boot_ms, function: my_module:boot, direction: minimize}
    constraints: {accuracy: {drop: 0.02}, size_bytes: {max: 60kB}, latency_ratio: 1.5x}
    recipe: {prune: {epochs: 4, learning_rate: 0.001}, cluster: {epochs: 2}, quantize: {epochs: 2}}
                                      # a list of values is searched too: {learning_rate: [0.001, 0.003]}
    stop_when: {accuracy: {drop: 0.01}, size_bytes: {max: 30kB}}   # a trial that keeps to all of these ends the search
    search:
      sampler: funnel                 # or one of Optuna's: {name: NSGAIISampler, arguments: {population_size: 20}}
      rungs: [proxy, short, full]     # what may be spent on a trial; full alone trains every policy to the end
      stop_when_flat: {trials: 30, gain: 0.001}   # end when the hypervolume gained less in so many trials
      seed: 0
      workers: 2
      threads: 1
      trial_minutes: 10
      leaves: 2                       # with Optuna's samplers; the funnel proposes leaves of its own
      engine: compiled
    budget: {trials: 24, minutes: 60, training_steps: 100000}
    tracking: {uri: null, experiment: paretune}     # or off
    metadata:                         # written into exported files, for Android Studio, the Task Library, MediaPipe
      labels: labels.txt              # one a line; or a list; by output where there are several: {output_1: ...}
      mean: 127.5                     # the model takes (value - mean) / std; or a list by channel; or by input
      std: 127.5
      description: Reads digits.      # also author, license, version

``search.sampler`` is ``funnel``, an Optuna sampler by class name or short (``tpe``, ``nsgaii``, ``random``, ...), or
``keras-tuner:bayesian``, ``keras-tuner:hyperband``, ``keras-tuner:random``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretune.experiments.config.metadata_section import file_metadata
from paretune.experiments.config.objectives_section import all_objectives
from paretune.experiments.config.problems import Problems
from paretune.experiments.config.sections import all_constraints, class_weights, space_settings, whole_recipe
from paretune.experiments.config.target_section import aim, asks_vela, require_ethos_u_formats, target_objectives
from paretune.experiments.config.yaml_reader import YamlDocument, parse_yaml, read_yaml
from paretune.experiments.machine import own_cpus, workers_that_fit
from paretune.objectives.settings import Device, EvaluatorSettings
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.building import SpaceSettings
from paretune.spaces.policies.targets import read_target
from paretune.spaces.results.objective import ASKED_OBJECTIVES, Constraint, FileFunction
from paretune.spaces.results.trial import Budget

if TYPE_CHECKING:
    from paretune.experiments.config.schema import ExperimentSection

#: Folder of the trained stages in that of a run.
STAGES = "stages"

#: The name that stands for the task's metric, whatever it is called.
METRIC = "metric"

_LATENCY = "latency_ratio"
_ADB = "adb_latency_ms"

_DEFAULT_BUDGET = Budget(trials=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """Where MLflow keeps its record of the run.

    Attributes:
        uri: Tracking server or store; ``None`` for the embedded one under ``runs``.
        experiment: Name of the MLflow experiment.
    """

    uri: str | None = None
    experiment: str = "paretune"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseTraining:
    """How a model that is built for its hyperparameters is trained before it is compressed.

    Attributes:
        epochs: Passes over the training data.
        batch_size: Samples per step.
    """

    epochs: int = 10
    batch_size: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What one YAML file asks for; the model has not been looked at.

    Attributes:
        name: Names the run.
        file: The YAML file, absolute.
        text: What it says.
        model: Reference to the model.
        data: Reference to the data.
        base: How base models are trained; ``None`` where the file does not say.
        task: ``classification``, ``regression`` or ``None`` to tell it from the model.
        metric: Name or ``module:function`` of the task's metric; ``None`` for the default.
        direction: Which way a metric of the user's own is better.
        class_weights: ``balanced``, or factors of the training loss by label; ``None`` weighs classes alike.
        space: Choices of the knobs.
        target: Where files are to run, by name; ``None`` where the file does not say.
        notes: What the target has settled about the space, and why; a sentence each.
        device: What files are compiled for, or run on, where such objectives are asked for.
        objectives: Names; ``metric`` stands for the task's metric.
        functions: Those among them that functions of the user's compute.
        constraints: Bounds on objectives, under the same names.
        recipe: How candidates are trained.
        recipe_choices: What is searched about that: values by stage and setting.
        stop_when: Bounds; a trial on the front that keeps to all of them ends the search. None ends none.
        sampler: ``funnel``, or the name of one of Optuna's or Keras Tuner's.
        sampler_arguments: What that one is called with.
        rungs: How much may be spent on a trial.
        flat_trials: Trained trials without a gain that end the search; ``None`` lets it go on.
        flat_gain: Share of the hypervolume that counts as a gain.
        seed: Of the sampler, the data's split and the training.
        workers: Worker processes; ``None`` for as many as fit this machine.
        threads: Threads of each worker; ``None`` for one, or a fair share of the CPUs among ``workers``.
        trial_minutes: What one trial may take.
        leaves: Policies to try after each trained one that need no further training.
        engine: ``compiled``, or ``reference`` to train with tfmot's own flow.
        budget: What the run may spend.
        tracking: Where MLflow keeps its record; ``None`` for nowhere.
        metadata: What exported files tell about themselves, as written; see
            :func:`paretune.experiments.config.metadata_section.file_metadata`.
    """

    name: str
    file: Path
    text: str = field(repr=False)
    model: str
    data: str
    base: BaseTraining | None = None
    task: str | None = None
    metric: str | None = None
    direction: str | None = None
    class_weights: Mapping[int, float] | str | None = None
    space: SpaceSettings = field(default_factory=SpaceSettings)
    target: str | None = None
    notes: tuple[str, ...] = ()
    device: Device = field(default_factory=Device)
    objectives: tuple[str, ...] = (METRIC, "size_bytes")
    functions: tuple[FileFunction, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    recipe: Recipe = field(default_factory=Recipe)
    recipe_choices: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    stop_when: tuple[Constraint, ...] = ()
    sampler: str = "funnel"
    sampler_arguments: Mapping[str, Any] = field(default_factory=dict)
    rungs: tuple[Rung, ...] = tuple(Rung)
    flat_trials: int | None = None
    flat_gain: float = 0.0
    seed: int = 0
    workers: int | None = None
    threads: int | None = None
    trial_minutes: float = 10.0
    leaves: int = 2
    engine: str = "compiled"
    budget: Budget = _DEFAULT_BUDGET
    tracking: Tracking | None = field(default_factory=Tracking)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fair_threads(self) -> int:
        """Threads of each worker: as the file says, else a fair share of this machine's CPUs, else one."""
        if self.threads is not None:
            return self.threads
        return 1 if self.workers is None else max(1, len(own_cpus()) // self.workers)

    def fair_workers(self, threads: int) -> int:
        """Return how many workers of so many threads to start: as the file says, else as many as fit this machine."""
        return self.workers or workers_that_fit(threads)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The sparsity patterns of the recipe: one, or those that are searched."""
        return self.recipe_choices.get("prune", {}).get("pattern", (self.recipe.prune.pattern,))

    @property
    def decompositions(self) -> tuple[str, ...]:
        """How ranks split kernels: one way, or those that are searched."""
        return self.recipe_choices.get("structure", {}).get("decomposition", (self.recipe.structure.decomposition,))

    @property
    def minds_latency(self) -> bool:
        """Whether latency is optimised or bounded, so that it must be known before training too."""
        return _LATENCY in self.minded

    @property
    def minded(self) -> tuple[str, ...]:
        """Names of all that is optimised or bounded."""
        bounded = (bound.objective for bound in (*self.constraints, *self.stop_when))
        return tuple(dict.fromkeys((*self.objectives, *bounded)))

    def settings_for_evaluator(
        self,
        *,
        threads: int,
        trust_model: bool = False,
        cache_folder: Path | None = None,
        run_folder: Path | None = None,
    ) -> EvaluatorSettings:
        """Return what a worker must be told; in a run's folder it keeps trained stages and meets other workers."""
        base = self.base or BaseTraining()
        return EvaluatorSettings(
            model=self.model,
            data=self.data,
            beside=str(self.file.parent),
            task=self.task,
            metric=self.metric,
            direction=self.direction,
            class_weights=self.class_weights,
            base_epochs=base.epochs,
            base_batch_size=base.batch_size,
            seed=self.seed,
            threads=threads,
            trust_model=trust_model,
            cache_folder=None if cache_folder is None else str(cache_folder.absolute()),
            stage_folder=None if run_folder is None else str(run_folder.absolute() / STAGES),
            turnstile_folder=None if run_folder is None else str(run_folder.absolute()),
            proxy_latency=self.minds_latency,
            engine=self.engine,
            asked=tuple(name for name in ASKED_OBJECTIVES if name in self.minded),
            functions=self.functions,
            device=self.device,
        )


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file, and check that the files it refers to are there.

    Raises:
        ConfigurationError: Names every problem (at most five) with its line.
    """
    document = read_yaml(path)
    experiment = build_experiment(document)
    problems = Problems(document)
    for key in ("model", "data"):
        reference = str(getattr(experiment, key))
        if ":" not in reference and not (experiment.file.parent / reference).exists():
            problems.add((key,), f"`{key}` must be module:function or a file that is there, got {reference!r}.")
    with problems.at("metadata"):
        file_metadata(experiment.metadata, experiment.file.parent)
    problems.raise_any()
    return experiment


def parse_experiment(text: str, path: Path) -> Experiment:
    """Read an experiment from text; ``path`` is the file it came from, which need not be there any more.

    Raises:
        ConfigurationError: See :func:`read_experiment`.
    """
    return build_experiment(parse_yaml(text, path))


def with_overrides(
    experiment: Experiment,
    *,
    trials: int | None = None,
    minutes: float | None = None,
    workers: int | None = None,
    seed: int | None = None,
) -> Experiment:
    """Return an experiment in which what the command line names takes precedence over the file.

    Raises:
        ConfigurationError: If a number is not possible.
    """
    if workers is not None and workers < 1:
        raise ConfigurationError(f"`workers` must be at least 1, got {workers}.")
    if seed is not None and seed < 0:
        raise ConfigurationError(f"`seed` must be at least 0, got {seed}.")
    budget = replace(
        experiment.budget,
        trials=experiment.budget.trials if trials is None else trials,
        minutes=experiment.budget.minutes if minutes is None else minutes,
    )
    return replace(
        experiment,
        budget=budget,
        workers=experiment.workers if workers is None else workers,
        seed=experiment.seed if seed is None else seed,
    )


def build_experiment(document: YamlDocument) -> Experiment:
    """Read an experiment from a document that is parsed already.

    Raises:
        ConfigurationError: Names every problem (at most five) with where the document says it is.
    """
    # pydantic costs a tenth of a second, which `paretune --help` does not need to spend
    from pydantic import ValidationError

    from paretune.experiments.config.schema import ExperimentSection
    from paretune.experiments.config.schema_errors import problems_of

    problems = Problems(document)
    try:
        section = ExperimentSection.model_validate(document.data)
    except ValidationError as error:
        for place, message in problems_of(error):
            problems.add(place, message)
    problems.raise_any()
    experiment = _build(section, document, problems)
    problems.raise_any()
    return experiment


def _build(section: "ExperimentSection", document: YamlDocument, problems: Problems) -> Experiment:
    search, budget, tracking = section.search, section.budget, section.tracking
    target = None
    with problems.at("target"):
        target = None if section.target is None else read_target(section.target)
    device = Device() if section.device is None else Device(**section.device.model_dump())
    names, functions = all_objectives(section.objectives, problems)
    if target is not None and "objectives" not in section.model_fields_set:
        names = target_objectives(target, has_device=device.benchmark_model is not None)
    constraints = all_constraints(section.constraints, "constraints", problems)
    stop_when = all_constraints(section.stop_when, "stop_when", problems)
    minded = [*names, *(bound.objective for bound in (*constraints, *stop_when))]
    aimed = aim(space_settings(section.space, problems), target, minded)
    if asks_vela(minded):
        require_ethos_u_formats(aimed.space, problems)
    if _ADB in minded and device.benchmark_model is None:
        problems.add(("device",), f"`{_ADB}` needs `device: {{benchmark_model: PATH}}`: LiteRT's program for Android.")
    recipe, recipe_choices = whole_recipe(section.recipe, problems)
    return Experiment(
        name=_name(section.name or document.file.stem, problems),
        file=document.file.absolute(),
        text=document.text,
        model=section.model,
        data=section.data,
        base=None if section.base is None else BaseTraining(**section.base.model_dump()),
        task=section.task.kind,
        metric=section.task.metric,
        direction=section.task.direction,
        class_weights=class_weights(section.task.class_weights, problems),
        space=aimed.space,
        target=section.target,
        notes=aimed.notes,
        device=device,
        objectives=names,
        functions=functions,
        constraints=constraints,
        stop_when=stop_when,
        recipe=recipe,
        recipe_choices=recipe_choices,
        sampler=search.sampler.name,
        sampler_arguments=search.sampler.arguments,
        rungs=_rungs(search.rungs, problems),
        flat_trials=None if search.stop_when_flat is None else search.stop_when_flat.trials,
        flat_gain=0.0 if search.stop_when_flat is None else search.stop_when_flat.gain,
        seed=search.seed,
        workers=search.workers,
        threads=search.threads,
        trial_minutes=search.trial_minutes,
        leaves=search.leaves,
        engine=search.engine,
        budget=Budget(**budget.model_dump()) if budget is not None and budget.model_fields_set else _DEFAULT_BUDGET,
        tracking=None if tracking is None else Tracking(uri=tracking.uri, experiment=tracking.experiment),
        metadata={} if section.metadata is None else section.metadata.model_dump(exclude_unset=True),
    )


def _rungs(names: Sequence[str], problems: Problems) -> tuple[Rung, ...]:
    if Rung.FULL not in names:
        problems.add(("search", "rungs"), f"`rungs` must include full: only its trials make the front; got {names}.")
    return tuple(rung for rung in Rung if rung in names)


def _name(name: str, problems: Problems) -> str:
    if not re.fullmatch(r"[\w][\w. -]*", name):
        problems.add(("name",), f"`name` must be a folder's name of letters, digits, '_', '-' and '.', got {name!r}.")
    return name
