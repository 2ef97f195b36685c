"""Trainings of a finished trial's candidate again, with its own seed or another; each is kept in a file of its own."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from paretune.experiments.files import disk_errors, write_atomically
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import MODEL_FILE
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.results.measurement import Measurement
from paretune.spaces.results.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a trial's candidate.

    Attributes:
        trial: Number of the trial.
        seed: What it was trained with.
        candidate: Digest of what was trained, the seed included.
        values: On the validation split; empty where it failed.
        sha256: Of the file.
        faults: Where the file does not hold what was asked.
        failure: Why there is no file; empty where there is.
        training_steps: Optimizer steps spent.
        seconds: Wall seconds of the whole evaluation.
        fingerprint: Model, data and versions that it was trained with.
        time: Unix time in seconds when it ended.
    """

    trial: int
    seed: int
    candidate: str
    values: Mapping[str, float] = field(default_factory=dict)
    sha256: str = ""
    faults: tuple[str, ...] = ()
    failure: str = ""
    training_steps: int = 0
    seconds: float = 0.0
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    time: float = 0.0


def training_of(
    trial: Trial, candidate: Candidate, outcome: Measurement | Exception, fingerprint: Mapping[str, str]
) -> Training:
    """Return what is kept of a training that has just ended."""
    known: dict[str, Any] = {
        "trial": trial.number,
        "seed": candidate.seed,
        "candidate": candidate.digest,
        "fingerprint": dict(fingerprint),
        "time": time.time(),
    }
    if isinstance(outcome, Exception):
        return Training(**known, failure=str(outcome))
    return Training(
        **known,
        values=dict(outcome.values),
        sha256=digest_of_file(outcome.artifacts[MODEL_FILE]),
        faults=outcome.fidelity.faults,
        training_steps=outcome.training_steps,
        seconds=sum(outcome.seconds.values()),
    )


def digest_of_file(contents: bytes) -> str:
    """Return the SHA-256 of a file's contents, as 64 hexadecimal digits."""
    return hashlib.sha256(contents).hexdigest()


def keep_training(folder: RunFolder, training: Training) -> None:
    """Write a training into the folder of a run, beside the earlier ones.

    Raises:
        RunError: If it cannot be written.
    """
    name = f"trial-{training.trial:05d}-seed-{training.seed}-{int(1000 * training.time)}.json"
    with disk_errors(folder.reproductions):
        folder.reproductions.mkdir(exist_ok=True)
    write_atomically(folder.reproductions / name, (json.dumps(asdict(training), indent=1) + "\n").encode())


def kept_trainings(folder: RunFolder, fingerprint: Mapping[str, str]) -> dict[str, Training]:
    """Return the trainings that were made with the same model, data and versions, by digest of the candidate.

    Of several the last; those that failed are left out.
    """
    found = _read_all(folder.reproductions.glob("trial-*.json"))
    able = [each for each in found if each.fingerprint == dict(fingerprint) and not each.failure]
    return {each.candidate: each for each in sorted(able, key=lambda each: each.time)}


def _read_all(files: Iterable[Path]) -> list[Training]:
    found = []
    for file in files:
        try:
            document = json.loads(file.read_text())
            found.append(Training(**{**document, "faults": tuple(document["faults"])}))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of ours, or of another version: it is trained again
    return found
