"""What a session of a search leaves on the screen: the front, why it ended, what to type next."""

import shlex
from collections.abc import Callable

from paretune.experiments.exports.front_picture import save_picture
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.session import SessionEnd
from paretune.experiments.terminal.tables import print_front

_PATIENCE_SECONDS = 20.0
_PATIENCE_WHEN_INTERRUPTED_SECONDS = 2.0


def report_session(end: SessionEnd, folder: RunFolder, *, say: Callable[[str], None]) -> None:
    """Print the front on stdout, and everything else through ``say``."""
    print_front(end.front, end.metric, end.neighbours, reason=end.no_interval)
    settle_session(end, folder, say=say, legend=f"; * marks the knee, {end.metric} is validation/test")
    if not end.outcome.interrupted:
        say("Next:")
        for line in next_commands(end, shlex.quote(str(folder))):
            say(f"  {line}")


def settle_session(end: SessionEnd, folder: RunFolder, *, say: Callable[[str], None], legend: str = "") -> None:
    """Tell how a session ended; give MLflow's record a moment to catch up, and see that the front is drawn.

    Args:
        end: What it has come to.
        folder: Of the run.
        say: Hears each line.
        legend: Said after the size of a front, where it has been printed.
    """
    say(f"The search ended: {end.outcome.reason}. {_size_of_front(end, legend)}")
    for line in funnel_lines(end):
        say(line)
    patience = _PATIENCE_WHEN_INTERRUPTED_SECONDS if end.outcome.interrupted else _PATIENCE_SECONDS
    if end.tracker is not None:
        if not end.tracker.caught_up(patience_seconds=patience):
            say(f"MLflow is behind; run `paretune sync {shlex.quote(str(folder))}`.")
    elif end.is_new and not end.outcome.interrupted:
        save_picture(folder.path, end.front, end.metric)  # with tracking, its process has drawn it


def funnel_lines(end: SessionEnd) -> list[str]:
    """Return what was saved by not training every policy in full, and how far the profile adds up; none if nothing."""
    ended = [f"{end.stopped} stopped after a short training"] if end.stopped else []
    ended += [f"{end.refused} refused untrained"] if end.refused else []
    lines = [f"Not trained in full: {', '.join(ended)}."] if ended else []
    return [*lines, f"Profile: {end.additivity}."] if end.additivity else lines


def next_commands(end: SessionEnd, name: str) -> list[str]:
    """Return the commands that are worth typing next."""
    if not end.front.points:
        return [
            f"paretune front {name} --format json    # what was tried; then loosen the constraints or raise the budget"
        ]
    return [
        f"paretune export {name} --pick knee",
        f"paretune front {name} --max-drop 0.01",
        f"paretune report {name}",
        f"paretune ui {name}",
    ]


def _size_of_front(end: SessionEnd, legend: str) -> str:
    count = len(end.front.points)
    if not count:
        return "The front is empty: no trial meets the constraints."
    return f"{count} point{'s' if count > 1 else ''} on the front{legend}."
