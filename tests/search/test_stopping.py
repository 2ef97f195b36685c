import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.search.events import TrialEnded
from paretune.search.front import hypervolume_history, values_of
from paretune.search.settings import SearchProblem
from paretune.search.simulation import ImmediateService, MemoryLedger
from paretune.search.stopping import StopRules
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.objective import Bound, Constraint
from paretune.spaces.results.trial import Budget, Trial, TrialState, count_trained, stem_trained_by
from tests.fakes import AnalyticEvaluator
from tests.search.problems import a_problem, at_least, at_most, own, search, stop_after

WISHED = StopRules(wished=(at_least(0.9), at_most(11)))


def the_problem(stop: StopRules, **settings: Any) -> SearchProblem:
    return a_problem(stop=stop, budget=Budget(trials=40), **settings)


# What is wished for


def grants(trial: Trial) -> bool:
    values = values_of(trial)
    return bool(values) and values["accuracy"] >= 0.9 and values["size_bytes"] <= 11e3


def test_a_wished_for_point_ends_the_search_and_is_named() -> None:
    outcome, ledger, _ = search(the_problem(WISHED))
    trials = own(ledger)
    assert grants(trials[-1])
    before = [values_of(trial) for trial in trials[:-1]]
    assert not any(grants(trial) for trial in trials[:-1])
    # one wish of two was not enough
    assert any(values["accuracy"] >= 0.9 for values in before)
    assert any(values["size_bytes"] <= 11e3 for values in before)
    number = trials[-1].number
    assert outcome.reason == f"trial {number} is what was wished for (accuracy min 0.9, size_bytes max 11000)"
    assert not outcome.interrupted
    assert count_trained(trials) < 40


def test_a_wish_may_refer_to_the_baseline() -> None:
    wish = Constraint(objective="size_bytes", bound=Bound.RATIO, value=0.2)
    outcome, ledger, _ = search(the_problem(StopRules(wished=(wish,))))
    baseline, *_, last = ledger.trials()
    assert outcome.reason == f"trial {last.number} is what was wished for (size_bytes 0.2x)"
    assert values_of(last)["size_bytes"] <= 0.2 * values_of(baseline)["size_bytes"]


def test_the_baseline_grants_no_wish() -> None:
    _, ledger, _ = search(the_problem(StopRules(wished=(at_least(0.5),))))
    assert len(own(ledger)) == 1


def test_a_wish_must_be_about_something_that_is_measured() -> None:
    with pytest.raises(ConfigurationError, match="'size_byte' is not measured"):
        the_problem(StopRules(wished=(Constraint(objective="size_byte", bound=Bound.MAX, value=1),)))


# A front that no longer grows

FLAT = StopRules(flat_trials=5, flat_gain=0.02)


def volumes_of(ledger: MemoryLedger, problem: SearchProblem) -> list[float]:
    """Return the hypervolume after each trial that was the first to train its stem in full."""
    history = hypervolume_history(ledger.trials(), problem.objectives, (), values_of(ledger.trials()[0]))
    first = {stem_trained_by(trial): trial.number for trial in reversed(ledger.trials())}
    return [volume for number, volume in history if number in {first[stem] for stem in first if stem}]


@pytest.mark.parametrize("leaves", [0, 2])
def test_a_flat_hypervolume_ends_the_search_and_the_figure_is_told(leaves: int) -> None:
    """Leaves may raise the volume, but are no trained trials."""
    problem = the_problem(FLAT, leaves=leaves)
    outcome, ledger, _ = search(problem)
    volumes = volumes_of(ledger, problem)
    assert len(volumes) == count_trained(own(ledger)) < 40
    gains = [now / before - 1 for before, now in zip(volumes, volumes[5:], strict=False)]
    assert gains[-1] <= 0.02 < min(gains[:-1])
    assert outcome.reason == (
        f"the front has stopped growing: its hypervolume gained {100 * gains[-1]:.2f} % in the last 5 trained trials"
    )


@pytest.mark.parametrize("stop", [10, 36, 45, 57])
def test_a_search_that_was_interrupted_on_the_way_becomes_flat_at_the_same_trial(stop: int) -> None:
    problem = the_problem(FLAT, leaves=2)
    expected, whole, _ = search(problem)
    interrupted, ledger, _ = search(problem, stop_requested=stop_after(stop))
    assert interrupted.interrupted
    outcome, ledger, _ = search(problem, ledger=ledger.reopened())
    assert outcome == expected
    assert len(ledger.trials()) == len(whole.trials())


@given(volumes=st.lists(st.floats(0.1, 2.0), max_size=12).map(sorted), trials=st.integers(1, 5))
def test_a_front_is_flat_when_its_last_trials_gained_next_to_nothing(volumes: list[float], trials: int) -> None:
    said = StopRules(flat_trials=trials, flat_gain=0.1).flat(volumes)
    grew = len(volumes) <= trials or volumes[-1] / volumes[-1 - trials] - 1 > 0.1
    assert (said == "") == grew
    if said:
        [figure] = re.findall(r"gained (\S+) %", said)
        assert float(figure) == pytest.approx(100 * (volumes[-1] / volumes[-1 - trials] - 1), abs=0.01)


def test_nothing_found_yet_is_not_called_flat() -> None:
    assert StopRules(flat_trials=2).flat([0.0, 0.0, 0.0, 0.0]) == ""
    assert StopRules().flat([1.0] * 50) == ""


# Ending


@pytest.mark.parametrize("stop", [WISHED, FLAT], ids=["wished", "flat"])
def test_a_finished_search_ends_at_once_when_it_is_resumed(stop: StopRules) -> None:
    first, ledger, _ = search(the_problem(stop))
    done = list(ledger.trials())
    service = ImmediateService(AnalyticEvaluator())
    again, ledger, events = search(the_problem(stop), ledger=ledger.reopened(), service=service)
    assert again.reason == first.reason
    assert list(ledger.trials()) == done
    assert service.submitted == []
    assert not [event for event in events if isinstance(event, TrialEnded)]


def test_a_search_whose_wish_is_taken_back_goes_on_as_if_there_had_been_none() -> None:
    _, ledger, _ = search(the_problem(WISHED))
    outcome, ledger, _ = search(the_problem(StopRules()), ledger=ledger.reopened())
    assert outcome.reason == "40 trials"
    _, whole, _ = search(the_problem(StopRules()))
    assert [trial.candidate for trial in own(ledger)] == [trial.candidate for trial in own(whole)]


def test_what_is_in_flight_when_the_wish_is_granted_still_ends() -> None:
    service = ImmediateService(AnalyticEvaluator(), workers=3)
    outcome, ledger, _ = search(the_problem(WISHED), service=service)
    assert "is what was wished for" in outcome.reason
    assert {trial.state for trial in own(ledger)} == {TrialState.COMPLETE}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"flat_trials": 0}, "`flat_trials` must be at least 1, got 0."),
        ({"flat_gain": -0.1}, "`flat_gain` must be at least 0, got -0.1."),
        ({"flat_gain": float("nan")}, "`flat_gain` must be at least 0, got nan."),
    ],
)
def test_rules_that_make_no_sense_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StopRules(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == said
