"""The page of a run: what it is told, and that it holds nothing but that."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from paretune.experiments.asking import ask_run
from paretune.experiments.cli import run as run_cli
from paretune.experiments.report.document import report_document
from paretune.experiments.report.page import report_page
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import open_run
from paretune.search.front import values_of
from paretune.spaces.results.trial import TrialState
from tests.experiments.report.report_runs import HOSTILE, KINDS, document_of, hostile_run, of_three_objectives
from tests.fakes import LATENCY

_MOST_BYTES = 3_000_000
#: Bounds as `paretune front` takes them; some met by many trials, some by none, some that equal a trial's own value.
QUESTIONS: tuple[dict[str, float], ...] = (
    {},
    {"max_bytes": 2e4},
    {"max_bytes": 9e3, "max_drop": 0.2},
    {"max_drop": 0.1},
    {"max_drop": 0.0},
    {"max_latency": 0.8},
    {"max_bytes": 1.5e4, "max_latency": 1.0},
    {"max_bytes": 3e4, "max_drop": 0.3, "max_latency": 1.2},
    {"max_bytes": 1e3},
    {"max_bytes": 1e3, "max_drop": 0.001, "max_latency": 0.1},
)
OPTIONS = {"--max-size": "max_bytes", "--max-drop": "max_drop", "--max-latency": "max_latency"}


class Tags(HTMLParser):
    """Counts the tags of a page, and keeps the text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.text = ""
        self.attributes: set[str] = set()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run of three objectives with a constraint; tests only read it."""
    return of_three_objectives(tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return document_of(hostile_run(tmp_path_factory.mktemp("hostile")))


def best_of(document: dict[str, Any], bounds: dict[str, float]) -> int | None:
    """Answer from the document alone: the first by costs in the order asked, among equals by rank."""
    before = document["trials"][document["baseline"]]["values"]

    def keeps(row: dict[str, Any], objective: str, bound: str, value: float) -> bool:
        minimised = document["minimised"][objective]
        limit = value if bound == "max" else before[objective] + (value if minimised else -value)
        excess = row["values"][objective] - limit
        return (excess if bound == "max" or minimised else -excess) <= 1e-9 * abs(limit)

    asked = [
        (question["objective"], question["bound"], bounds[OPTIONS[question["option"]]])
        for question in document["questions"]
        if OPTIONS[question["option"]] in bounds
    ]
    own = [(each["objective"], each["bound"], each["value"]) for each in document["constraints"]]
    within = [
        row for row in document["trials"] if "rank" in row and all(keeps(row, *bound) for bound in (*asked, *own))
    ]
    names = [objective["name"] for objective in document["objectives"]]
    by = next((index for index, name in enumerate(names) if name not in {bound[0] for bound in asked}), 0)
    within.sort(key=lambda row: (row["costs"][by], row["costs"], row["rank"]))
    return within[0]["trial"] if within else None


@pytest.mark.parametrize("bounds", QUESTIONS, ids=str)
def test_the_document_holds_what_answers_as_paretune_front_does(bounds: dict[str, float], folder: RunFolder) -> None:
    with open_run(folder) as run:
        answer = ask_run(run, **bounds)
    assert best_of(document_of(folder), bounds) == (None if answer.best is None else answer.best.number)


def test_a_bound_that_equals_a_trial_admits_it(folder: RunFolder) -> None:
    document = document_of(folder)
    for trial in (row for row in document["trials"] if row.get("front")):
        bounds = {"max_bytes": trial["values"]["size_bytes"], "max_latency": trial["values"]["latency_ratio"]}
        with open_run(folder) as run:
            best = ask_run(run, **bounds).best
        assert best is not None
        assert best_of(document, bounds) == best.number


def test_of_two_trials_that_tie_the_better_one_answers(tmp_path: Path) -> None:
    folder = of_three_objectives(tmp_path)
    with open_run(folder) as run:
        first = ask_run(run, max_bytes=2e4).best
    assert first is not None
    assert first.measurement is not None
    # as fast within the tolerance, and a hair faster
    faster = {**values_of(first), LATENCY.name: values_of(first)[LATENCY.name] - 1e-6}
    ledger = SqlLedger.open(folder.ledger)
    later = ledger.open_trial(candidate=first.candidate, rung=first.rung, origin="tpe", parameters=first.parameters)
    measurement = replace(first.measurement, values=faster)
    ledger.close_trial(replace(later, state=TrialState.COMPLETE, measurement=measurement, ended=later.started + 1))
    ledger.close()
    with open_run(folder) as run:
        best = ask_run(run, max_bytes=2e4).best
    assert best is not None
    assert best.number == later.number == best_of(document_of(folder), {"max_bytes": 2e4})


def test_a_trial_row_tells_what_was_asked_and_what_the_file_holds(folder: RunFolder) -> None:
    document = document_of(folder)
    with open_run(folder) as run:
        trial = run.front().trials[0]
    row = document["trials"][trial.number]
    layers = document["models"][row["model"]]["layers"]
    assert [layer["name"] for layer in layers] == list(trial.candidate.policy)
    assert trial.measurement is not None
    for asked, found, told in zip(row["policy"], row["found"], trial.measurement.fidelity.layers, strict=True):
        assert asked == [
            pytest.approx(told.requested.sparsity, abs=1e-6),
            told.requested.clusters,
            str(told.requested.quantization),
            pytest.approx(told.requested.channels, abs=1e-6),
            told.requested.rank,
        ]
        assert found[:6] == [
            told.zeros,
            told.weights,
            told.distinct,
            told.distinct_scope,
            told.stored_as,
            told.deflated_bytes,
        ]
    assert row["export"] == f"paretune export {folder} --pick {trial.number}"
    assert row["values"] == dict(values_of(trial))


def test_the_bytes_before_are_those_of_the_uncompressed_file(folder: RunFolder) -> None:
    document = document_of(folder)
    [model] = document["models"]
    with open_run(folder) as run:
        baseline = run.trial(0)
    assert baseline.measurement is not None
    assert model["bytes"] == [layer.deflated_bytes for layer in baseline.measurement.fidelity.layers]
    assert model["file_bytes"] == values_of(baseline)["size_bytes"]


def test_what_decisions_cost_is_the_profiles(hostile: dict[str, Any]) -> None:
    units = hostile["profile"]["units"]
    rows = [row for row in hostile["trials"] if "options" in row]
    assert len(rows) == len(hostile["trials"])
    assert all(unit["drops"][0] == 0.0 for unit in units)
    for row in rows:
        layers = [layer["name"] for layer in hostile["models"][row["model"]]["layers"]]
        for unit, option in zip(units, row["options"], strict=True):
            left = [0.0, None, "float32", 1.0, None]
            untouched = all(row["policy"][layers.index(name)] == left for name in unit["layers"])
            assert untouched is (option == 0)


def test_a_trial_that_failed_is_told_with_its_reason(hostile: dict[str, Any]) -> None:
    [failed] = [row for row in hostile["trials"] if row["state"] == "failed"]
    assert HOSTILE in failed["reason"]
    assert failed["reason"] in Tags(report_page(hostile)).text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_has_a_page(kind: str, tmp_path: Path) -> None:
    document = document_of(KINDS[kind](tmp_path))
    text = " ".join(Tags(report_page(document)).text.split())
    words = {
        "nothing yet": "The baseline has not been measured yet.",
        "a baseline alone": "The front is empty: no trial meets the constraints yet, and none but the baseline was",
        "an empty front": "The front is empty: no trial meets the constraints.",
        "still searching": "Still searching when this page was made: 1 trial under way.",
    }
    assert words.get(kind, "Knee of the front") in text
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_what_users_have_named_cannot_become_markup(hostile: dict[str, Any]) -> None:
    plain = json.loads(json.dumps(hostile).replace(json.dumps(HOSTILE)[1:-1], "plain"))
    dangerous, harmless = Tags(report_page(hostile)), Tags(report_page(plain))
    assert dangerous.counts == harmless.counts
    assert dangerous.attributes == harmless.attributes
    assert "onerror" not in dangerous.attributes
    assert HOSTILE in dangerous.text


def test_a_page_names_nothing_to_load(hostile: dict[str, Any]) -> None:
    page = report_page(hostile)
    tags = Tags(page)
    assert all(address.startswith("#") for address in tags.addresses)
    assert not {"link", "img", "iframe", "object"} & tags.counts.keys()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_a_thousand_trials_of_fifty_layers_stay_under_three_megabytes(folder: RunFolder) -> None:
    document = document_of(folder)
    model = document["models"][0]
    layers = [{**model["layers"][0], "name": f"block{number}_conv"} for number in range(50)]
    document["models"] = [{**model, "layers": layers, "bytes": [10_007 * number for number in range(50)]}]
    measured = [row for row in document["trials"] if row["state"] == "complete"]
    document["trials"] = [
        {
            **measured[number % len(measured)],
            "trial": number,
            "policy": [[round((number * 7 + layer * 13) % 97 / 97, 6), 4 + number % 9, "int8"] for layer in range(50)],
            "found": [
                [number * layer % 9973, 9973, (number + layer) % 200, "channel", "int8", number * layer % 7919, layer]
                for layer in range(50)
            ],
        }
        for number in range(1000)
    ]
    assert len(report_page(document).encode()) < _MOST_BYTES


def test_the_same_run_gives_the_same_page(folder: RunFolder) -> None:
    assert report_page(document_of(folder)) == report_page(document_of(folder))


def test_a_run_without_a_test_split_measured_and_without_latency_details_has_a_page(folder: RunFolder) -> None:
    with open_run(folder) as run:
        description = replace(run.facts.description, machine={}, notes=("Something to know.",))
        document = report_document(replace(run, facts=replace(run.facts, description=description)))
    assert "Something to know." in Tags(report_page(document)).text


def test_the_command_writes_the_page_into_the_runs_folder_and_prints_its_name(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.path.parents[1])
    assert run_cli(["report", "fake"]) == 0
    assert capsys.readouterr().out == "runs/fake/report.html\n"
    assert folder.report.read_text().startswith("<!DOCTYPE html>")


def test_the_command_writes_where_it_is_told(folder: RunFolder, tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    assert run_cli(["report", str(folder), "-o", str(target)]) == 0
    assert target.read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_one_line_and_exit_1(
    folder: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run_cli(["report", str(folder), "-o", str(tmp_path / "file" / "page.html")]) == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'file' / 'page.html'} cannot be written: ")


def test_the_page_is_made_in_a_process_of_its_own_without_a_warning(folder: RunFolder, tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", "-m", "paretune", "report", str(folder), "-o", str(tmp_path / "page.html")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
