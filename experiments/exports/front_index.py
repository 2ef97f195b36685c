"""The index of an exported front: one document for programs, one for people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.experiments.exports.export import ExportedFile
from paretune.experiments.files import write_atomically
from paretune.experiments.terminal.front_document import front_document
from paretune.experiments.terminal.wording import policy_summary, short_name, value_text
from paretune.search.front import Front, values_of

INDEX = "front.json"
README = "README.md"


def write_index(to: Path, title: str, front: Front, files: Sequence[ExportedFile]) -> None:
    """Write ``front.json`` and ``README.md`` beside the folders ``trial-N`` of the points.

    Args:
        to: Folder that holds them.
        title: Name of the experiment.
        front: Its points.
        files: Their files, in the same order.

    Raises:
        RunError: If they cannot be written.
    """
    document = {"experiment": title, "baseline": front_document(front)["baseline"], "front": _rows(front, files)}
    write_atomically(to / INDEX, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    write_atomically(to / README, _text(title, front, files).encode())


def _rows(front: Front, files: Sequence[ExportedFile]) -> list[Mapping[str, Any]]:
    return [
        {
            "trial": point.trial.number,
            "folder": f"trial-{point.trial.number}",
            "knee": point.knee,
            "values": file.document["values"]["validation"],
            "test_values": file.document["values"]["test"],
            "sha256": file.document["sha256"],
            "file_bytes": file.document["file_bytes"],
        }
        for point, file in zip(front.points, files, strict=True)
    ]


def _text(title: str, front: Front, files: Sequence[ExportedFile]) -> str:
    names = [objective.name for objective in front.objectives]
    rows = [["", *map(short_name, names), f"{names[0]} (test)", "formats"], ["---"] * (len(names) + 3)]
    for point, file in zip(front.points, files, strict=True):
        number = point.trial.number
        values, test = values_of(file.trial), file.trial.test_values
        rows.append(
            [
                f"[trial {number}](trial-{number}/card.md)" + (" (knee)" if point.knee else ""),
                *(value_text(name, values[name]) if name in values else "-" for name in names),
                value_text(names[0], test[names[0]]) if names[0] in test else "-",
                policy_summary(point.trial).formats,
            ]
        )
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"# {title}: the front\n\n"
        "No file here is beaten by another one on all figures. Each folder holds a file with its card, measured again "
        "before it was written; `front.json` says the same for programs.\n\n"
        f"{table}\n"
    )
