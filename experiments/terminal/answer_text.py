"""What a run answers to new bounds, for people and for scripts."""

from typing import Any

from paretune.experiments.asking import Answer, Limit
from paretune.experiments.better_policy import Estimate
from paretune.experiments.exports.asked_policy import AskedPolicy
from paretune.experiments.terminal.wording import short_name, value_text, values_text
from paretune.search.front import values_of
from paretune.spaces.results.trial import Trial


def answer_lines(answer: Answer, kept: AskedPolicy | None) -> list[str]:
    """Return which trial is the best, or what comes nearest; and the untried policy that should do better, if any.

    Args:
        answer: The answer.
        kept: Where the untried policy was written; ``None`` where it was not.

    Returns:
        No line where no bound was asked.
    """
    if not answer.limits:
        return []
    lines = []
    if answer.best is not None:
        lines.append(
            f"best by {short_name(answer.by.name)}: trial {answer.best.number}, {_values(answer, answer.best)}"
        )
    elif answer.nearest is not None:
        missed = " and ".join(
            _miss(limit, values_of(answer.nearest)[limit.objective], amount) for limit, amount in answer.missed
        )
        lines.append(f"No trial meets the bounds; trial {answer.nearest.number} comes nearest: {missed}.")
    else:
        lines.append("No trial meets the bounds.")
    if answer.untried is not None:
        predicted = "  ".join(_estimate(name, guess) for name, guess in answer.untried.predicted.items())
        should = "meet them" if answer.best is None else "do better"
        lines.append(f"An untried policy should {should}: {predicted} (predicted).")
        if kept is not None:
            lines += [f"It is in {kept.file}; this trains it:", f"  {kept.command}"]
    return lines


def answer_document(answer: Answer, kept: AskedPolicy | None) -> dict[str, Any]:
    """Return the same as plain data.

    ::

        {"bounds": [{"objective", "bound", "kind": "at most"}, ...], "by": "accuracy", "best": 12,
         "nearest": {"trial": 7, "misses": [{"objective", "bound", "kind", "by"}, ...]},
         "untried": {"digest", "predicted": {"accuracy": {"value", "deviation"}, ...}, "policy": FILE, "command"}}

    ``best``, ``nearest`` and ``untried`` are null where there is none. Nothing of it where no bound was asked.
    """
    if not answer.limits:
        return {}
    nearest = answer.nearest and {
        "trial": answer.nearest.number,
        "misses": [{**_limit_document(limit), "by": amount} for limit, amount in answer.missed],
    }
    untried = answer.untried and {
        "digest": answer.untried.policy.digest,
        "predicted": {
            name: {"value": guess.value, "deviation": guess.deviation}
            for name, guess in answer.untried.predicted.items()
        },
        "policy": None if kept is None else str(kept.file),
        "command": None if kept is None else kept.command,
    }
    return {
        "bounds": [_limit_document(limit) for limit in answer.limits],
        "by": answer.by.name,
        "best": None if answer.best is None else answer.best.number,
        "nearest": nearest,
        "untried": untried,
    }


def _values(answer: Answer, trial: Trial) -> str:
    names = dict.fromkeys(
        [*(item.name for item in answer.front.objectives), *(limit.objective for limit in answer.limits)]
    )
    return values_text(values_of(trial), names)


def _miss(limit: Limit, value: float, amount: float) -> str:
    """Return such as ``size 63.2 kB is 3.20 kB above 60.0 kB``."""
    name = limit.objective
    beyond = f"{value_text(name, amount)} {'above' if limit.is_upper else 'below'} {value_text(name, limit.value)}"
    return f"{short_name(name)} {value_text(name, value)} is {beyond}"


def _limit_document(limit: Limit) -> dict[str, Any]:
    return {"objective": limit.objective, "bound": limit.value, "kind": _kind(limit)}


def _kind(limit: Limit) -> str:
    return "at most" if limit.is_upper else "at least"


def _estimate(name: str, guess: Estimate) -> str:
    return f"{short_name(name)} {value_text(name, guess.value)} +- {value_text(name, guess.deviation)}"
