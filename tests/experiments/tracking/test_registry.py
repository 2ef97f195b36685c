"""An exported file in MLflow's registry: real MLflow, a real LiteRT file."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paretune.experiments.config.experiment import parse_experiment
from paretune.experiments.exports.export import ExportedFile
from paretune.experiments.runs.facts import RunFacts
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import Run, facts_to_remember, open_run
from paretune.experiments.tracking import registry
from paretune.experiments.tracking.record import MlflowRecord
from paretune.experiments.tracking.registry import Registration, register
from paretune.experiments.tracking.tracker import MLFLOW_ENVIRONMENT, embedded_store, writing_record
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.results.evaluator import FileExample
from tests.experiments.sample_trials import OBJECTIVES, fill_ledger, sample_trials
from tests.fakes import AnalyticEvaluator
from tests.tiny_tflite import doubled, example_of_doubled, example_of_sum_and_product, sum_and_product

PATIENCE_SECONDS = 180.0


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database as MLflow makes it: making it takes a second, copying it nothing."""
    folder = tmp_path_factory.mktemp("empty")
    MlflowRecord(embedded_store(folder, "other"), "none")
    return folder / "mlflow.db"


@pytest.fixture
def run(tmp_path: Path, empty_database: Path) -> Iterator[Run]:
    """Return a run in ``runs/fake`` that MLflow has not heard of."""
    folder = RunFolder(tmp_path / "runs" / "fake")
    folder.make()
    shutil.copy(empty_database, tmp_path / "runs")
    ledger = SqlLedger.create(folder.ledger)
    facts = RunFacts(
        run_id="0" * 32,
        description=AnalyticEvaluator().describe(),
        objectives=OBJECTIVES,
        constraints=(),
        fingerprint={},
        threads=1,
    )
    experiment = parse_experiment("model: m:f\ndata: m:g\n", tmp_path / "fake.yaml")
    ledger.remember(facts_to_remember(experiment, facts))
    fill_ledger(ledger, sample_trials(3))
    ledger.close()
    with open_run(folder) as opened:
        yield opened


def exported(run: Run, model: bytes, example: FileExample) -> ExportedFile:
    trial = run.trial(1)
    assert trial.measurement is not None
    document = {
        "sha256": hashlib.sha256(model).hexdigest(),
        "origin": "trial 1 of runs/fake (knee)",
        "metric": "accuracy",
        "policy_digest": trial.candidate.policy.digest,
        "candidate_digest": trial.candidate.digest,
        "values": {"validation": dict(trial.measurement.values), "test": dict(trial.test_values)},
    }
    return ExportedFile(trial=trial, contents=model, example=example, document=document, card="")


def one_input(run: Run) -> ExportedFile:
    return exported(run, doubled(), example_of_doubled())


def client_of(run: Run) -> Any:
    from mlflow.tracking import MlflowClient

    uri = embedded_store(run.folder.path.parent).uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@pytest.fixture
def store_of_the_user(run: Run) -> Iterator[str]:
    """Make the run's store the one that MLflow takes where it is not told, as its users do."""
    import mlflow

    uri = embedded_store(run.folder.path.parent).uri
    mlflow.set_tracking_uri(uri)
    yield uri
    mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("store_of_the_user")
def test_the_registered_model_answers_what_the_file_answers(run: Run) -> None:
    import mlflow.pyfunc

    done = register(run, one_input(run), Registration(name="double", alias="champion"))
    assert (done.uri, done.version, done.is_new) == ("models:/double@champion", "1", True)
    model = mlflow.pyfunc.load_model(done.uri)
    example = example_of_doubled()
    np.testing.assert_array_equal(model.predict(example.inputs["x"]), example.outputs["output_0"])
    assert [spec.shape for spec in model.metadata.signature.inputs] == [(-1, 4)]
    labels = mlflow.pyfunc.load_model(done.uri, model_config={"answer": "labels"})
    assert labels.predict(example.inputs["x"]).tolist() == [3, 0, 1]


@pytest.mark.usefixtures("store_of_the_user")
def test_several_inputs_and_outputs_go_by_name(run: Run) -> None:
    import mlflow.pyfunc

    example = example_of_sum_and_product()
    done = register(run, exported(run, sum_and_product(), example), Registration(name="both"))
    assert done.uri == "models:/both/1"
    answers = mlflow.pyfunc.load_model(done.uri).predict(dict(example.inputs))
    assert set(answers) == {"output_0", "output_1"}
    for name, expected in example.outputs.items():
        np.testing.assert_array_equal(answers[name], expected)


def test_the_version_says_what_it_is_and_belongs_to_the_trials_run(run: Run) -> None:
    file = one_input(run)
    register(run, file, Registration(name="double", alias="champion"))
    client = client_of(run)
    version = client.get_model_version_by_alias("double", "champion")
    assert version.tags["sha256"] == hashlib.sha256(doubled()).hexdigest()
    assert version.tags["trial"] == "1"
    child = client.get_run(version.run_id)
    assert child.data.tags["trial"] == "1"
    assert child.info.status == "FINISHED"  # as it was: MLflow's own way would have opened it again
    assert child.info.end_time == round(run.trial(1).ended * 1000)
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in model.metrics}.items() >= file.document["values"][
        "validation"
    ].items()


@pytest.mark.slow  # MLflow asks pip
def test_what_the_model_needs_is_mlflow_litert_and_numpy(run: Run, store_of_the_user: str) -> None:
    done = register(run, one_input(run), Registration(name="double"))
    script = (
        "import sys, mlflow, numpy\n"
        f"model = mlflow.pyfunc.load_model({done.uri!r})\n"
        "model.predict(numpy.ones((2, 4), numpy.float32))\n"
        "print([name for name in ('paretune', 'tensorflow', 'tf_keras', 'keras') if name in sys.modules])\n"
        f"print(open(mlflow.pyfunc.get_model_dependencies({done.uri!r})).read())\n"
    )
    environment = {**os.environ, **MLFLOW_ENVIRONMENT, "MLFLOW_TRACKING_URI": store_of_the_user, "PYTHONPATH": ""}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0] == "[]"
    packages = [line.split("==")[0] for line in lines if "==" in line]
    assert packages == ["mlflow", "ai-edge-litert", "numpy"]


def test_the_same_file_is_registered_once_and_another_one_moves_the_alias(run: Run) -> None:
    registration = Registration(name="double", alias="champion")
    register(run, one_input(run), registration)
    again = register(run, one_input(run), replace(registration, alias="other"))
    assert (again.version, again.is_new) == ("1", False)
    other = exported(run, sum_and_product(), example_of_sum_and_product())
    assert register(run, other, registration).version == "2"
    client = client_of(run)
    assert str(client.get_model_version_by_alias("double", "champion").version) == "2"
    assert str(client.get_model_version_by_alias("double", "other").version) == "1"


def test_a_store_that_holds_another_file_is_told_and_the_alias_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    registration = Registration(name="double", alias="champion")
    register(run, one_input(run), registration)
    (held,) = (run.folder.path.parent / "mlflow-artifacts").rglob("model.tflite")
    held.write_bytes(sum_and_product())
    with pytest.raises(RunError, match="MLflow must hold the file that was measured: version 1 of 'double'"):
        register(run, one_input(run), replace(registration, alias="moved"))
    assert set(client_of(run).get_registered_model("double").aliases) == {"champion"}


def test_a_model_that_could_not_be_stored_is_marked_failed_and_registers_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(registry, "write_model_folder", full)
    with pytest.raises(RunError, match=r"must be reachable and writable, but: .*No space left"):
        register(run, one_input(run), Registration(name="double"))
    client = client_of(run)
    assert not client.search_registered_models()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [model.status for model in client.search_logged_models(experiments)] == ["FAILED"]


def test_registering_leaves_mlflows_own_settings_as_they_were(run: Run) -> None:
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = [os.environ.get(name) for name in names]
    register(run, one_input(run), Registration(name="double"))
    assert [os.environ.get(name) for name in names] == before


def test_registering_waits_for_the_record_that_is_being_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PATIENCE_SECONDS", 0.2)
    with writing_record(run.folder.path, patience_seconds=0), pytest.raises(RunError, match="Another process is"):
        register(run, one_input(run), Registration(name="double"))


@pytest.mark.parametrize("name", ["", "a/b", "a:b"])
def test_a_name_that_mlflow_refuses_is_refused_at_once(name: str) -> None:
    with pytest.raises(ConfigurationError, match="--register needs a name"):
        Registration(name=name)


@pytest.mark.parametrize("alias", ["latest", "v3", "a b", ""])
def test_an_alias_that_mlflow_refuses_is_refused_at_once(alias: str) -> None:
    with pytest.raises(ConfigurationError, match="--alias needs"):
        Registration(name="double", alias=alias)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow and scikit-learn, about a data set of six rows
def test_mlflow_evaluates_it_as_a_classifier_and_as_a_regressor(
    run: Run, store_of_the_user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)  # MLflow keeps the artifacts of a new experiment in the current folder

    done = register(run, one_input(run), Registration(name="double", alias="champion"))
    rows = np.repeat(example_of_doubled().inputs["x"], 2, axis=0)
    mlflow.set_experiment(experiment_name="evaluation")
    quiet = {"log_explainer": False}
    classified = mlflow.models.evaluate(
        done.uri,
        rows,
        targets=np.asarray([3, 3, 0, 0, 1, 3]),
        model_type="classifier",
        model_config={"answer": "labels"},
        evaluator_config=quiet,
    )
    assert classified.metrics["accuracy_score"] == pytest.approx(5 / 6)
    scored = mlflow.models.evaluate(
        lambda data: mlflow.pyfunc.load_model(done.uri).predict(np.asarray(data, np.float32))[:, 0],
        rows,
        targets=2 * rows[:, 0] + 1,
        model_type="regressor",
        evaluator_config=quiet,
    )
    assert scored.metrics["mean_absolute_error"] == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["one", "two"])
def test_mlflow_serves_it(run: Run, store_of_the_user: str, tmp_path: Path, inputs: str) -> None:
    two = exported(run, sum_and_product(), example_of_sum_and_product())
    file = one_input(run) if inputs == "one" else two
    done = register(run, file, Registration(name="served", alias="champion"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {name: array.tolist() for name, array in file.example.inputs.items()}
    body = json.dumps({"inputs": given if inputs == "two" else next(iter(given.values()))}).encode()
    # MLflow looks for its server there, as in an environment that is activated
    search_path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["-m", "mlflow", "models", "serve", "-m", done.uri, "--env-manager", "local", "--port", str(port)]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **MLFLOW_ENVIRONMENT, "MLFLOW_TRACKING_URI": store_of_the_user, "PATH": search_path},
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
    try:
        answer = _answer_of(f"http://127.0.0.1:{port}/invocations", body, server)
    except AssertionError as error:
        error.add_note((tmp_path / "server.log").read_text())
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    predictions = answer["predictions"]
    if inputs == "one":
        predictions = {"output_0": predictions}
    for name, expected in file.example.outputs.items():
        np.testing.assert_allclose(np.asarray(predictions[name]), expected)


def _answer_of(address: str, body: bytes, server: "subprocess.Popen[bytes]") -> Any:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})  # noqa: S310
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # an address of this machine
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, "the server does not answer"
            assert server.poll() is None, "the server has ended"
            time.sleep(0.5)
