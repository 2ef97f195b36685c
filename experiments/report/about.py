"""What a page tells about the run itself: how far it is, what it may spend, and on which machine it ran."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from paretune.experiments.report.trial_states import state_of
from paretune.experiments.runs.run import Run
from paretune.experiments.terminal.wording import budget_text, command_text, seconds_text
from paretune.objectives.settings import PACKAGES_THAT_CHANGE_NUMBERS
from paretune.spaces.results.trial import Trial, TrialState, count_trained

#: Hexadecimal digits of a digest that are shown.
_DIGITS = 12


def about_run(run: Run, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return tables of facts as pairs of a name and a value, and sentences.

    ::

        {"status": "...", "counts": {"complete": 43, ...}, "trained": 41, "tables": {"Budget": [[name, value], ...]},
         "latency": "...", "notes": [...], "experiment": {"file": "...", "text": "..."}}
    """
    facts = run.facts
    return {
        "status": _status(run, trials),
        "counts": dict(Counter(state_of(trial) for trial in trials if trial.origin != "baseline")),
        "trained": count_trained(trials),
        "tables": {
            "Budget": _budget(run, trials),
            "Machine": [[_words(name), _plain(value)] for name, value in facts.description.machine.items()],
            "Data": [[split, f"{count:,} samples"] for split, count in facts.description.samples.items()],
            "Versions and digests": _versions(run),
        },
        "latency": _latency(trials),
        "notes": list(facts.description.notes),
        "experiment": {"file": str(run.experiment.file), "text": run.experiment.text},
    }


def _status(run: Run, trials: Sequence[Trial]) -> str:
    running = sum(trial.state is TrialState.RUNNING for trial in trials)
    if running:
        return f"Still searching when this page was made: {running} trial{'s' if running > 1 else ''} under way."
    if not run.has_ended:
        return f"The search has not come to its end yet; it goes on with {command_text('search', run.experiment.file)}."
    return "The search has ended."


def _budget(run: Run, trials: Sequence[Trial]) -> list[list[str]]:
    steps = sum(trial.measurement.training_steps for trial in trials if trial.measurement is not None)
    proxies, proxy_seconds = run.ledger.proxies_so_far()
    rows = [
        ["budget", budget_text(run.experiment.budget)],
        ["trained trials", f"{count_trained(trials):,}"],
        ["searched", seconds_text(run.ledger.seconds_searched())],
        ["training steps", f"{steps:,}"],
    ]
    if proxies:
        rows.append(["measured untrained", f"{proxies:,} policies in {seconds_text(proxy_seconds)} of all workers"])
    return rows


def _versions(run: Run) -> list[list[str]]:
    """Return the versions that the run was made with, and the digests of what it was made of."""
    fingerprint = run.facts.fingerprint
    packages = [[name, fingerprint[name]] for name in PACKAGES_THAT_CHANGE_NUMBERS if name in fingerprint]
    digests = [[name, fingerprint[name][:_DIGITS]] for name in ("model", "data") if name in fingerprint]
    return [["paretune (this page)", version("paretune")], *packages, *digests, ["run", run.facts.run_id[:_DIGITS]]]


def _latency(trials: Sequence[Trial]) -> str:
    """Return how latency was measured, and how much noise there was."""
    words = (
        "Latency is the median ratio of a file's time to the baseline's, for one sample each, called in turn with it "
        "in one process while the other workers pause; the spread is the interquartile range of those ratios."
    )
    measurement = trials[0].measurement if trials else None
    found = measurement.details.get("latency") if measurement is not None else None
    if not found:
        return words
    return (
        f"{words} The baseline takes {found['baseline_ms']:.3g} ms; measured against itself it came to "
        f"{found['ratio']:.2f}x, spread {found['spread']:.2f}, in {found['pairs']:,} pairs."
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if value is None:
        return "not known"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
