"""What MLflow is told of a run: plain values, so that it can be compared with what MLflow already holds."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune.experiments.config.policy_file import policy_text
from paretune.experiments.terminal.front_document import front_document
from paretune.search.front import Front
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.policy import digest_of
from paretune.spaces.results.trial import Trial, TrialState

#: The policy of a trial, in the format of MLflow's `log_table`.
POLICY_TABLE = "policy_table.json"

#: Longest parameter value and tag that every supported server takes.
_LONGEST_PARAMETER = 499
LONGEST_TAG = 4999


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """A run as MLflow should show it.

    Attributes:
        run_id: Identifies the run in MLflow's tags, whatever its folder is called.
        name: Shown as the name of the parent run.
        metric: Name of the task's metric.
        trials: All trials of the ledger.
        front: Which of them are on the front.
        hypervolumes: Pairs of trial number and hypervolume.
        parameters: Of the parent run; what never changes over resumptions.
        tags: Of the parent run.
        proxies: How many policies were measured without training.
        proxy_seconds: What that took, summed over the workers.
        profile: As :func:`paretune.experiments.profiles.keeping.keep_profile` returns it.
    """

    run_id: str
    name: str
    metric: str
    trials: tuple[Trial, ...]
    front: Front
    hypervolumes: tuple[tuple[int, float], ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    proxies: int = 0
    proxy_seconds: float = 0.0
    profile: Mapping[str, Any] | None = None

    @property
    def metrics(self) -> Mapping[str, float]:
        """What the parent run measures beside its hypervolume; nothing where no policy was measured untrained."""
        if not self.proxies:
            return {}
        measured = {"proxies": float(self.proxies), "proxy_seconds": self.proxy_seconds}
        if self.profile is not None:
            measured["additivity"] = self.profile["additivity"]["median_ratio"]
        return measured

    @property
    def counts(self) -> Mapping[str, int]:
        """How many trials have come to which end; short ones that went on count once they are trained in full."""
        states = Counter(trial.state for trial in self.trials if trial.rung is not Rung.SHORT)
        return {
            "complete_trials": states[TrialState.COMPLETE],
            "failed_trials": sum(trial.state is TrialState.FAILED for trial in self.trials),
            "refused_trials": states[TrialState.REFUSED],
            "stopped_trials": sum(trial.was_stopped for trial in self.trials),
            "front_size": len(self.front.points),
        }

    @property
    def started_ms(self) -> int:
        """Unix milliseconds of the first trial's start; 0 before there is one."""
        return min((milliseconds(trial.started) for trial in self.trials if trial.started), default=0)

    @property
    def ended_ms(self) -> int:
        """Unix milliseconds of the last trial's end; 0 before there is one."""
        return max((milliseconds(trial.ended) for trial in self.trials), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContent:
    """A finished trial as MLflow should show it.

    Attributes:
        status: ``FINISHED``, ``FAILED``, or ``KILLED`` for a policy that was refused untrained.
        parameters: Every knob of every layer, under names that MLflow takes.
        metrics: Values on the validation split, ``test_`` values, steps and seconds.
        tags: What does not depend on the other trials.
    """

    number: int
    status: str
    started_ms: int
    ended_ms: int
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of everything above: what MLflow holds under the same digest need not be written again."""
        return digest_of([self.status, self.started_ms, self.ended_ms, self.parameters, self.metrics, self.tags])


_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.FAILED: "FAILED", TrialState.REFUSED: "KILLED"}


def finished_trials(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that get a child run: those that have ended for good, and those that were refused.

    A refused one has no time of its own; it gets the start of the trial before it.
    """
    finished, latest = [], 0.0
    for trial in trials:
        latest = max(latest, trial.started)
        if trial.state is TrialState.REFUSED:
            finished.append(replace(trial, started=latest, ended=latest))
        elif trial.state in _STATUS:
            finished.append(trial)
    return finished


def trial_content(trial: Trial) -> TrialContent:
    """Return what MLflow is told of one finished trial."""
    measurement = trial.measurement
    metrics: dict[str, float] = {}
    candidate = trial.candidate
    state = "stopped" if trial.was_stopped else str(trial.state)
    tags = {"trial": str(trial.number), "rung": str(trial.rung), "state": state, "sampler": trial.origin}
    if trial.reason:
        tags["reason"] = trial.reason
    if measurement is not None:
        metrics.update(measurement.values)
        metrics["training_steps"] = measurement.training_steps
        metrics.update({f"seconds_{part}": spent for part, spent in measurement.seconds.items()})
        metrics.update({f"test_{name}": value for name, value in trial.test_values.items()})
        tags["fidelity"] = "clean" if measurement.fidelity.is_clean else "; ".join(measurement.fidelity.faults)
    if trial.started and trial.state is not TrialState.REFUSED:
        metrics["seconds"] = trial.ended - trial.started
    knobs = {
        f"{layer}.{knob}": str(value)
        for layer, decided in candidate.policy.items()
        for knob, value in decided.to_document().items()
    }
    hyperparameters = {f"hyperparameter.{name}": str(value) for name, value in candidate.hyperparameters.items()}
    return TrialContent(
        number=trial.number,
        status=_STATUS[trial.state],
        started_ms=milliseconds(trial.started or trial.ended),
        ended_ms=milliseconds(trial.ended),
        parameters=with_safe_names(
            {**hyperparameters, **knobs, "seed": str(candidate.seed)}, longest=_LONGEST_PARAMETER
        ),
        metrics=with_safe_names(metrics),
        tags={name: value[:LONGEST_TAG] for name, value in tags.items()},
    )


def trial_files(trial: Trial) -> dict[str, str]:
    """Return the artifacts of a trial as text, by name: making them takes longer than all the rest."""
    files = {"policy.yaml": policy_text(trial.candidate), POLICY_TABLE: json.dumps(policy_table(trial))}
    if trial.measurement is not None:
        files["fidelity.json"] = json.dumps(trial.measurement.fidelity.to_document(), indent=1)
    return files


def policy_table(trial: Trial) -> dict[str, Any]:
    """Return the policy layer by layer, asked and found, as MLflow shows tables."""
    found = {row.layer: row for row in (trial.measurement.fidelity.layers if trial.measurement else ())}
    rows = []
    for layer, decided in trial.candidate.policy.items():
        row = found.get(layer)
        asked = [layer, decided.channels, decided.rank, decided.sparsity, decided.clusters, str(decided.quantization)]
        rows.append(
            [*asked, None, None, None, None]
            if row is None
            else [
                *asked,
                row.zeros / row.weights if row.weights else None,
                row.distinct,
                row.stored_as,
                row.deflated_bytes,
            ]
        )
    columns = [
        "layer",
        "channels",
        "rank",
        "sparsity",
        "clusters",
        "format",
        "zeros",
        "distinct",
        "stored_as",
        "deflated_bytes",
    ]
    return {"columns": columns, "data": rows}


def front_tags(front: Front, on_front: Container[int], number: int) -> dict[str, str]:
    """Return the tags of a trial that change as the front moves; ``on_front`` are the numbers of its trials."""
    knee = front.knee
    return {
        "pareto": str(number in on_front).lower(),
        "knee": str(knee is not None and knee.number == number).lower(),
    }


def front_csv(front: Front) -> str:
    """Return the front as CSV, one row per point, the baseline first."""
    document = front_document(front)
    rows = [{"trial": "baseline", "knee": False, **document["baseline"]}, *document["front"]]
    values = list(dict.fromkeys(name for row in rows for name in row["values"]))
    tests = list(dict.fromkeys(name for row in rows for name in row.get("test_values", {})))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "knee", *values, *(f"test_{name}" for name in tests)])
    for row in rows:
        measured: dict[str, Any] = row.get("test_values", {})
        cells = [row["values"].get(name, "") for name in values] + [measured.get(name, "") for name in tests]
        writer.writerow([row["trial"], str(row["knee"]).lower(), *cells])
    return text.getvalue()


def with_safe_names(entries: Mapping[str, Any], longest: int | None = None) -> dict[str, Any]:
    """Return entries under names that MLflow takes: letters, digits, ``_``, ``-`` and ``.``, at most 200 of them.

    Other characters become ``_``; names that fall together are numbered (``a_b``, ``a_b-2``). Text values are cut to
    ``longest`` characters.
    """
    safe: dict[str, Any] = {}
    for name, value in entries.items():
        # MLflow reads a name as a path, and refuses one that leaves its folder
        cleaned = re.sub(r"[^A-Za-z0-9_.\-]", "_", name).strip(".")[:200] or "_"
        unique, count = cleaned, 1
        while unique in safe:
            count += 1
            unique = f"{cleaned}-{count}"
        safe[unique] = value[:longest] if isinstance(value, str) else value
    return safe


def milliseconds(seconds: float) -> int:
    """Return Unix milliseconds."""
    return round(seconds * 1000)
