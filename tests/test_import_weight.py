"""Commands that only read load none of the heavy libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.experiments.config.experiment import parse_experiment
from paretune.experiments.explaining.explanation import explain_trial, trial_named
from paretune.experiments.runs.facts import RunFacts
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import facts_to_remember, open_run
from tests.experiments.evaluators import build_stored
from tests.experiments.funnel_runs import bound_worth_asking, make_run
from tests.experiments.sample_trials import OBJECTIVES, fill_ledger, sample_trials
from tests.fakes import AnalyticEvaluator

HEAVY = {"tensorflow", "tf_keras", "keras", "keras_tuner", "mlflow", "optuna", "matplotlib"}
HEAVY_FOR_HELP = HEAVY | {"rich", "pydantic", "sqlalchemy", "numpy", "ruamel.yaml"}


def loaded_by(statement: str, cwd: Path) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    script = f"import sys, json\n{statement}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*words: str) -> str:
    return f"from paretune.experiments.cli import run; assert run({list(words)!r}) == 0"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with a run in ``runs/fake``."""
    folder = RunFolder(tmp_path / "runs" / "fake")
    folder.make()
    ledger = SqlLedger.create(folder.ledger)
    experiment = parse_experiment("model: model.npz\ndata: data.npz\n", tmp_path / "fake.yaml")
    facts = RunFacts(
        run_id="0" * 32,
        description=AnalyticEvaluator().describe(),
        objectives=OBJECTIVES,
        constraints=(),
        fingerprint={},
        threads=1,
    )
    ledger.remember(facts_to_remember(experiment, facts))
    fill_ledger(ledger, sample_trials(3))
    ledger.close()
    return tmp_path


def test_importing_paretune_is_light(tmp_path: Path) -> None:
    assert not loaded_by("import paretune", tmp_path) & HEAVY_FOR_HELP


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["front", "--help"], ["plan", "--help"], ["search", "-h"]]
)
def test_help_is_light(words: list[str], tmp_path: Path) -> None:
    assert not loaded_by(command(*words), tmp_path) & HEAVY_FOR_HELP


@pytest.mark.parametrize("format_", ["table", "json"])
def test_asking_a_run_that_has_a_profile_is_light(format_: str, tmp_path: Path) -> None:
    most = bound_worth_asking(make_run(tmp_path, trials=6))
    words = ["front", "fake", "--max-size", f"{most:.0f}", "--max-drop", "0.9", "--format", format_]
    assert not loaded_by(command(*words), tmp_path) & HEAVY
    assert list((tmp_path / "runs" / "fake" / "asked").iterdir())  # it has gone all the way


@pytest.mark.parametrize("format_", ["table", "json"])
def test_reading_a_front_is_light(format_: str, place: Path) -> None:
    assert not loaded_by(command("front", "fake", "--format", format_), place) & HEAVY


def test_making_a_page_is_light(tmp_path: Path) -> None:
    make_run(tmp_path, trials=6)
    assert not loaded_by(command("report", "fake"), tmp_path) & HEAVY
    assert (tmp_path / "runs" / "fake" / "report.html").is_file()


@pytest.mark.parametrize("format_", ["table", "json"])
def test_comparing_two_policies_is_light(format_: str, tmp_path: Path) -> None:
    make_run(tmp_path, trials=3)
    assert not loaded_by(command("diff", "fake:0", "fake:knee", "--format", format_), tmp_path) & HEAVY


@pytest.mark.parametrize("format_", ["table", "json"])
def test_an_explanation_that_is_known_is_light(format_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What works with the model happens in a worker, and none is started twice for the same question."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with open_run(make_run(tmp_path, trials=3)) as run:
        explain_trial(run, trial_named(run, "knee"), build=build_stored)
    assert not loaded_by(command("explain", "fake", "--format", format_), tmp_path) & HEAVY


def test_the_face_is_light_until_it_is_called(tmp_path: Path) -> None:
    assert not loaded_by("import paretune; paretune.compress, paretune.open_run", tmp_path) & HEAVY


def test_reading_a_run_from_python_is_light(tmp_path: Path) -> None:
    make_run(tmp_path, trials=4)
    statement = (
        "import paretune; run = paretune.open_run('fake'); run.front(max_drop=0.9); run.trials(); run.pick(); "
        "repr(run); run._repr_html_()"
    )
    assert not loaded_by(statement, tmp_path) & HEAVY
