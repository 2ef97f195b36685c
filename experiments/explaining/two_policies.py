"""Two policies side by side: what differs, and what it changed where both were measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.experiments.config.policy_file import PolicyFile, read_policy_file
from paretune.experiments.explaining.explanation import trial_named
from paretune.experiments.exports.export import MEASUREMENT, POLICY
from paretune.experiments.runs.folder import RunFolder, find_run
from paretune.experiments.runs.run import Run, open_run
from paretune.search.front import values_of
from paretune.spaces.candidates.variant import space_of
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.space import Space
from paretune.spaces.results.resampling import Interval, Resampled, difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two policies.

    Attributes:
        name: As it was named.
        policy: What it decides.
        metric: Name of the task's metric; empty where nothing was measured.
        values: On the validation split; empty where nothing was measured.
        test_values: On the test split.
        layer_bytes: Deflated bytes of each layer's weights in its file.
        resampled: Its metric on resamples of the test split, where its run has them.
        tested_on: Which data the resamples are of; equal ones compare.
        hyperparameters: Of its base model.
    """

    name: str
    policy: Policy
    metric: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    test_values: Mapping[str, float] = field(default_factory=dict)
    layer_bytes: Mapping[str, int] = field(default_factory=dict)
    resampled: Resampled | None = None
    tested_on: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """A layer about which two policies decide otherwise; ``None`` where one does not know it."""

    layer: str
    before: LayerPolicy | None
    after: LayerPolicy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two policies.

    Attributes:
        before: The first.
        after: The second.
        layers: Where they differ.
        same: How many layers they decide about alike.
        metric_change: What the second's metric less the first's lies within on the test split; ``None`` where unknown.
    """

    before: Side
    after: Side
    layers: tuple[LayerDifference, ...]
    same: int
    metric_change: Interval | None


def compare_policies(first: str, second: str) -> Comparison:
    """Compare two policies, each a ``policy.yaml``, an exported folder, or ``RUN:TRIAL``.

    Raises:
        ConfigurationError: If one cannot be read.
        RunError: If there is no such run, or no such trial.
    """
    sides = [_read(first), _read(second)]
    spaces = [side.space for side in sides if isinstance(side, _OfRun)]
    names = _names(sides)
    before, after = (_side(side, spaces, names) for side in sides)
    layers, same = [], 0
    for layer in dict.fromkeys([*before.policy, *after.policy]):
        one, other = before.policy.get(layer), after.policy.get(layer)
        if one == other:
            same += 1
        else:
            layers.append(LayerDifference(layer, one, other))
    return Comparison(
        before=before, after=after, layers=tuple(layers), same=same, metric_change=_metric_change(before, after)
    )


@dataclass(frozen=True, slots=True)
class _OfRun:
    side: Side
    space: Space


@dataclass(frozen=True, slots=True)
class _OfFile:
    name: str
    file: PolicyFile
    measured: Mapping[str, Any]


def _read(named: str) -> _OfRun | _OfFile:
    path = Path(named)
    if path.is_dir() and (path / POLICY).is_file():
        return _OfFile(named, read_policy_file(path / POLICY), _measured(path / MEASUREMENT))
    if path.is_file():
        return _OfFile(named, read_policy_file(path), {})
    run, colon, trial = named.rpartition(":")
    if not colon or not run or not trial:
        hint = f" Did you mean {named}:knee?" if RunFolder(path).exists else ""
        raise ConfigurationError(
            f"A policy must be a policy.yaml, an exported folder or RUN:TRIAL, such as runs/digits:12 or "
            f"runs/digits:knee; got '{named}'.{hint}"
        )
    with open_run(find_run(run)) as opened:
        return _of_run(opened, named, trial)


def _of_run(run: Run, named: str, which: str) -> _OfRun:
    trial = run.trial(0) if which == "0" else trial_named(run, which)
    description = run.description_of(trial)
    rows = trial.measurement.fidelity.layers if trial.measurement is not None else ()
    side = Side(
        name=named,
        policy=trial.candidate.policy,
        metric=next(iter(description.objectives)),
        values=values_of(trial),
        test_values=trial.test_values,
        layer_bytes={row.layer: row.deflated_bytes for row in rows},
        resampled=run.ledger.resamples().get(trial.number),
        tested_on=description.fingerprint.get("data", run.facts.run_id),
        hyperparameters=trial.candidate.hyperparameters,
    )
    return _OfRun(side, space_of(description, run.experiment.space, trial.candidate.recipe))


def _measured(file: Path) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return document


def _names(sides: list[_OfRun | _OfFile]) -> list[str]:
    """Return the layers that the policies know by name: what globs of files can match."""
    names: dict[str, None] = {}
    for side in sides:
        layers = side.side.policy if isinstance(side, _OfRun) else side.file.document.get("layers") or {}
        names.update(dict.fromkeys(str(name) for name in layers if not set(str(name)) & set("*?[")))
    return list(names)


def _side(side: _OfRun | _OfFile, spaces: list[Space], names: list[str]) -> Side:
    """Return a side; a file is read for the model of the other side where that is a run's."""
    if isinstance(side, _OfRun):
        return side.side
    policy = side.file.policy(spaces[0]) if spaces else side.file.policy_of_names(names)
    values = side.measured.get("values", {})
    return Side(
        name=side.name,
        policy=policy,
        metric=side.measured.get("metric", ""),
        values=values.get("validation", {}),
        test_values=values.get("test", {}),
        layer_bytes={row["layer"]: row["deflated_bytes"] for row in side.measured.get("fidelity", ())},
        hyperparameters=side.file.document.get("hyperparameters") or {},
    )


def _metric_change(before: Side, after: Side) -> Interval | None:
    if before.resampled is None or after.resampled is None or before.tested_on != after.tested_on:
        return None
    return difference(after.resampled, before.resampled)


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for JSON.

    ::

        {"before": {"name", "policy", "metric", "values", "test_values", "layer_bytes", "hyperparameters"},
         "after": ...,
         "layers": [{"layer", "before": {"sparsity", "clusters", "quantization"}, "after": ...}, ...], "same": 7,
         "changes": {"size_bytes": -1200.0, ...}, "test_changes": {...},
         "test_metric_change": {"low", "high", "is_noise"}}

    Changes are the second's less the first's, of what both have measured. What is unknown is null.
    """
    before, after, interval = comparison.before, comparison.after, comparison.metric_change
    return {
        "before": _side_document(before),
        "after": _side_document(after),
        "layers": [
            {
                "layer": each.layer,
                "before": each.before and each.before.to_document(),
                "after": each.after and each.after.to_document(),
            }
            for each in comparison.layers
        ],
        "same": comparison.same,
        "changes": _changes(before.values, after.values),
        "test_changes": _changes(before.test_values, after.test_values),
        "test_metric_change": interval
        and {"low": interval.low, "high": interval.high, "is_noise": interval.covers(0.0)},
    }


def _side_document(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "policy": side.policy.to_document()["layers"],
        "metric": side.metric or None,
        "values": dict(side.values),
        "test_values": dict(side.test_values),
        "layer_bytes": dict(side.layer_bytes),
        "hyperparameters": dict(side.hyperparameters),
    }


def _changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - value for name, value in before.items() if name in after}
