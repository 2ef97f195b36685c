"""``paretune profile``: the profile without a search, in the folder of the run."""

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.profiles.curves import curve_panels
from paretune.experiments.profiles.order import strength
from paretune.experiments.profiles.profiling import KeptProfile, profile_experiment
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.searching import finished_run, prepare_run, search_run
from paretune.experiments.terminal.profile_progress import ProfileProgress
from paretune.experiments.terminal.profile_text import profile_lines, profile_table
from paretune.search.events import Profiling
from paretune.spaces.errors import RunError
from tests.experiments import evaluators as scripted
from tests.experiments.test_cli import make_place, run, start

TEXT = """
model: "zoo:model"
data: "zoo:data"
space: {sparsity: [0, 0.5, 0.8], clusters: [none, 16], quantization: [float32, int8, int4]}
budget: {trials: 3}
search: {workers: 1}
tracking: off
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, RunFolder, KeptProfile]:
    """Return a profile that tests only read, with its experiment and its folder."""
    place = tmp_path_factory.mktemp("profiled")
    experiment, folder = parse_experiment(TEXT, place / "fake.yaml"), RunFolder(place / "runs" / "fake")
    return experiment, folder, profiled(experiment, folder)


@pytest.fixture
def kept(done: tuple[Experiment, RunFolder, KeptProfile]) -> KeptProfile:
    return done[2]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return parse_experiment(TEXT, tmp_path / "fake.yaml")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "fake")


def profiled(experiment: Experiment, folder: RunFolder, **options: Any) -> KeptProfile:
    quiet = Console(quiet=True)
    kept = profile_experiment(experiment, folder, **{"build": scripted.build_gradual, "console": quiet, **options})
    assert kept is not None
    return kept


def test_a_profile_lies_with_the_run_and_a_search_goes_on_from_it(experiment: Experiment, folder: RunFolder) -> None:
    kept = profiled(experiment, folder)
    assert json.loads(kept.data.read_text()) == kept.document
    assert kept.picture.read_bytes().startswith(b"\x89PNG")
    assert kept.picture.parent == folder.path
    heard: list[object] = []
    with prepare_run(experiment, folder, build=scripted.build_gradual) as ready:
        search_run(ready, notify=heard.append)
    assert not any(isinstance(event, Profiling) for event in heard)
    assert profiled(experiment, folder).document == kept.document


def unbuildable(settings: Any) -> Any:
    raise AssertionError("no worker is needed")


def test_a_complete_profile_is_shown_again_without_a_worker(done: tuple[Experiment, RunFolder, KeptProfile]) -> None:
    experiment, folder, first = done
    assert profiled(experiment, folder, build=unbuildable) == first


@pytest.mark.slow
def test_a_finished_search_stays_finished(experiment: Experiment, folder: RunFolder) -> None:
    experiment = replace(experiment, sampler="random")  # whose searches leave no profile
    with prepare_run(experiment, folder, build=scripted.build_gradual) as ready:
        search_run(ready)
    profiled(experiment, folder)
    again = finished_run(experiment, folder)
    assert again is not None
    again.ledger.close()


def test_a_run_of_another_seed_is_refused(done: tuple[Experiment, RunFolder, KeptProfile]) -> None:
    experiment, folder, _ = done
    with pytest.raises(RunError, match=r"seed: 0 -> 5\."):
        profiled(replace(experiment, seed=5), folder)


def test_the_table_tells_of_each_decision_what_it_costs_and_saves(kept: KeptProfile) -> None:
    table = profile_table(kept.document)
    cells = [list(column.cells) for column in table.columns]
    assert [name for name in cells[0] if name] == ["conv0", "conv1", "conv2", "conv3"]
    assert cells[1][:6] == [
        "-",
        "sparsity 50%",
        "sparsity 80%",
        "clusters 16",
        "quantization int8",
        "quantization int4",
    ]
    first = kept.document["layers"][0]["options"][0]
    [half] = [one for one in kept.document["layers"][0]["options"] if one["changes"] == {"sparsity": 0.5}]
    base = kept.document["base"]["values"]["accuracy"]
    assert float(str(cells[2][1])) == pytest.approx(base - half["metric_drop"], abs=1e-3)
    assert float(str(cells[3][1])) == pytest.approx(half["metric_drop"], rel=0.1, abs=1e-3)
    assert f"({1 - half['bytes'] / first['bytes']:.0%})" in str(cells[6][1])
    lines = profile_lines(kept)
    ranked = sorted(kept.document["layers"], key=lambda layer: -layer["sensitivity"])
    assert lines[1].startswith(f"Most sensitive: {ranked[0]['layers'][0]} +{ranked[0]['sensitivity']:.2g}")
    assert lines[2].startswith(f"Least sensitive: {ranked[-1]['layers'][0]} +")
    assert f"Additive: {kept.document['additivity']['sentence']}." in lines
    assert lines[-2:] == [f"Picture: {kept.picture}", f"Data: {kept.data}"]


def test_what_could_not_be_measured_is_a_question_mark(kept: KeptProfile) -> None:
    layer = kept.document["layers"][0]
    unknown = {"changes": {"sparsity": 0.5}, "loss_rise": None, "metric_drop": None, "bytes": None}
    document = {**kept.document, "layers": [{**layer, "sensitivity": None, "options": [layer["options"][0], unknown]}]}
    cells = [list(column.cells)[1] for column in profile_table(document).columns]
    assert cells == ["", "sparsity 50%", "?", "?", "?", "?", "?"]
    assert len(profile_lines(replace(kept, document=document))) == 4
    assert curve_panels(document) == {}


def test_the_curves_go_from_mild_to_strong_and_begin_without_any_decision(kept: KeptProfile) -> None:
    document = kept.document
    panels = curve_panels(document)
    assert list(panels) == ["sparsity", "clusters", "quantization"]  # no channels can go here
    [layer, line] = panels["quantization"][0]
    assert [value for value, _ in line] == ["float32", "int8", "int4"]
    assert line[0][1] == document["base"]["values"]["accuracy"]
    drops = {option["changes"].get("quantization"): option["metric_drop"] for option in layer["options"][:6]}
    assert line[2][1] == pytest.approx(line[0][1] - drops["int4"])
    assert sorted([8, None, 32, 16], key=lambda value: strength("clusters", value)) == [None, 32, 16, 8]


def test_of_a_metric_to_minimise_worse_is_more(kept: KeptProfile) -> None:
    document = {**kept.document, "direction": "minimize"}
    [_, line] = curve_panels(document)["quantization"][0]
    assert line[-1][1] > line[0][1]


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProfileProgress() as progress:
        for done in range(1, 101):
            progress.hear(Profiling(done=done, total=100))
    said = capsys.readouterr()
    assert said.out == ""
    first, last = said.err.splitlines()
    assert first.startswith("measuring policies untrained")
    assert last.startswith("profile 100/100")


def test_the_command_prints_the_table_on_stdout_and_everything_else_on_stderr(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    done = run(place, "profile", "exp.yaml")
    assert done.returncode == 0, done.stderr
    assert "Most sensitive: " in done.stdout
    assert f"Picture: {Path('runs/fake/profile.png')}" in done.stdout
    assert "loading the model" in done.stderr
    again = run(place, "profile", "exp.yaml", "--format", "json")
    document = json.loads(again.stdout)
    assert document["files"] == {"picture": "runs/fake/profile.png", "data": "runs/fake/profile.json"}
    assert {"metric", "direction", "base", "layers", "additivity"} <= document.keys()
    assert again.stderr == ""


@pytest.mark.slow
def test_an_interrupted_profile_keeps_what_it_measured_and_goes_on(tmp_path: Path) -> None:
    place = make_place(tmp_path)
    going = start(place, "profile", "exp.yaml", "--seed", "0", FAKE_PROXY_SECONDS="0.1")
    kept = wait_for_proxies(place, 5)
    going.send_signal(signal.SIGINT)
    stdout, stderr = going.communicate(timeout=60)
    assert going.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == (
        "interrupted: everything finished is kept. Go on with: paretune profile exp.yaml --seed 0"
    )
    assert "Traceback" not in stderr
    assert proxies_in(place) >= kept
    assert run(place, "profile", "exp.yaml", "--seed", "0").returncode == 0


def proxies_in(place: Path) -> int:
    ledger = SqlLedger.read(RunFolder(place / "runs" / "fake").ledger)
    try:
        return ledger.proxies_so_far()[0]
    finally:
        ledger.close()


def wait_for_proxies(place: Path, count: int) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (place / "runs" / "fake" / "ledger.sqlite").exists() and proxies_in(place) >= count:
            return proxies_in(place)
        time.sleep(0.1)
    raise AssertionError("nothing was measured")
