"""What a search will face."""

from dataclasses import replace

from paretune.experiments.planning import make_plan
from paretune.experiments.terminal.plan_text import plan_rows
from paretune.search.front import values_of
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial
from tests.experiments.sample_trials import sample_trials
from tests.fakes import AnalyticEvaluator
from tests.search.problems import a_problem


def test_what_a_trial_takes_is_told_by_those_that_were_trained_in_full() -> None:
    evaluator = AnalyticEvaluator()
    trials: list[Trial] = sample_trials(4)
    short = [replace(trial, rung=Rung.SHORT, ended=trial.started + 1) for trial in trials[1:4]]

    def probe(policy: Policy) -> Measurement:
        return evaluator.evaluate(Candidate(architecture="", recipe=Recipe(), policy=policy), Rung.PROXY, Limit())

    plan = make_plan(a_problem(), values_of(trials[0]), [trials[0], *short, trials[4]], probe)
    assert (plan.trained_before, plan.trial_seconds) == (1, 10.0)

    notes = ("microcontroller: no sparsity: it saves nothing there.",)
    assert ("target", notes[0]) in plan_rows(replace(plan, notes=notes))
    assert ("objectives", "accuracy, size_bytes, latency_ratio") in plan_rows(plan)
