"""Where the bytes and the accuracy of a trial went: layer by layer, beside uniform policies, class by class."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from paretune.experiments.explaining.confusion import Confusion, compare_answers, read_confusion
from paretune.experiments.explaining.evaluations import KeptEvaluations, Say
from paretune.experiments.explaining.relaxing import (
    Evidence,
    GivenBack,
    Relaxation,
    estimated_change,
    is_free,
    measured_change,
    relaxations_of,
)
from paretune.experiments.explaining.uniform import nearest_in_size, shortlist, uniform_policies, uniform_trial
from paretune.experiments.runs.run import Run
from paretune.experiments.workers.handle import EvaluatorFactory
from paretune.experiments.workers.pool import build_keras_evaluator
from paretune.search.front import PICKS, pick, values_of
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.candidates.variant import space_of
from paretune.spaces.errors import RunError
from paretune.spaces.policies.policy import LayerPolicy, Policy, untouched_policy
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.measurement import LayerFidelity
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Trial, TrialState


@dataclass(frozen=True, slots=True)
class LayerExplanation:
    """One compressed layer.

    Attributes:
        fidelity: Requested against achieved, and the bytes of its weights.
        alone: What leaving it as it was gives back; ``None`` where that could not be found out.
        in_float32: What storing it as float32 gives back, still pruned and clustered; ``None`` where that does not
            apply.
    """

    fidelity: LayerFidelity
    alone: GivenBack | None
    in_float32: GivenBack | None


@dataclass(frozen=True, slots=True)
class UniformExplanation:
    """The uniform policy of about the same size.

    Attributes:
        wish: What it decides about every layer that supports it.
        evidence: ``estimate``: ``values`` are those of the untrained file, and compare with ``untrained``.
        values: What it measures.
        untrained: What the trial's own policy measures untrained.
        trial: Number of the finished trial that it is; ``None`` if it is none.
    """

    wish: LayerPolicy
    evidence: Evidence
    values: Mapping[str, float]
    untrained: Mapping[str, float]
    trial: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a trial is as it is.

    Attributes:
        trial: The trial.
        baseline: The uncompressed model's.
        metric: The task's metric.
        layers: Those that it compresses, in model order.
        uniform: ``None`` where no uniform policy could be measured.
        confusion: On the validation split; ``None`` where rows do not have one class each.
    """

    trial: Trial
    baseline: Trial
    metric: Objective
    layers: tuple[LayerExplanation, ...]
    uniform: UniformExplanation | None
    confusion: Confusion | None


def trial_named(run: Run, which: str) -> Trial:
    """Return a trial by its number, on the front or not, or by what it is on the front.

    Raises:
        RunError: If there is none of that number, or it was not trained in full.
        ConfigurationError: If it is no number, and the front is empty or does not know the word.
    """
    if not which.isdecimal():
        return pick(run.front(), which)
    trial = run.trial(int(which))
    if trial.origin == "baseline":
        raise RunError("Trial 0 is the uncompressed model; name a trial that compresses it.")
    if trial.state is not TrialState.COMPLETE or trial.rung is not Rung.FULL:
        reason = f": {trial.reason}" if trial.reason else ""
        what = "trained a little only" if trial.was_stopped else str(trial.state)
        raise RunError(
            f"The trial must have been trained in full, but trial {trial.number} of {run.folder} is {what}{reason}. "
            f"Name another, or one of {', '.join(PICKS)}."
        )
    return trial


def explain_trial(
    run: Run,
    trial: Trial,
    *,
    train: bool = False,
    trust_model: bool = False,
    say: Say = lambda words: None,
    build: EvaluatorFactory = build_keras_evaluator,
) -> Explanation:
    """Explain a trial.

    What needs no training is measured: number formats on the same trained weights. The rest is estimated from untrained
    policies, or trained if ``train`` says so. All of it is kept in the run's folder, so that asking again is quick.

    Args:
        run: Open for reading.
        trial: Complete, trained in full.
        train: Whether each relaxed policy, and the uniform one, is trained in full.
        trust_model: Whether code inside the model file may run.
        say: Hears what is going on.
        build: Builds the evaluator in the worker.

    Raises:
        RunError: If model or data have changed since the search, or the trial's file is gone.
    """
    file = run.folder.explained / f"trial-{trial.number:05d}.json"
    with KeptEvaluations(run, file, trust_model=trust_model, say=say, build=build) as book:
        explaining = _Explaining(run, trial, run.description_of(trial), book, train)
        confusion = explaining.confusion()  # first: it needs the trial's file, which may be gone
        return Explanation(
            trial=trial,
            baseline=explaining.baseline,
            metric=explaining.metric,
            layers=explaining.layers(),
            uniform=explaining.uniform(),
            confusion=confusion,
        )


class _Explaining:
    """One call of :func:`explain_trial`."""

    def __init__(
        self, run: Run, trial: Trial, description: ModelDescription, book: KeptEvaluations, train: bool
    ) -> None:
        self._run, self._trial, self._description, self._book, self._train = run, trial, description, book, train
        self._trials = run.trials()
        self.baseline = self._trials[0]
        self.metric = next(iter(description.objectives.values()))

    def layers(self) -> tuple[LayerExplanation, ...]:
        relaxations = {each.layer: each for each in relaxations_of(self._trial.candidate, self._description.layers)}
        found = []
        for number, row in enumerate(self._rows(relaxations), start=1):
            relaxation = relaxations[row.layer]
            doing = f"letting go of {row.layer} ({number} of {len(relaxations)})"
            in_float32 = relaxation.in_float32
            plain = None if in_float32 is None else self._real(in_float32, doing)
            found.append(LayerExplanation(row, self._real(relaxation.whole, doing) or self._guess(relaxation), plain))
        return tuple(found)

    def _rows(self, relaxations: Mapping[str, Relaxation]) -> list[LayerFidelity]:
        measurement = self._trial.measurement
        return [] if measurement is None else [row for row in measurement.fidelity.layers if row.layer in relaxations]

    def _real(self, relaxed: Candidate, doing: str) -> GivenBack | None:
        """Return what a relaxed policy changes in truth; ``None`` where it would have to be trained and may not."""
        free = is_free(relaxed, self._trial.candidate)
        # what was trained at an earlier call costs nothing now
        if not free and not self._train and not self._book.knows(relaxed, Rung.FULL):
            return None
        values = self._book.values(relaxed, Rung.FULL, may_train=self._train, doing=doing)
        if values is None:
            return None
        evidence = Evidence.MEASURED if free else Evidence.TRAINED
        return measured_change(values_of(self._trial), values, self.metric.name, evidence)

    def _guess(self, relaxation: Relaxation) -> GivenBack | None:
        untrained, base = self._untrained(self._trial.candidate.policy), self._base()
        relaxed = self._untrained(relaxation.whole.policy)
        if untrained is None or base is None or relaxed is None:
            return None
        return estimated_change(
            trained=values_of(self._trial), base=base, untrained=untrained, relaxed=relaxed, metric=self.metric
        )

    def _base(self) -> Mapping[str, float] | None:
        """Return what the trial's model measures before compression."""
        if self._trial.candidate.architecture == self.baseline.candidate.architecture:
            return values_of(self.baseline)
        return self._untrained(untouched_policy(self._description.layers))

    def _untrained(self, policy: Policy) -> Mapping[str, float] | None:
        return self._book.values(replace(self._trial.candidate, policy=policy), Rung.PROXY)

    def uniform(self) -> UniformExplanation | None:
        space = space_of(self._description, self._run.experiment.space, self._trial.candidate.recipe)
        policies = uniform_policies(space)
        policies.pop(self._trial.candidate.policy.digest, None)
        untrained = self._untrained(self._trial.candidate.policy)
        if untrained is None:
            return None
        known = uniform_trial(self._trials, self._trial, policies)
        if known is not None:
            wish, _ = policies[known.candidate.policy.digest]
            return UniformExplanation(wish, Evidence.TRAINED, values_of(known), untrained, known.number)
        short = shortlist((policy for _, policy in policies.values()), space.layers, self._trial)
        measured = {policy.digest: values for policy in short if (values := self._untrained(policy)) is not None}
        chosen = nearest_in_size(measured, values_of(self._trial)["size_bytes"])
        if chosen is None:
            return None
        wish, policy = policies[chosen]
        candidate = replace(self._trial.candidate, policy=policy)
        if self._train or self._book.knows(candidate, Rung.FULL):
            trained = self._book.values(
                candidate, Rung.FULL, may_train=True, doing="training the uniform policy of the same size"
            )
            if trained is not None:
                return UniformExplanation(wish, Evidence.TRAINED, trained, untrained, None)
        return UniformExplanation(wish, Evidence.ESTIMATE, measured[chosen], untrained, None)

    def confusion(self) -> Confusion | None:
        def find() -> dict[str, object] | None:
            before = self._book.inspect(self.baseline).answers
            after = self._book.inspect(self._trial).answers
            if before is None or after is None:
                return None
            return compare_answers(before.truth, before.said, after.said, before.class_names).to_document()

        found = self._book.document("confusion", find)
        return None if found is None else read_confusion(found)
