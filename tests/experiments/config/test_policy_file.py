import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.experiments.config.policy_file import policy_text, read_policy_file, write_policy
from paretune.experiments.files import write_atomically
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.hyperspace import OFF, Hyperparameter
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.errors import ConfigurationError, RunError
from paretune.spaces.policies.policy import LayerPolicy, Policy, Quantization
from paretune.spaces.policies.space import Space, SpaceSettings, build_space
from tests.fakes import layer_specs

SPACE: Space = build_space(layer_specs(), SpaceSettings())
HYPERSPACE = (
    Hyperparameter(name="width", choices=(8, 16), default=16),
    Hyperparameter(name="rate", choices=(0.1, 0.2), default=0.1, conditions={"width": (16,)}),
)


def candidate_of(policy: Policy) -> Candidate:
    return Candidate(architecture="a" * 64, recipe=Recipe(), policy=policy)


@given(st.lists(st.integers(0, 1_000_000), min_size=len(SPACE.parameters), max_size=len(SPACE.parameters)))
def test_a_policy_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, draws: list[int]) -> None:
    choice = {item.name: draw % len(item.choices) for item, draw in zip(SPACE.parameters, draws, strict=True)}
    policy = SPACE.policy(choice)
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    write_policy(path, candidate_of(policy))
    assert read_policy_file(path).policy(SPACE) == policy


def test_the_file_names_the_model_it_was_found_for() -> None:
    assert "found for model aaaaaaaaaaaa." in policy_text(candidate_of(SPACE.policies().__next__()))


def test_hyperparameters_read_back_with_the_policy(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    candidate = replace(candidate_of(SPACE.policies().__next__()), hyperparameters={"width": 8, "rate": OFF})
    write_policy(path, candidate)
    found = read_policy_file(path)
    assert found.values(HYPERSPACE) == {"width": 8, "rate": OFF}
    assert found.policy(SPACE) == candidate.policy


def test_a_policy_without_hyperparameters_is_of_the_default_model(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    write_policy(path, candidate_of(SPACE.policies().__next__()))
    assert "hyperparameters" not in path.read_text()
    assert read_policy_file(path).values(HYPERSPACE) == {"width": 16, "rate": 0.1}


def test_a_policy_written_by_hand_may_use_globs_and_leave_layers_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("layers:\n  conv*: {quantization: int8}\n  conv1: {sparsity: 0.5, clusters: none}\n  conv2:\n")
    policy = read_policy_file(path).policy(SPACE)
    assert {decided.quantization for decided in policy.values()} == {Quantization.INT8}
    assert policy["conv1"] == LayerPolicy(sparsity=0.5, quantization=Quantization.INT8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("layers: {conv9: {sparsity: 0.5}}", r"No layer matches 'conv9'; .* \(mine.yaml\)"),
        ("layers: {conv1: {sparsity: 2}}", r"`sparsity` must be in \[0, 1\), got 2.0. \(layer 'conv1'\) \(mine.yaml\)"),
        ("layer: {}", r"Unknown key 'layer'; a policy knows only `layers` and `hyperparameters` \(mine.yaml\)"),
        ("hyperparameters: {widht: 8}", r"Unknown hyperparameter 'widht'; known are width, rate.*'width'.*mine.yaml"),
        ("hyperparameters: {width: 9}", r"Hyperparameter 'width' must be one of 8, 16, got 9. \(mine.yaml\)"),
        ("hyperparameters: 9", r"`hyperparameters` must be a mapping of names to values, got 9. \(mine.yaml\)"),
        ("layers: 3", r"A policy needs `layers:`, .*\(mine.yaml\)"),
    ],
)
def test_an_impossible_policy_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)

    def read() -> None:
        found = read_policy_file(tmp_path / "mine.yaml")
        found.values(HYPERSPACE)
        found.policy(SPACE)

    with pytest.raises(ConfigurationError, match=said):
        read()


def test_a_missing_policy_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no policy file"):
        read_policy_file(tmp_path / "mine.yaml")


def test_a_write_that_fails_keeps_the_old_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"No space left in .* while writing file\. Free some and run the same command"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_written_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be written: No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "file", b"")
