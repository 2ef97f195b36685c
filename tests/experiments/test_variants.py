"""Runs that search hyperparameters too: what is kept, read back, shown and handed on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from paretune.experiments.asking import ask_run
from paretune.experiments.commands.front import command
from paretune.experiments.config.experiment import Experiment, parse_experiment
from paretune.experiments.config.policy_file import read_policy_file
from paretune.experiments.exports.exporting import apply_policy, export_pick
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.run import Run, open_run
from paretune.experiments.runs.searching import prepare_run, search_run
from paretune.experiments.terminal.front_document import front_document
from paretune.experiments.terminal.tables import front_table
from paretune.experiments.tracking.content import trial_content
from paretune.search.variants.lanes import BASE
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.trial import Trial, count_trained
from tests.experiments.evaluators import build_varied
from tests.fakes import VariedEvaluator

TEXT = """
name: varied
model: "models:build"
data: "zoo:data"
base: {epochs: 3}
space: {sparsity: [0, 0.5, 0.8], clusters: [none, 16], quantization: [float32, int8, int8_qat]}
recipe: {prune: {learning_rate: [0.001, 0.003]}}
budget: {trials: 26}
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return parse_experiment(TEXT, tmp_path_factory.mktemp("varied") / "varied.yaml")


@pytest.fixture(scope="module")
def run(experiment: Experiment) -> Iterator[Run]:
    folder = RunFolder(experiment.file.parent / "runs" / "varied")
    with prepare_run(experiment, folder, build=build_varied) as ready:
        search_run(ready)
    with open_run(folder) as opened:
        yield opened


def point_of_another_model(run: Run) -> Trial:
    return next(trial for trial in run.front().trials if trial.candidate.hyperparameters["width"] != 4)


def test_trials_read_back_with_the_hyperparameters_of_model_and_recipe(run: Run) -> None:
    trials = run.trials()
    assert dict(trials[0].candidate.hyperparameters) == {
        "width": 4,
        "rate": "high",
        "recipe.prune.learning_rate": 0.001,
    }
    assert count_trained(trials) == 26
    for trial in trials:
        values = trial.candidate.hyperparameters
        assert trial.candidate.recipe.prune.learning_rate == values["recipe.prune.learning_rate"]
    assert len({trial.candidate.architecture for trial in trials}) > 2


def test_every_variant_is_kept_with_its_description(run: Run) -> None:
    variants = run.ledger.variants()
    assert len(variants) >= 3
    evaluator = VariedEvaluator()
    for variant in variants:
        assert variant.description == evaluator.describe({name: variant.values[name] for name in ("width", "rate")})


def test_the_front_shows_the_hyperparameters_of_every_point(run: Run) -> None:
    front = run.front()
    table = front_table(front, "accuracy")
    assert table.columns[-1].header == "hyperparameters"
    cells = list(table.columns[-1].cells)
    assert len(cells) == len(front.points) + 1
    assert all(str(cell).startswith("width ") for cell in cells)
    assert all(point["hyperparameters"]["width"] in (1, 2, 4) for point in front_document(front)["front"])


def test_mlflow_is_told_the_hyperparameters(run: Run) -> None:
    content = trial_content(point_of_another_model(run))
    assert content.parameters["hyperparameter.width"] in ("1", "2")
    assert "hyperparameter.recipe.prune.learning_rate" in content.parameters


def test_base_models_are_trials_but_not_on_the_front(run: Run) -> None:
    bases = [trial for trial in run.trials() if trial.origin == BASE]
    assert bases
    assert not {trial.number for trial in bases} & {trial.number for trial in run.front().trials}


def test_an_export_and_its_policy_file_name_the_model(run: Run, experiment: Experiment, tmp_path: Path) -> None:
    trial = point_of_another_model(run)
    export_pick(run, str(trial.number), tmp_path / "out", build=build_varied)
    found = read_policy_file(tmp_path / "out" / "policy.yaml")
    assert found.values(run.hyperspace) == dict(trial.candidate.hyperparameters)
    assert "Its hyperparameters were searched too: width" in (tmp_path / "out" / "card.md").read_text()
    exported = apply_policy(tmp_path / "out" / "policy.yaml", experiment, tmp_path / "again", build=build_varied)
    assert "smaller than the baseline" in exported.summary
    documents = [json.loads((tmp_path / name / "measurement.json").read_text()) for name in ("out", "again")]
    intervals = {"accuracy_low", "accuracy_high"}  # of the test split, which a search measures more closely
    assert documents[0]["values"]["validation"] == documents[1]["values"]["validation"]
    tested = [document["values"]["test"] for document in documents]
    assert {name: value for name, value in tested[0].items() if name not in intervals} == tested[1]
    assert documents[0]["candidate_digest"] == documents[1]["candidate_digest"]


def test_a_policy_of_unknown_hyperparameters_is_one_line(experiment: Experiment, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("hyperparameters: {width: 3}\nlayers: {}\n")
    with pytest.raises(ConfigurationError, match=r"'width' must be one of 1, 2, 4, got 3. \(policy.yaml\)"):
        apply_policy(tmp_path / "policy.yaml", experiment, tmp_path / "out", build=build_varied)


def test_a_run_of_several_models_can_be_asked_again(run: Run) -> None:
    answer = ask_run(run, max_drop=0.05)
    assert answer.best is not None
    if answer.untried is not None:  # of the baseline's model
        assert len(answer.untried.policy) == 4


def test_keras_tuner_reads_the_front(run: Run) -> None:
    done = CliRunner().invoke(command, [str(run.folder.path), "--format", "keras-tuner"])
    assert done.exit_code == 0, done.output
    points: list[dict[str, Any]] = json.loads(done.stdout)
    assert [point["trial"] for point in points] == [trial.number for trial in run.front().trials]
    for point in points:
        names = [each["config"]["name"] for each in point["hyperparameters"]["space"]]
        assert names[:3] == ["width", "rate", "recipe.prune.learning_rate"]
        assert set(point["hyperparameters"]["values"]) == set(names)


def test_base_training_of_a_trained_model_is_refused(experiment: Experiment, tmp_path: Path) -> None:
    from tests.experiments.evaluators import build

    with (
        pytest.raises(ConfigurationError, match=r"`base` says how models are trained .* Leave it out"),
        prepare_run(experiment, RunFolder(tmp_path / "run"), build=build),
    ):
        pass
