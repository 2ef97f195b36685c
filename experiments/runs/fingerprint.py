"""What must stay the same for a run to go on, and how a difference is told."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from paretune.experiments.config.experiment import Experiment
from paretune.objectives.loading.functions import function_digest, is_function_reference
from paretune.spaces.candidates.hyperspace import Hyperparameter
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.policies.policy import digest_of
from paretune.spaces.policies.space import Space
from paretune.spaces.results.evaluator import ModelDescription
from paretune.spaces.results.objective import Constraint, Objective

_MOST_DIFFERENCES_SHOWN = 5


def run_fingerprint(
    *,
    description: ModelDescription,
    space: Space,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    recipe: Recipe,
    hyperspace: Sequence[Hyperparameter],
    seed: int,
    threads: int,
) -> dict[str, str]:
    """Return everything that decides what a run's trials mean, part by part, in values that people can compare.

    The model, the data, functions of the user's and package versions come from the evaluator. Budget, sampler,
    workers, deadline and tracking are not in it: they may change from one resumption to the next.
    """
    parts = dict(description.fingerprint)
    parts["seed"] = str(seed)
    parts["threads"] = str(threads)
    parts["objectives"] = ", ".join(f"{objective.name} ({objective.direction})" for objective in objectives)
    parts["constraints"] = ", ".join(sorted(str(constraint) for constraint in constraints))
    for stage, settings in recipe.to_document().items():
        for name, value in settings.items():
            parts[f"recipe.{stage}.{name}"] = "the usual" if value is None else str(value)
    for each in hyperspace:
        parts[f"hyperparameter {each.name}"] = ", ".join(_choice(value) for value in each.choices)
    for parameter in space.parameters:
        parts[f"space {parameter.name}"] = ", ".join(_choice(value) for value in parameter.choices)
        if len(parameter.layers) > 1:
            parts[f"group of {parameter.layers[0]}"] = ", ".join(parameter.layers)
    for layer, knobs in space.fixed.items():
        for knob, value in knobs.items():
            parts[f"space {layer}.{knob}"] = _choice(value)
    return parts


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the differences in words, such as ``model: 3f2a1b09.. -> 9c1d77e2..``; an empty list for none."""
    names = [*old, *(name for name in new if name not in old)]
    return [
        f"{name}: {_short(old.get(name))} -> {_short(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def require_same(old: Mapping[str, str], new: Mapping[str, str], folder: Path) -> None:
    """Raise unless a run can go on.

    Raises:
        RunError: Shows what has changed.
    """
    differences = compare(old, new)
    if not differences:
        return
    more = len(differences) - _MOST_DIFFERENCES_SHOWN
    shown = "; ".join(differences[:_MOST_DIFFERENCES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
    raise RunError(
        f"{folder} was searched with something else: {shown}. "
        "Change it back, or use --out (`out` in Python) for a new run."
    )


def require_same_files(run: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Raise unless files of a run measure now as they did then: for model, data, metric and functions of the search.

    Raises:
        RunError: Shows what has changed.
    """
    parts = ("model", "data", "task", "metric")
    old, new = (
        {part: value for part, value in found.items() if part in parts or part.startswith("objective ")}
        for found in (run, now)
    )
    require_same(old, new, folder)


def digest_without_loading(experiment: Experiment, versions: Mapping[str, str]) -> str:
    """Return a digest of what an experiment asks for and of the files it names, without loading model or data.

    When it is the same, nothing has changed that a finished run would have to be checked for; when it is not, the
    fingerprint tells whether that matters.
    """
    beside = experiment.file.parent
    asked = {
        "space": repr(experiment.space),
        "objectives": [list(experiment.objectives), repr(experiment.functions), repr(experiment.device)],
        "constraints": [str(constraint) for constraint in experiment.constraints],
        "recipe": [experiment.recipe.to_document(), str(experiment.recipe_choices)],
        "base": str(experiment.base),
        "task": [experiment.task, experiment.metric, experiment.direction, str(experiment.class_weights)],
        "numbers": [experiment.seed, experiment.threads],
        "references": [experiment.model, experiment.data],
        "beside": str(beside),
        "versions": dict(versions),
    }
    functions = (each.function for each in experiment.functions)
    references = (experiment.model, experiment.data, experiment.metric or "", *functions)
    return digest_of([asked, [_file_digest(reference, beside) for reference in references]])


def _file_digest(reference: str, beside: Path) -> str:
    """Return the digest of the file, folder or module that a reference names, or of nothing where there is none."""
    if is_function_reference(reference):
        try:
            return function_digest(reference, beside)
        except ConfigurationError:  # loading it tells what is wrong
            return ""
    path = beside / reference
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files if reference else []:
        if file.is_file():
            facts = file.stat()
            # a folder of images is told by names, sizes and times: reading it would take as long as loading it
            digest.update(f"{file.relative_to(beside) if path.is_dir() else ''} {facts.st_size}".encode())
            digest.update(str(facts.st_mtime_ns).encode() if path.is_dir() else file.read_bytes())
    return digest.hexdigest()


def _choice(value: object) -> str:
    return "none" if value is None else str(value)


def _short(value: str | None) -> str:
    if value is None:
        return "(nothing)"
    return f"{value[:8]}.." if re.fullmatch(r"[0-9a-f]{32,}", value) else value or "(none)"
