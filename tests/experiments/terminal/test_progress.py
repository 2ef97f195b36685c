import io
from dataclasses import replace

import pytest
from rich.console import Console

from paretune.experiments.terminal.progress import SearchProgress
from paretune.search.events import Profiling, Ticked, TrialEnded, TrialRefused, TrialStarted
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.results.trial import Budget, TrialState
from tests.experiments.sample_trials import sample_front, sample_trials

TRIALS = sample_trials(8)
FRONT = sample_front(TRIALS)


def progress_on(text: io.StringIO, *, terminal: bool, budget: Budget | None = None) -> SearchProgress:
    console = Console(file=text, force_terminal=terminal, width=100, highlight=False, soft_wrap=True)
    return SearchProgress(budget or Budget(trials=24), FRONT, console=console)


def tick(seconds: float, trained: int, steps: int = 0) -> Ticked:
    return Ticked(seconds=seconds, trained=trained, training_steps=steps, in_flight=1)


def test_away_from_a_terminal_every_ended_trial_is_one_plain_line() -> None:
    text = io.StringIO()
    with progress_on(text, terminal=False) as progress:
        progress.hear(TrialStarted(trial=TRIALS[3]))
        progress.hear(tick(3, 1))
        progress.hear(TrialEnded(trial=TRIALS[3], front=FRONT, hypervolume=1.0))
    assert (
        text.getvalue() == f"trial 3  accuracy 0.7829  size 3.83 kB  latency 0.87x  front {len(FRONT.points)}  (10 s)\n"
    )


def test_failed_and_refused_trials_give_their_reason_in_one_line() -> None:
    text = io.StringIO()
    failed = replace(TRIALS[9], reason="Out of\nmemory.")
    with progress_on(text, terminal=False) as progress:
        progress.hear(TrialEnded(trial=failed, front=FRONT, hypervolume=1.0))
        progress.hear(TrialRefused(trial=TRIALS[10]))
    assert text.getvalue().splitlines() == ["trial 9  failed: Out of memory.  (10 s)", "trial 10  refused: Too large."]


def test_on_a_terminal_the_live_line_replaces_what_went_well_but_not_what_failed() -> None:
    text = io.StringIO()
    with progress_on(text, terminal=True) as progress:
        progress.hear(TrialEnded(trial=TRIALS[3], front=FRONT, hypervolume=1.0))
        progress.hear(TrialEnded(trial=replace(TRIALS[9]), front=FRONT, hypervolume=1.0))
    assert "trial 3 " not in text.getvalue()
    assert "trial 9  failed" in text.getvalue()
    assert f"front {len(FRONT.points)}" in text.getvalue()


def test_the_live_line_tells_trials_best_values_front_and_time_left() -> None:
    progress = progress_on(io.StringIO(), terminal=False)
    progress.hear(tick(0, 0))
    progress.hear(TrialStarted(trial=TRIALS[5]))
    progress.hear(tick(60, 6))
    best = max(trial.measurement.values["accuracy"] for trial in FRONT.trials if trial.measurement)
    assert progress.live_line() == (
        f"trained 6/24  |  trial 5 for 0 s  |  best accuracy {best:.4g}  size 3.83 kB  latency 0.78x  |  "
        f"front {len(FRONT.points)}  |  3 min left"
    )


@pytest.mark.parametrize(
    ("budget", "ticks", "expected"),
    [
        (Budget(trials=10), [(0, 0)], None),
        (Budget(trials=10), [(100, 4), (150, 5)], 250),
        (Budget(minutes=10), [(60, 0)], 540),
        (Budget(minutes=10), [(660, 0)], 0),
        (Budget(trials=10, minutes=3), [(100, 4), (150, 5)], 30),
    ],
)
def test_time_left_is_what_the_tightest_budget_leaves(
    budget: Budget, ticks: list[tuple[float, int]], expected: float | None
) -> None:
    progress = progress_on(io.StringIO(), terminal=False, budget=budget)
    for seconds, trained in ticks:
        progress.hear(tick(seconds, trained))
    assert progress.seconds_left() == expected


def test_a_trial_that_did_not_get_what_it_asked_for_says_so() -> None:
    measurement = TRIALS[3].measurement
    assert measurement is not None
    fidelity = measurement.fidelity
    unclean = replace(fidelity, layers=(replace(fidelity.layers[0], faults=("conv0 lost its zeros",)),))
    trial = replace(TRIALS[3], measurement=replace(measurement, fidelity=unclean))
    assert "not as asked: conv0 lost its zeros" in progress_on(io.StringIO(), terminal=False).trial_line(trial)
    assert trial.state is TrialState.COMPLETE


def test_that_trials_are_trained_the_slow_way_is_said_once_with_the_reason() -> None:
    text = io.StringIO()
    measurement = TRIALS[3].measurement
    assert measurement is not None
    details = {**measurement.details, "fallback": "stage 'prune' cannot be compiled once: ValueError: why"}
    slow = replace(TRIALS[3], measurement=replace(measurement, details=details))
    with progress_on(text, terminal=False) as progress:
        for _ in range(2):
            progress.hear(TrialEnded(trial=slow, front=FRONT, hypervolume=1.0))
    assert text.getvalue().count("slower: stage 'prune' cannot be compiled once: ValueError: why.") == 1


def test_the_live_line_tells_how_far_the_profile_is_until_it_is_complete() -> None:
    progress = progress_on(io.StringIO(), terminal=False)
    progress.hear(Profiling(done=34, total=157))
    assert progress.live_line().startswith("trained 0/24  |  profile 34/157  |  ")
    progress.hear(Profiling(done=157, total=157))
    assert "profile" not in progress.live_line()


def test_away_from_a_terminal_the_profile_is_one_line_when_it_begins_and_one_when_it_ends() -> None:
    text = io.StringIO()
    with progress_on(text, terminal=False) as progress:
        for done in range(1, 158):
            progress.hear(Profiling(done=done, total=157))
    assert text.getvalue().splitlines() == [
        "profile  measuring 157 policies untrained, each decision of each layer alone",
        "profile  complete, 157 policies  (0 s)",
    ]


def test_on_a_terminal_the_profile_leaves_no_line_behind() -> None:
    text = io.StringIO()
    with progress_on(text, terminal=True) as progress:
        for done in range(1, 158):
            progress.hear(Profiling(done=done, total=157))
    assert "measuring 157" not in text.getvalue()
    assert "complete" not in text.getvalue()


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("stopped after a short training: it ranks 3 of 4 short trials", "stopped after a short training: it ranks 3"),
        ("", "goes on to be trained in full"),
    ],
)
def test_a_short_trial_says_that_it_is_short_and_what_becomes_of_it(reason: str, said: str) -> None:
    line = progress_on(io.StringIO(), terminal=False).trial_line(replace(TRIALS[3], rung=Rung.SHORT, reason=reason))
    assert line.startswith(f"trial 3  short  accuracy 0.7829  size 3.83 kB  latency 0.87x  {said}")
    assert line.endswith("(10 s)")
