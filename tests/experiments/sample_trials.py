"""Trials of an imaginary run, with numbers from the analytic evaluator."""

import random
from collections.abc import Sequence
from dataclasses import replace

from paretune.search.front import Front, find_front, values_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.layers import untouched_policy
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.space import SpaceSettings, build_space
from paretune.spaces.results.ledger import Ledger
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial, TrialState
from tests.fakes import ACCURACY, LATENCY, SIZE, USUAL_CHOICES, AnalyticEvaluator, layer_specs

OBJECTIVES = (ACCURACY, SIZE, LATENCY)
_BEGAN = 1_700_000_000.0


def sample_trials(count: int = 6, *, seed: int = 0, layers: int = 4) -> list[Trial]:
    """Return the baseline, ``count`` complete trials of random policies, a failed and a refused one."""
    evaluator = AnalyticEvaluator(layers=layer_specs(layers))
    space = build_space(evaluator.layers, SpaceSettings(choices=USUAL_CHOICES))
    draw = random.Random(seed)  # noqa: S311
    architecture = evaluator.describe().architecture
    untouched = untouched_policy(evaluator.layers)

    def candidate(policy: Policy) -> Candidate:
        return Candidate(architecture=architecture, recipe=Recipe(), policy=policy, seed=seed)

    def drawn() -> Policy:
        return space.policy({item.name: draw.randrange(len(item.choices)) for item in space.parameters})

    trials = [complete(0, candidate(untouched), evaluator.baseline(), origin="baseline")]
    for number in range(1, count + 1):
        chosen = candidate(drawn())
        trials.append(complete(number, chosen, evaluator.evaluate(chosen, Rung.FULL, Limit()), origin="tpe"))
    failed = replace(
        trials[0],
        number=count + 1,
        candidate=candidate(drawn()),
        origin="tpe",
        state=TrialState.FAILED,
        reason="The loss became NaN in stage 'prune'.",
        measurement=None,
        test_values={},
    )
    refused = replace(
        failed, number=count + 2, state=TrialState.REFUSED, reason="Too large.", started=0.0, ended=_BEGAN
    )
    return [*trials, failed, refused]


def complete(number: int, candidate: Candidate, measurement: Measurement, *, origin: str) -> Trial:
    """Return a complete trial that took ten seconds, measured on both splits."""
    return Trial(
        number=number,
        candidate=candidate,
        rung=Rung.FULL,
        state=TrialState.COMPLETE,
        origin=origin,
        measurement=replace(measurement, artifacts={}),
        test_values={"accuracy": measurement.values["accuracy"] - 0.005},
        started=_BEGAN + 10 * number,
        ended=_BEGAN + 10 * number + 10,
    )


def sample_front(trials: list[Trial]) -> Front:
    """Return the front of sample trials, without constraints."""
    return find_front(trials, OBJECTIVES, (), values_of(trials[0]))


def fill_ledger(ledger: Ledger, trials: Sequence[Trial]) -> None:
    """Write trials into an empty ledger, as a search would."""
    for trial in trials:
        proposal = {
            "candidate": trial.candidate,
            "rung": trial.rung,
            "origin": trial.origin,
            "parameters": trial.parameters,
        }
        if trial.state is TrialState.REFUSED:
            ledger.refuse(**proposal, reason=trial.reason)  # type: ignore[arg-type]
            continue
        opened = ledger.open_trial(**proposal)  # type: ignore[arg-type]
        assert opened.number == trial.number
        ledger.close_trial(
            replace(trial, number=opened.number, started=opened.started, ended=opened.started + 10, test_values={})
        )
        if trial.test_values:
            ledger.record_test(trial.number, trial.test_values)
