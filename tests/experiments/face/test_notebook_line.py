"""Progress in the output of a notebook's cell."""

import io
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from paretune.experiments.terminal.notebook_line import NotebookLine
from paretune.experiments.terminal.progress import SearchProgress
from paretune.search.events import Ticked, TrialEnded, TrialStarted
from paretune.spaces.results.trial import Budget
from tests.experiments.sample_trials import sample_front, sample_trials

TRIALS = sample_trials(4)
FRONT = sample_front(TRIALS)


class Cell:
    """What a notebook does with displays: each stays where it was first shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def display(self, what: Any, **options: Any) -> "Cell | None":
        self.shown.append(what["text/plain"] if isinstance(what, dict) else str(what.text))
        self._place = len(self.shown) - 1
        return self

    def update(self, what: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown[self._place] = what["text/plain"]


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()
    module = ModuleType("IPython.display")
    module.display = cell.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return cell


def test_one_line_is_written_in_place_at_most_once_a_second_and_taken_away(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    said = iter("abcd")
    line = NotebookLine(lambda: next(said))
    line.refresh()
    line.refresh()
    assert cell.shown == ["a"]
    now = 101.0
    line.refresh()
    assert cell.shown == ["b"]
    line.stop()
    assert cell.shown == [""]


def test_a_line_that_was_never_shown_leaves_nothing(cell: Cell) -> None:
    NotebookLine(lambda: "never").stop()
    assert cell.shown == []


@pytest.mark.parametrize("quiet", [False, True])
def test_a_search_in_a_notebook_shows_one_line_for_all_trials(cell: Cell, quiet: bool) -> None:
    console = Console(file=io.StringIO(), force_jupyter=True, quiet=quiet)
    with SearchProgress(Budget(trials=24), FRONT, console=console) as progress:
        progress.hear(TrialStarted(trial=TRIALS[3]))
        progress.hear(Ticked(seconds=3, trained=1, training_steps=0, in_flight=1))
        progress.hear(TrialEnded(trial=TRIALS[3], front=FRONT, hypervolume=1.0))
        during = list(cell.shown)
    assert len(during) == (0 if quiet else 1)
    assert all("front" in line for line in during)
    assert cell.shown == ([] if quiet else [""])
