"""The page of a run: one HTML file that needs nothing beside it, and asks no network for anything."""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from paretune.experiments.files import disk_errors, write_atomically
from paretune.experiments.report.document import report_document
from paretune.experiments.runs.run import Run
from paretune.experiments.terminal.wording import bytes_text, short_name, value_text

#: Our own scripts, in the order in which they need each other.
_SCRIPTS = ("formatting.js", "asking.js", "charts.js", "layers.js", "trial.js", "page.js")

#: States of trials that were not trained in full, and what the page calls them.
_NOT_TRAINED_IN_FULL = ("failed", "refused", "stopped", "interrupted")


def report_page(document: Mapping[str, Any]) -> str:
    """Return the page that shows a document of :func:`report_document`.

    What users have named themselves (layers, experiments, reasons) gets into the page in two ways only: escaped by
    the template, and inside the packed document.
    """
    # imported here: only this command needs them
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    templates = Environment(loader=FunctionLoader(_source), autoescape=True, undefined=StrictUndefined)
    templates.trim_blocks = templates.lstrip_blocks = True
    templates.filters.update(value=_value, short=short_name, bytes=bytes_text)
    trials = document["trials"]
    return templates.get_template("report.html.jinja").render(
        report=document,
        front=sorted((row for row in trials if row.get("front")), key=lambda row: _size(document, row)),
        baseline=None if document["baseline"] is None else trials[document["baseline"]],
        unfinished=[row for state in _NOT_TRAINED_IN_FULL for row in trials if row["state"] == state],
        style=_source("report.css"),
        scripts="\n".join(_source(name) for name in _SCRIPTS),
        data=_packed(json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()),
        plotly=_packed_plotly(),
    )


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the page of a run, and return where it is.

    Args:
        run: Open for reading.
        path: Where; ``report.html`` in the run's folder if left out.

    Raises:
        RunError: If it cannot be written.
    """
    path = path or run.folder.report
    page = report_page(report_document(run)).encode()
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


@cache
def _packed_plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs().encode())


def _packed(content: bytes) -> str:
    """Return what the page's ``unpack`` reads back: letters that mean nothing in HTML, and a third of the size."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _source(name: str) -> str:
    return files("paretune.experiments.report").joinpath(name).read_text(encoding="utf-8")


def _value(value: float | None, name: str) -> str:
    return "-" if value is None else value_text(name, value)


def _size(document: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[float, int]:
    """Return the key of the front's order: by the first objective that counts bytes, or else by the first one."""
    place = next((index for index, objective in enumerate(document["objectives"]) if objective["log"]), 0)
    return row["costs"][place], row["trial"]
