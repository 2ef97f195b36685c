"""The files of a run's profile, written once it is complete."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.experiments.files import write_atomically
from paretune.experiments.profiles.document import profile_document
from paretune.experiments.profiles.picture import profile_picture
from paretune.experiments.runs.run import Run
from paretune.experiments.runs.run_profile import profile_of


def profile_files(folder: Path) -> tuple[Path, Path]:
    """Return where the profile of the run in a folder lies: its picture, and its data."""
    return folder / "profile.png", folder / "profile.json"


def keep_profile(run: Run, *, is_over: bool = False) -> Mapping[str, Any] | None:
    """Write the profile of a run into its folder, unless it is there already.

    Once complete, a profile does not change; whoever writes it at the same time writes the same.

    Args:
        run: Open for reading or for writing.
        is_over: As for :func:`paretune.experiments.runs.run_profile.profile_of`.

    Returns:
        Its document; ``None`` if there is no profile, or not all of it yet.

    Raises:
        RunError: If it cannot be written.
    """
    picture, data = profile_files(run.folder.path)
    known = kept_profile(run)
    if known is not None:
        return known
    found = profile_of(run, is_over=is_over)
    if found is None:
        return None
    metric = next(iter(run.facts.description.objectives.values()))
    document = profile_document(found, run_id=run.facts.run_id, metric=metric)
    write_atomically(picture, profile_picture(document))
    write_atomically(data, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return document


def kept_profile(run: Run) -> Mapping[str, Any] | None:
    """Return the document that :func:`keep_profile` has left in the folder of a run, if it has."""
    picture, data = profile_files(run.folder.path)
    try:
        document: Mapping[str, Any] = json.loads(data.read_text())
    except (OSError, ValueError):
        return None
    # a folder may hold the files of a run that was there before
    return document if picture.is_file() and document.get("run") == run.facts.run_id else None
