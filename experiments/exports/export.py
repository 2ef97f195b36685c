"""Write a trial's file with its papers, after measuring what was written."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from paretune.experiments.config.policy_file import policy_text
from paretune.experiments.exports.archive import ARCHIVE
from paretune.experiments.exports.c_array import HEADER, SOURCE
from paretune.experiments.exports.card import CardContent, card_text
from paretune.experiments.exports.companions import EXAMPLE, SMOKE_TEST, companions
from paretune.experiments.files import disk_errors, write_atomically
from paretune.search.front import values_of
from paretune.spaces.errors import ExportMismatch, RunError
from paretune.spaces.results.evaluator import FileExample, ModelDescription, Split
from paretune.spaces.results.file_metadata import FileMetadata
from paretune.spaces.results.objective import Objective
from paretune.spaces.results.trial import Trial

MODEL = "model.tflite"
POLICY = "policy.yaml"
CARD = "card.md"
MEASUREMENT = "measurement.json"

#: In the order in which they change hands; what says how the others measure comes last.
_NAMES = (MODEL, ARCHIVE, EXAMPLE, SMOKE_TEST, HEADER, SOURCE, POLICY, CARD, MEASUREMENT)


class FileTester(Protocol):
    """Runs the contents of a file, where model and data are, as an evaluator does."""

    def remeasure(
        self, model: bytes, split: Split, hyperparameters: Mapping[str, Any] | None = None
    ) -> Mapping[str, float]:
        """Measure it on a split."""

    def example(self, model: bytes, hyperparameters: Mapping[str, Any] | None = None) -> FileExample:
        """Run it on a few samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportContent:
    """What is exported, and what its papers tell.

    Attributes:
        title: Name of the experiment.
        origin: Where the policy comes from, such as ``trial 12 of runs/digits (knee)``.
        model: Contents of the ``.tflite``, as it was measured in the search.
        trial: As the ledger has it: what the file must measure as.
        baseline: The uncompressed model.
        description: The model; tells samples and machine.
        metric: The task's metric.
        versions: Package versions that change numbers.
        metadata: What is written into the file beside the model.
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
    metadata: FileMetadata | None = None
    reproduce: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file as it was written and measured.

    Attributes:
        trial: With the values that the written file has, on both splits.
        contents: The file.
        example: What it answers to a few samples.
        document: What ``measurement.json`` says.
        card: The card.
    """

    trial: Trial
    contents: bytes
    example: FileExample
    document: Mapping[str, Any]
    card: str


def export_trial(content: ExportContent, tester: FileTester, to: Path) -> ExportedFile:
    """Write ``model.tflite`` with everything that ships with it into a folder.

    The file is written under a temporary name first, read back and measured on both splits. Only then do the names
    change hands, ``measurement.json`` last: what it says about a file (SHA-256) is true of the file beside it, or
    the export did not end. Other files in ``to`` are left alone.

    Raises:
        ExportMismatch: If the file does not measure as the trial did; nothing is left behind.
        ConfigurationError: If the metadata does not fit the file.
        RunError: If the folder cannot be written.
    """
    if to.exists() and not to.is_dir():
        raise RunError(f"The export needs a folder, and {to} is a file. Choose another with --to.")
    contents = _with_metadata(content)
    with disk_errors(to):
        to.parent.mkdir(parents=True, exist_ok=True)
        workplace = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part"))
    try:
        write_atomically(workplace / MODEL, contents)
        written = (workplace / MODEL).read_bytes()
        if written != contents:
            raise ExportMismatch(f"{MODEL} must read back as it was written; it differs. Check the disk.")
        trial = _verified(content, written, tester)
        example = tester.example(written, trial.candidate.hyperparameters)
        files = companions(content.title, MODEL, written, example)
        files[POLICY] = policy_text(trial.candidate).encode()
        measured = replace(content, trial=trial)
        document = measurement_document(measured, written, files, example)
        card = _card(measured, document, example)
        files[CARD] = card.encode()
        files[MEASUREMENT] = (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()
        for name, text in files.items():
            write_atomically(workplace / name, text)
        _move(workplace, to)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    return ExportedFile(trial=trial, contents=written, example=example, document=document, card=card)


def measurement_document(
    content: ExportContent, written: bytes, files: Mapping[str, bytes], example: FileExample
) -> dict[str, Any]:
    """Return what ``measurement.json`` says about the file of these contents, and about those beside it."""
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
        "metadata": _metadata_note(content, written),
        "operators": list(example.operators),
        "files": {name: hashlib.sha256(text).hexdigest() for name, text in files.items()},
        "latency": details.pop("latency", None),
        "details": details,
        "machine": dict(content.description.machine),
        "fidelity": measurement.fidelity.to_document(),
        "policy_digest": trial.candidate.policy.digest,
        "candidate_digest": trial.candidate.digest,
        "hyperparameters": dict(trial.candidate.hyperparameters),
        "recipe": trial.candidate.recipe.to_document(),
        "seed": trial.candidate.seed,
        "training_steps": measurement.training_steps,
        "seconds": dict(measurement.seconds),
        "fingerprint": dict(content.description.fingerprint),
        "versions": dict(content.versions),
    }


def _metadata_note(content: ExportContent, written: bytes) -> dict[str, Any] | None:
    """Return what the metadata adds; ``None`` where the file is the one that the search measured."""
    if content.metadata is None:
        return None
    return {
        "note": "Metadata was written into the file, which was then measured anew: `values` are those of the file as "
        "it is here. Latency was measured in the search, without metadata, which no kernel reads.",
        "sha256_without": hashlib.sha256(content.model).hexdigest(),
        "file_bytes_without": len(content.model),
        "file_bytes_added": len(written) - len(content.model),
    }


def _card(content: ExportContent, document: Mapping[str, Any], example: FileExample) -> str:
    return card_text(
        CardContent(
            title=content.title,
            origin=content.origin,
            trial=content.trial,
            baseline=content.baseline,
            metric=content.metric,
            document=document,
            example=example,
            metadata=content.metadata,
            reproduce=content.reproduce,
        )
    )


def _with_metadata(content: ExportContent) -> bytes:
    if content.metadata is None:
        return content.model
    from paretune.objectives.flatbuffer.metadata import with_metadata

    return with_metadata(content.model, content.title, content.metadata)


def _verified(content: ExportContent, written: bytes, tester: FileTester) -> Trial:
    """Return the trial with the values of the written file, if that measures as the trial did.

    Metadata may change sizes, and nothing else; without it the file must have its size, too.
    """
    trial = content.trial
    values, recorded = trial.candidate.hyperparameters, values_of(trial)
    if written != content.model:
        _compare(content, recorded, tester.remeasure(content.model, Split.VALIDATION, values), Split.VALIDATION)
        recorded = _without_sizes(recorded)
    on_validation = tester.remeasure(written, Split.VALIDATION, values)
    _compare(content, recorded, on_validation, Split.VALIDATION)
    on_test = tester.remeasure(written, Split.TEST, values)
    if trial.test_values:
        known = trial.test_values if written == content.model else _without_sizes(trial.test_values)
        _compare(content, known, on_test, Split.TEST)
    if trial.measurement is None:
        raise ValueError(f"trial {trial.number} has no measurement")
    measurement = replace(trial.measurement, values={**trial.measurement.values, **on_validation})
    return replace(trial, measurement=measurement, test_values={**trial.test_values, **on_test})


def _without_sizes(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if not name.endswith("_bytes")}


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
        for name in _NAMES:
            if (workplace / name).exists():
                (workplace / name).replace(to / name)
            else:
                (to / name).unlink(missing_ok=True)  # of an earlier export, and not true of this one
