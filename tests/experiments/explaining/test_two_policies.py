"""Two policies side by side."""

import json
from pathlib import Path

import pytest

from paretune.experiments.explaining.two_policies import Comparison, compare_policies, comparison_document
from paretune.experiments.runs.folder import RunFolder
from paretune.experiments.runs.ledger import SqlLedger
from paretune.experiments.runs.run import open_run
from paretune.experiments.terminal.comparison_text import comparison_lines
from paretune.search.front import values_of
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.policies.policy import LayerPolicy, Quantization
from paretune.spaces.results.resampling import Resampled
from tests.experiments.funnel_runs import make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("run"))


def policy(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_two_trials_differ_where_their_policies_do_and_in_what_they_measured(folder: RunFolder) -> None:
    with open_run(folder) as run:
        first, second = run.front().trials[0], run.front().trials[-1]
    found = compare_policies(f"{folder}:{first.number}", f"{folder}:{second.number}")
    one, other = first.candidate.policy, second.candidate.policy
    assert [each.layer for each in found.layers] == [name for name in one if one[name] != other[name]]
    assert found.same + len(found.layers) == len(one)
    changes = comparison_document(found)["changes"]
    assert changes["size_bytes"] == values_of(second)["size_bytes"] - values_of(first)["size_bytes"]
    assert found.before.layer_bytes
    json.dumps(comparison_document(found), allow_nan=False)


def test_a_trial_does_not_differ_from_its_own_policy_file(folder: RunFolder) -> None:
    """Nor from one that a person wrote with rounder numbers: it is read for the model of the run."""
    with open_run(folder) as run:
        trial = run.front().trials[0]
        file = run.files_of(trial) / "policy.yaml"
    for named in (f"{folder}:{trial.number}", str(file)):
        found = compare_policies(named, str(file))
        assert not found.layers
        assert comparison_lines(found)[0].startswith("4 of 4 layers are decided alike")


def test_globs_of_a_file_are_read_by_the_names_that_the_other_one_knows(tmp_path: Path) -> None:
    named = policy(tmp_path, "a.yaml", "layers: {conv1: {sparsity: 0.5}, conv2: {}, head: {clusters: 8}}\n")
    glob = policy(tmp_path, "b.yaml", "layers: {'conv*': {sparsity: 0.5, quantization: int8}, head: {clusters: 8}}\n")
    found = compare_policies(named, glob)
    assert [each.layer for each in found.layers] == ["conv1", "conv2"]
    assert found.layers[1].after == LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)
    assert found.same == 1
    assert "not measured" in comparison_lines(found)[-1]


def test_a_layer_that_only_one_of_two_models_has_differs(tmp_path: Path) -> None:
    one = policy(tmp_path, "a.yaml", "layers: {conv1: {sparsity: 0.5}}\n")
    other = policy(tmp_path, "b.yaml", "layers: {conv1: {sparsity: 0.5}, conv2: {sparsity: 0.5}}\n")
    [difference] = compare_policies(one, other).layers
    assert (difference.layer, difference.before) == ("conv2", LayerPolicy())


def test_an_exported_folder_brings_its_measurements(tmp_path: Path) -> None:
    text = "layers: {conv1: {sparsity: 0.5}}\n"
    for name, accuracy in (("a", 0.9), ("b", 0.8)):
        (tmp_path / name).mkdir()
        policy(tmp_path / name, "policy.yaml", text)
        measured = {
            "metric": "accuracy",
            "values": {"validation": {"accuracy": accuracy, "size_bytes": 100.0}, "test": {}},
            "fidelity": [{"layer": "conv1", "deflated_bytes": 50}],
        }
        (tmp_path / name / "measurement.json").write_text(json.dumps(measured))
    lines = comparison_lines(compare_policies(str(tmp_path / "a"), str(tmp_path / "b")))
    assert "accuracy: 0.9 -> 0.8 (-0.1)" in lines


@pytest.mark.parametrize(("shift", "verdict"), [(0.5, "more than noise"), (0.0, "noise, as far as these samples tell")])
def test_the_change_on_test_is_told_from_noise(tmp_path: Path, shift: float, verdict: str) -> None:
    folder = make_run(tmp_path, trials=4)
    ledger = SqlLedger.open(folder.ledger)
    wild = (0.1, 0.5, 0.3)
    ledger.record_test(1, {"accuracy": 0.3}, Resampled(metric="accuracy", values=wild))
    ledger.record_test(
        2, {"accuracy": 0.3 + shift}, Resampled(metric="accuracy", values=tuple(each + shift for each in wild))
    )
    ledger.close()
    assert comparison_lines(compare_policies(f"{folder}:1", f"{folder}:2"))[-1].endswith(verdict)


def test_what_is_no_policy_is_told_in_one_line(tmp_path: Path, folder: RunFolder) -> None:
    good = policy(tmp_path, "a.yaml", "layers: {conv1: {}}\n")
    for named, error, said in (
        ("nothing", ConfigurationError, "must be a policy.yaml, an exported folder or RUN:TRIAL"),
        (str(folder), ConfigurationError, f"Did you mean {folder}:knee"),
        ("nothing:3", RunError, "There is no run 'nothing'"),
        (f"{folder}:999", RunError, "There is no trial 999"),
        (policy(tmp_path, "b.yaml", "layers: {conv1: {sparsty: 1}}\n"), ConfigurationError, "Unknown knob 'sparsty'"),
    ):
        with pytest.raises(error, match=said):
            compare_policies(good, named)


def test_the_baseline_is_a_policy_too(folder: RunFolder) -> None:
    found: Comparison = compare_policies(f"{folder}:0", f"{folder}:knee")
    assert found.before.policy.is_untouched
    assert found.layers
