"""Write a trial's file with its papers, after measuring what was written."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paretune.experiments.config.policy_file import policy_text
from paretune.experiments.exports.card import CardContent, card_text
from paretune.experiments.files import disk_errors, write_atomically
from paretune.search.front import values_of
from paretune.spaces.errors import ExportMismatch, RunError
from paretune.spaces.evaluator import ModelDescription, Split
from paretune.spaces.objective import Objective
from paretune.spaces.trial import Trial

MODEL = "model.tflite"
POLICY = "policy.yaml"
CARD = "card.md"
MEASUREMENT = "measurement.json"

#: Measures the contents of a file on a split: :meth:`paretune.spaces.evaluator.Evaluator.remeasure`.
Remeasure = Callable[[bytes, Split, Mapping[str, Any]], Mapping[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportContent:
    """What is exported, and what its papers tell.

    Attributes:
        title: Name of the experiment.
        origin: Where the policy comes from, such as ``trial 12 of runs/digits (knee)``.
        model: Contents of the ``.tflite``.
        trial: As the ledger has it: what the file must measure as.
        baseline: The uncompressed model.
        description: The model; tells samples and machine.
        metric: The task's metric.
        versions: Package versions that change numbers.
        reproduce: Commands that lead here again.
    """

    title: str
    origin: str
    model: bytes
    trial: Trial
    baseline: Trial
    description: ModelDescription
    metric: Objective
    versions: Mapping[str, str]
    reproduce: tuple[str, ...] = ()


def export_trial(content: ExportContent, remeasure: Remeasure, to: Path) -> Trial:
    """Write ``model.tflite``, ``policy.yaml``, ``card.md`` and ``measurement.json`` into a folder.

    The file is written under a temporary name first, read back and measured on both splits. Only then do the four
    names change hands, ``measurement.json`` last: what it says about a file (SHA-256) is true of the file beside it, or
    the export did not end. Other files in ``to`` are left alone.

    Returns:
        The trial with its values on the test split.

    Raises:
        ExportMismatch: If the file does not measure as the trial did; nothing is left behind.
        RunError: If the folder cannot be written.
    """
    if to.exists() and not to.is_dir():
        raise RunError(f"The export needs a folder, and {to} is a file. Choose another with --to.")
    with disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part"))
    try:
        write_atomically(workplace / MODEL, content.model)
        written = (workplace / MODEL).read_bytes()
        trial = _verified(content, written, remeasure)
        document = measurement_document(replace(content, trial=trial), written)
        candidate = trial.candidate
        card = CardContent(
            title=content.title,
            origin=content.origin,
            trial=trial,
            baseline=content.baseline,
            metric=content.metric,
            document=document,
            reproduce=content.reproduce,
        )
        papers = {
            POLICY: policy_text(candidate),
            CARD: card_text(card),
            MEASUREMENT: json.dumps(document, indent=2, allow_nan=False) + "\n",
        }
        for name, text in papers.items():
            write_atomically(workplace / name, text.encode())
        _move(workplace, to)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return trial


def measurement_document(content: ExportContent, written: bytes) -> dict[str, Any]:
    """Return what ``measurement.json`` says about the file whose contents are ``written``."""
    trial, measurement = content.trial, content.trial.measurement
    if measurement is None:
        raise ValueError(f"trial {trial.number} has no measurement")
    details = dict(measurement.details)
    return {
        "experiment": content.title,
        "origin": content.origin,
        "metric": content.metric.name,
        "values": {"validation": dict(measurement.values), "test": dict(trial.test_values)},
        "baseline": {
            "validation": dict(values_of(content.baseline)),
            "test": dict(content.baseline.test_values),
        },
        "samples": dict(content.description.samples),
        "file": MODEL,
        "file_bytes": len(written),
        "sha256": hashlib.sha256(written).hexdigest(),
        "latency": details.pop("latency", None),
        "details": details,
        "machine": dict(content.description.machine),
        "fidelity": measurement.fidelity.to_document(),
        "policy_digest": trial.candidate.policy.digest,
        "candidate_digest": trial.candidate.digest,
        "hyperparameters": dict(trial.candidate.hyperparameters),
        "seed": trial.candidate.seed,
        "training_steps": measurement.training_steps,
        "seconds": dict(measurement.seconds),
        "fingerprint": dict(content.description.fingerprint),
        "versions": dict(content.versions),
    }


def _verified(content: ExportContent, written: bytes, remeasure: Remeasure) -> Trial:
    """Return the trial with its test values, if the written file measures as it did."""
    if written != content.model:
        raise ExportMismatch(f"{MODEL} must read back as it was written; it differs. Check the disk.")
    trial = content.trial
    values = trial.candidate.hyperparameters
    _compare(content, values_of(trial), remeasure(written, Split.VALIDATION, values), Split.VALIDATION)
    on_test = remeasure(written, Split.TEST, values)
    if trial.test_values:
        _compare(content, trial.test_values, on_test, Split.TEST)
    return replace(trial, test_values={**trial.test_values, **on_test})


def _compare(
    content: ExportContent, recorded: Mapping[str, float], measured: Mapping[str, float], split: Split
) -> None:
    if content.metric.name not in measured:
        raise ExportMismatch(f"`{content.metric.name}` of the written file could not be measured on the {split} split.")
    for name, value in measured.items():
        if name in recorded and recorded[name] != value:
            raise ExportMismatch(
                f"The written file must measure as {content.origin} did: `{name}` is {value!r} on the "
                f"{split} split, it was {recorded[name]!r}. Nothing was exported; if versions or data have "
                "changed since, search again with --out."
            )


def _move(workplace: Path, to: Path) -> None:
    with disk_errors(to):
        if not to.exists():
            workplace.chmod(0o755)
            workplace.rename(to)
            return
        for name in (MODEL, POLICY, CARD, MEASUREMENT):
            (workplace / name).replace(to / name)
