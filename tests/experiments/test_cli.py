"""The command line, with an analytic evaluator where a command measures."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from paretune.experiments.cli import COMMANDS, main, paretune
from paretune.experiments.cli import run as run_cli
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import open_run
from paretune.spaces.results.trial import count_trained
from tests.fakes import AnalyticEvaluator

EXPERIMENT = """\
name: fake
model: model.npz
data: data.npz
objectives: [metric, size_bytes, latency_ratio]
constraints: {accuracy: {drop: 0.4}, size_bytes: 0.9x}
budget: {trials: 6}
tracking: off
"""


def make_place(folder: Path) -> Path:
    for name in ("model.npz", "data.npz"):
        (folder / name).touch()
    (folder / "exp.yaml").write_text(EXPERIMENT)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with an experiment in it."""
    return make_place(tmp_path)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a search has finished; tests only read it."""
    place = make_place(tmp_path_factory.mktemp("searched"))
    done = run(place, "search", "exp.yaml", "--trials", "12")
    assert done.returncode == 0, done.stderr
    return place


def start(place: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    sources = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.experiments.fake_cli", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sources), "XDG_CACHE_HOME": str(place), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    process = start(place, *words, **environment)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


def in_process(place: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.chdir(place)
    return run_cli(words)


def test_help_lists_every_command_with_what_it_is_for() -> None:
    output = CliRunner().invoke(paretune, ["--help"]).output
    for name, purpose in COMMANDS.items():
        assert f"{name} " in output
        assert purpose in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(paretune, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: paretune {name}")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run_cli(["--version"]) == 0
    assert capsys.readouterr().out == f"paretune {version('paretune')}\n"


def test_an_unknown_command_is_a_usage_error_that_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["frnt"]) == 2
    assert "Did you mean 'front'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["front"], ["front", "x", "--format", "xml"], ["front", "x", "--max-size", "6zz"], ["apply", "p", "e"]]
)
def test_wrong_usage_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(words) == 2
    assert "Usage: paretune" in capsys.readouterr().err


def test_what_the_user_can_mend_is_one_line_and_exit_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(place, monkeypatch, "front", "nope") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: There is no run 'nope'; there is none in runs.\n"


def test_every_problem_of_an_experiment_file_is_a_line_of_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "exp.yaml").write_text(EXPERIMENT + "budgt: {}\nspce: {}\n")
    assert in_process(place, monkeypatch, "search", "exp.yaml") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_traceback_shows_when_asked_for(
    how: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "environment":
        monkeypatch.setenv("PARETUNE_DEBUG", "1")
    words = ["front", "nope"] if how == "environment" else ["--debug", "front", "nope"]
    assert in_process(place, monkeypatch, *words) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_reader_that_stops_reading_is_no_error(searched: Path) -> None:
    process = start(searched, "front", "fake")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 0


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main(["nonsense"])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 2


def test_init_writes_a_file_that_reads_back_and_keeps_one_that_is_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from paretune.experiments.config.experiment import read_experiment

    assert in_process(place, monkeypatch, "init", "model.npz", "--data", "data.npz", "-o", "mine.yaml") == 0
    assert capsys.readouterr().out == "mine.yaml\n"
    assert read_experiment(place / "mine.yaml").model == "model.npz"
    assert in_process(place, monkeypatch, "init", "model.npz", "--data", "data.npz", "-o", "mine.yaml") == 1
    assert in_process(place, monkeypatch, "init", "model.npz", "--data", "data.npz", "-o", "mine.yaml", "--force") == 0


def test_search_prints_the_front_on_stdout_and_everything_else_on_stderr(place: Path) -> None:
    done = run(place, "search", "exp.yaml", "--trials", "4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "trial"
    assert "base" in done.stdout
    assert "paretune export runs/fake --pick knee" in done.stderr
    with open_run(RunFolder(place / "runs" / "fake")) as opened:
        trials = opened.trials()
    ended = [line for line in done.stderr.splitlines() if line.startswith("trial ")]
    assert len(ended) == len(trials) - 1  # the baseline is measured before the search
    assert [line for line in done.stderr.splitlines() if line.startswith("Profile: 8 pairs of decisions cost ")]
    assert (place / "runs" / "fake" / "front.png").is_file()
    assert not (place / "runs" / "mlflow.db").exists()


def test_repeating_a_finished_search_prints_the_same_front_and_starts_nothing(searched: Path) -> None:
    log = searched / "runs" / "fake" / "worker.log"
    before = log.stat().st_mtime_ns
    done = run(searched, "search", "exp.yaml", "--trials", "12")
    assert done.returncode == 0
    assert done.stdout == run(searched, "front", "fake").stdout
    assert "finished before" in done.stderr
    assert log.stat().st_mtime_ns == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_stops_soon_shows_the_front_and_goes_on_when_repeated(
    place: Path, number: signal.Signals
) -> None:
    search = start(place, "search", "exp.yaml", "--trials", "5", FAKE_SECONDS="1.5")
    wait_for_trials(place, 3)
    sent = time.monotonic()
    search.send_signal(number)
    stdout, stderr = search.communicate(timeout=60)
    assert search.returncode == 130
    assert time.monotonic() - sent < 15
    assert "base" in stdout
    assert stderr.splitlines()[-1] == (
        "interrupted: everything finished is kept. Go on with: paretune search exp.yaml --trials 5"
    )
    assert "Traceback" not in stderr
    again = run(place, "search", "exp.yaml", "--trials", "5")
    assert again.returncode == 0
    with open_run(RunFolder(place / "runs" / "fake")) as opened:
        trials = opened.trials()
    assert len({trial.candidate.digest for trial in trials}) == len(trials)
    assert count_trained(trials) == 5


def test_an_interruption_before_the_search_began_is_one_line(place: Path) -> None:
    search = start(place, "search", "exp.yaml")
    assert search.stderr is not None
    assert search.stderr.readline() == "loading the model and the data\n"
    search.send_signal(signal.SIGINT)
    stdout, stderr = search.communicate(timeout=60)
    assert search.returncode == 130
    assert stdout == ""
    assert "Go on with: paretune search exp.yaml" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise_signal(SIGINT); print('goes on', bool(wish))", "goes on True"),
        ("raise_signal(SIGTERM); raise_signal(SIGTERM)", "stopped"),
        ("raise_signal(SIGINT); time.sleep(30)", "stopped"),
    ],
)
def test_a_wish_to_stop_is_deferred_once_and_not_for_long(script: str, said: str) -> None:
    lines = [
        "import time",
        "from signal import SIGINT, SIGTERM, raise_signal",
        "from paretune.experiments import stopping",
        "stopping._MOST_SECONDS_DEFERRED = 0.3",
        "try:",
        "    with stopping.stop_signals() as wish, wish.deferred():",
        f"        {script}",
        "except KeyboardInterrupt:",
        "    print('stopped')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=20)
    assert done.stdout == f"{said}\n"


def wait_for_trials(place: Path, count: int, seconds: float = 60.0) -> None:
    """Wait until a run has that many trials."""
    deadline = time.monotonic() + seconds
    folder = RunFolder(place / "runs" / "fake")
    while time.monotonic() < deadline:
        if folder.exists:
            try:
                with open_run(folder) as opened:
                    if len(opened.trials()) >= count:
                        return
            except Exception:  # noqa: S110 - the ledger is just being made
                pass
        time.sleep(0.2)
    raise AssertionError(f"there were no {count} trials within {seconds} s")


def front_json(place: Path, *words: str) -> dict[str, Any]:
    """Ask for the front of the run in this process, which takes a tenth of the time."""
    with chdir(place), redirect_stdout(io.StringIO()) as stdout:
        assert run_cli(["front", "fake", "--format", "json", *words]) == 0
    document: dict[str, Any] = json.loads(stdout.getvalue())
    return document


def test_front_json_has_exactly_the_promised_shape(searched: Path) -> None:
    document = front_json(searched)
    assert list(document) == ["baseline", "front"]
    assert set(document["baseline"]) == {"values", "test_values"}
    for point in document["front"]:
        assert list(point)[:4] == ["trial", "knee", "values", "test_values"]
        assert {"accuracy", "size_bytes", "latency_ratio"} <= set(point["values"])
        assert "accuracy" in point["test_values"]
    assert sum(point["knee"] for point in document["front"]) == 1


@pytest.mark.parametrize(
    ("option", "bound", "keeps"),
    [
        ("--max-size", "6kB", lambda values, baseline: values["size_bytes"] <= 6000),
        ("--max-drop", "0.1", lambda values, baseline: values["accuracy"] >= baseline["accuracy"] - 0.1),
    ],
)
def test_front_asked_again_keeps_what_meets_the_bound(
    searched: Path, option: str, bound: str, keeps: Callable[[Any, Any], bool]
) -> None:
    everything, asked = front_json(searched), front_json(searched, option, bound)
    baseline = everything["baseline"]["values"]
    kept = [point["trial"] for point in everything["front"] if keeps(point["values"], baseline)]
    assert set(kept) <= {point["trial"] for point in asked["front"]}
    assert all(keeps(point["values"], baseline) for point in asked["front"])
    assert 0 < len(kept) < len(everything["front"])


def test_front_asked_for_more_speed_than_any_trial_has_is_empty_and_keeps_the_baseline(searched: Path) -> None:
    document = front_json(searched, "--max-latency", "0.5")
    assert document["front"] == []
    assert document["baseline"] == front_json(searched)["baseline"]


def test_export_writes_files_that_say_what_the_ledger_says(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.tflite",
        "model.zip",
        "model_data.cc",
        "model_data.h",
        "example.npz",
        "smoke_test.py",
        "policy.yaml",
        "card.md",
        "measurement.json",
    }
    knee = next(point for point in front_json(searched)["front"] if point["knee"])
    document = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert document["values"] == {"validation": knee["values"], "test": knee["test_values"]}


def test_the_whole_front_is_exported_by_one_worker_with_an_index(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--all-front", "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    front = front_json(searched)["front"]
    index = json.loads((tmp_path / "out" / "front.json").read_text())
    assert [row["trial"] for row in index["front"]] == [point["trial"] for point in front]
    for row, point in zip(index["front"], front, strict=True):
        document = json.loads((tmp_path / "out" / row["folder"] / "measurement.json").read_text())
        assert document["values"]["validation"] == point["values"] == row["values"]
        assert document["sha256"] == row["sha256"]
        assert f"[trial {row['trial']}](trial-{row['trial']}/card.md)" in (tmp_path / "out" / "README.md").read_text()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "front.json", *(row["folder"] for row in index["front"])
    }  # fmt: skip


def test_a_front_that_measures_otherwise_gets_no_index(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--all-front", "--to", str(tmp_path / "out"), FAKE_DRIFT="0.001")
    assert done.returncode == 1
    assert not (tmp_path / "out" / "front.json").exists()


def test_registering_what_is_not_tracked_is_refused_before_anything_is_measured(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--register", "name", "--to", str(tmp_path / "out"))
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: --register needs MLflow, and `tracking` is off in ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--alias", "best"], "--alias needs --register NAME"),
        (["--register", "name", "--all-front"], "--register takes one trial"),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    searched: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_cli(["export", str(searched / "runs" / "fake"), *words]) == 2
    assert message in capsys.readouterr().err


def test_export_picks_by_number_and_by_merit(searched: Path, tmp_path: Path) -> None:
    front = front_json(searched)["front"]
    for pick in ("smallest", str(front[-1]["trial"])):
        done = run(searched, "export", "fake", "--pick", pick, "--to", str(tmp_path / pick))
        assert done.returncode == 0, done.stderr
        document = json.loads((tmp_path / pick / "measurement.json").read_text())
        smallest = [point for point in front if point["values"]["size_bytes"] == front[0]["values"]["size_bytes"]]
        best = max(smallest, key=lambda point: point["values"]["accuracy"])
        wanted = best if pick == "smallest" else front[-1]
        assert document["values"]["validation"] == wanted["values"]


def test_export_refuses_a_file_that_measures_otherwise(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--to", str(tmp_path / "out"), FAKE_DRIFT="0.001")
    assert done.returncode == 1
    assert "\nerror: The written file must measure as trial" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_export_of_a_trial_that_is_not_on_the_front_names_those_that_are(searched: Path, tmp_path: Path) -> None:
    done = run(searched, "export", "fake", "--pick", "999", "--to", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: Trial 999 is not on the front; on it are ")


def test_apply_trains_and_exports_one_policy_given_by_globs(searched: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("layers:\n  'conv*': {sparsity: 0.5, quantization: int8}\n")
    done = run(searched, "apply", str(policy), "exp.yaml", "--to", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out" / "measurement.json").read_text())
    assert {layer["stored_as"] for layer in document["fidelity"]} == {"int8"}
    assert document["values"]["test"]["accuracy"] == pytest.approx(document["values"]["validation"]["accuracy"] - 0.005)


def test_apply_names_the_nearest_layer_to_one_that_is_not_there(searched: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("layers:\n  cnv2: {sparsity: 0.5}\n")
    done = run(searched, "apply", str(policy), "exp.yaml", "--to", str(tmp_path / "out"))
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "No layer matches 'cnv2'" in errors[0]
    assert "Did you mean 'conv2'?" in errors[0]
    assert not (tmp_path / "out").exists()


def test_doctor_tells_layers_as_a_table_and_as_json(searched: Path) -> None:
    table, document = run(searched, "doctor", "exp.yaml"), run(searched, "doctor", "exp.yaml", "--format", "json")
    assert "conv3" in table.stdout
    layers = json.loads(document.stdout)["layers"]
    assert [layer["name"] for layer in layers] == ["conv0", "conv1", "conv2", "conv3"]
    assert layers[0]["sparsity"] is True


def test_plan_tells_space_sizes_cost_and_constraints(searched: Path) -> None:
    done = run(searched, "plan", "exp.yaml", "--format", "json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["parameters"] == 12
    assert plan["combinations"] == (6 * 5 * 8) ** 4
    assert plan["smallest_bytes"] < plan["baseline"]["size_bytes"] < plan["largest_bytes"]
    batches = math.ceil(AnalyticEvaluator().describe().samples["train"] / 64)
    assert 4 * batches < 200  # small data gets more passes
    assert plan["training_steps"] == {"prune": 200, "cluster": 100, "quantize": 100}
    assert plan["trained_before"] >= 6
    assert [bound["kind"] for bound in plan["constraints"]] == ["at least", "at most"]
    assert plan["constraints"][1]["bound"] == pytest.approx(0.9 * plan["baseline"]["size_bytes"])
    assert plan["unsatisfiable"] == ""
    assert "nothing speaks against it" in run(searched, "plan", "exp.yaml").stdout


def test_plan_says_when_no_policy_can_meet_the_constraints(place: Path) -> None:
    (place / "exp.yaml").write_text(EXPERIMENT.replace("0.9x", "{max: 1kB}"))
    done = run(place, "plan", "exp.yaml", "--format", "json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert "No policy can satisfy" in plan["unsatisfiable"]
    assert plan["trial_seconds"] is None


def test_ui_without_a_record_says_how_to_make_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_process(place, monkeypatch, "ui") == 1
    assert "`paretune sync RUN` makes one" in capsys.readouterr().err


def test_a_trial_is_explained_and_two_are_compared(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explained = run(searched, "explain", "fake")
    assert explained.returncode == 0, explained.stderr
    assert "uniform policy of about the same size" in explained.stdout
    assert in_process(searched, monkeypatch, "diff", "fake:0", "fake:knee") == 0
    assert "layers are decided alike; fake:0 -> fake:knee" in capsys.readouterr().out
    assert in_process(searched, monkeypatch, "diff", "fake", "fake:knee") == 1
    assert "Did you mean fake:knee?" not in capsys.readouterr().out


def test_reproduce_exits_1_when_a_trial_comes_out_otherwise(searched: Path, tmp_path: Path) -> None:
    shutil.copytree(searched, tmp_path / "copy")
    again = run(tmp_path / "copy", "reproduce", "fake", "--format", "json")
    assert again.returncode == 0, again.stderr
    [found] = json.loads(again.stdout)["trials"]
    file = tmp_path / "copy" / "runs" / "fake" / "trials" / f"{found['trial']:05d}" / "model.tflite"
    file.write_bytes(file.read_bytes() + b" ")
    other = run(tmp_path / "copy", "reproduce", "fake")
    assert other.returncode == 1
    assert "0 of 1 trial" in other.stdout
    assert "Traceback" not in other.stderr
