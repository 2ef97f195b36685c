"""What a search will face: size of the space, reachable files, cost of a trial, constraints as numbers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from paretune.experiments.config.experiment import Experiment
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.experiments.runs.searching import search_problem
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.one_worker import one_worker
from paretune.experiments.workers.pool import build_keras_evaluator
from paretune.objectives.settings import MOST_STAGE_BYTES
from paretune.search.feasibility import bound_of
from paretune.search.front import values_of
from paretune.search.satisfiable import check_satisfiable
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.candidate import Limit
from paretune.spaces.candidates.hyperspace import all_values
from paretune.spaces.candidates.recipe import STAGES, stages_of
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import TrialError, Unsatisfiable
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial

#: Measures a policy without training it.
Probe = Callable[[Policy], Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a search will face.

    Attributes:
        parameters: Number of knobs that are searched.
        combinations: Number of combinations of their choices.
        layers: Number of layers that a policy can decide about.
        variants: Number of base models and recipes; 1 where only policies are searched.
        baseline: Values of the uncompressed model on the validation split.
        smallest_bytes: Deflated size of the smallest file found without training; ``None`` if none could be built.
        largest_bytes: The same with the first, mildest choice of every knob.
        training_steps: Optimizer steps of each stage that the space can ask for; a trial needs between none and all.
        probe_seconds: Most wall seconds that an untrained policy took from conversion to measurement: a trial takes
            as long on top of its training.
        trial_seconds: Median wall seconds of this run's own trials trained in full; ``None`` before there is one.
        trained_before: How many of those there are.
        disk_bytes: What one trial keeps on the disk.
        stage_bytes: Most that trained stages, from which later trials start, take on top of that.
        constraints: Each as it is written, with its bound in numbers.
        unsatisfiable: Why no policy can meet the constraints; empty where that could not be shown.
        objectives: What is traded off.
        notes: What the target has settled, and why.
    """

    parameters: int
    combinations: int
    layers: int
    variants: int
    baseline: Mapping[str, float]
    smallest_bytes: float | None
    largest_bytes: float | None
    training_steps: Mapping[str, int]
    probe_seconds: float | None
    trial_seconds: float | None
    trained_before: int
    disk_bytes: int | None
    stage_bytes: int
    constraints: tuple[Mapping[str, Any], ...]
    unsatisfiable: str
    objectives: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return {**document, "baseline": dict(self.baseline), "training_steps": dict(self.training_steps)}


def make_plan(problem: SearchProblem, baseline: Mapping[str, float], trials: Sequence[Trial], probe: Probe) -> Plan:
    """Look ahead without training anything.

    Args:
        problem: What will be searched.
        baseline: Values of the uncompressed model.
        trials: Of the run so far, if there is one: they tell what a trial costs.
        probe: Measures a policy without training.
    """
    space = problem.space
    probes = _Probes(probe)
    for policy in space.smallest():
        probes.measure(policy)
    smallest = probes.sizes()
    mildest = probes.measure(space.policy({parameter.name: 0 for parameter in space.parameters}))
    trained = [
        trial.ended - trial.started
        for trial in trials
        if trial.was_trained and trial.rung is Rung.FULL and trial.ended > trial.started
    ]
    return Plan(
        parameters=len(space.parameters),
        combinations=space.cardinality,
        layers=len(space.layers),
        variants=sum(1 for _ in all_values(problem.hyperspace)),
        baseline=baseline,
        smallest_bytes=min(smallest, default=None),
        largest_bytes=None if mildest is None else mildest.values["size_bytes"],
        training_steps=_training_steps(problem),
        probe_seconds=probes.seconds(),
        trial_seconds=median(trained) if trained else None,
        trained_before=len(trained),
        disk_bytes=probes.disk_bytes(),
        stage_bytes=MOST_STAGE_BYTES,
        constraints=tuple(_bounds(problem, baseline)),
        unsatisfiable=_unsatisfiable(problem, baseline, trials, probes),
        objectives=tuple(objective.name for objective in problem.objectives),
    )


class _Probes:
    """Measures each policy once; one that cannot be built counts as unknown."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._found: dict[str, Measurement | None] = {}
        self._seconds: list[float] = []

    def measure(self, policy: Policy) -> Measurement | None:
        if policy.digest not in self._found:
            started = time.monotonic()
            try:
                self._found[policy.digest] = self._probe(policy)
                self._seconds.append(time.monotonic() - started)
            except TrialError:
                self._found[policy.digest] = None
        return self._found[policy.digest]

    def estimate(self, policy: Policy) -> Mapping[str, float] | None:
        measurement = self.measure(policy)
        return None if measurement is None else measurement.values

    def sizes(self) -> list[float]:
        return [found.values["size_bytes"] for found in self._found.values() if found is not None]

    def seconds(self) -> float | None:
        # the first one may have started a worker, which loads TensorFlow
        return max(self._seconds[1:] or self._seconds, default=None)

    def disk_bytes(self) -> int | None:
        kept = [sum(map(len, found.artifacts.values())) for found in self._found.values() if found is not None]
        return max(kept, default=None)


def _training_steps(problem: SearchProblem) -> dict[str, int]:
    samples = problem.description.samples.get("train", 0)
    # the policies of the smallest files take every knob to its end, once for each number format
    possible = {stage for policy in problem.space.smallest() for stage in stages_of(policy)}
    return {stage: getattr(problem.recipe, stage).steps(samples) for stage in STAGES if stage in possible}


def _bounds(problem: SearchProblem, baseline: Mapping[str, float]) -> list[dict[str, Any]]:
    bounds = []
    for constraint in problem.constraints:
        bound, is_upper = bound_of(constraint, baseline, problem.known_objectives)
        bounds.append(
            {
                "constraint": str(constraint),
                "objective": constraint.objective,
                "bound": bound,
                "kind": "at most" if is_upper else "at least",
            }
        )
    return bounds


def _unsatisfiable(
    problem: SearchProblem, baseline: Mapping[str, float], trials: Sequence[Trial], probes: _Probes
) -> str:
    try:
        check_satisfiable(problem, trials, baseline, probes.estimate)
    except Unsatisfiable as error:
        return str(error)
    return ""


def baseline_values(trials: Sequence[Trial], measure: Callable[[], Measurement]) -> Mapping[str, float]:
    """Return the baseline's values as the run has them, or measured now."""
    for trial in trials:
        if trial.origin == "baseline" and trial.measurement is not None:
            return values_of(trial)
    return measure().values


def plan_experiment(
    experiment: Experiment,
    folder: RunFolder,
    *,
    trust_model: bool = False,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Plan:
    """Plan the search of an experiment, with what its run has learnt so far if there is one.

    Args:
        experiment: What will be searched.
        folder: Where its run lives, or will.
        trust_model: Whether code inside the model file may run.
        build: Builds the evaluator in the worker.
    """
    trials: Sequence[Trial] = ()
    if folder.exists:
        with open_run(folder) as run:
            trials = run.trials()
    with one_worker(experiment, trust_model=trust_model, build=build) as pool:
        problem = search_problem(experiment, pool.describe())
        limit = Limit(seconds=problem.trial_seconds)
        plan = make_plan(
            problem,
            baseline_values(trials, pool.baseline),
            trials,
            lambda policy: pool.submit(problem.candidate(policy), Rung.PROXY, limit).result(),
        )
    return replace(plan, notes=experiment.notes)
