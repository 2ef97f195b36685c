"""What a session of a search leaves on the screen."""

from paretune.experiments.session import SessionEnd
from paretune.experiments.terminal.session_report import funnel_lines, next_commands
from paretune.search.events import SearchOutcome
from tests.experiments.sample_trials import sample_front, sample_trials


def an_end(**found: object) -> SessionEnd:
    return SessionEnd(
        front=sample_front(sample_trials(4)),
        metric="accuracy",
        outcome=SearchOutcome(reason="24 trials"),
        is_new=True,
        **found,  # type: ignore[arg-type]
    )


def test_what_was_not_trained_in_full_and_how_far_the_profile_adds_up_are_a_line_each() -> None:
    additivity = "8 pairs of decisions cost 1.12 times the sum of their parts (median)"
    assert funnel_lines(an_end(stopped=4, refused=2, additivity=additivity)) == [
        "Not trained in full: 4 stopped after a short training, 2 refused untrained.",
        "Profile: 8 pairs of decisions cost 1.12 times the sum of their parts (median).",
    ]


def test_what_did_not_happen_is_not_told() -> None:
    assert funnel_lines(an_end(stopped=1)) == ["Not trained in full: 1 stopped after a short training."]
    assert funnel_lines(an_end(refused=1)) == ["Not trained in full: 1 refused untrained."]
    assert funnel_lines(an_end()) == []


def test_the_commands_worth_typing_next_name_the_page() -> None:
    assert "paretune report runs/digits" in next_commands(an_end(), "runs/digits")
