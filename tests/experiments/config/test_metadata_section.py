"""The section ``metadata`` of an experiment file."""

from pathlib import Path

import pytest

from paretune.experiments.config.experiment import parse_experiment, read_experiment
from paretune.experiments.config.metadata_section import file_metadata
from paretune.experiments.config.present import present_experiment
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.results.file_metadata import ONLY, FileMetadata, Normalization

START = "model: m:f\ndata: m:g\n"


def read(folder: Path, section: str) -> FileMetadata | None:
    file = folder / "exp.yaml"
    file.write_text(START + section)
    return file_metadata(read_experiment(file).metadata, folder)


def test_without_the_section_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path, "") is None


def test_a_whole_section_is_read(tmp_path: Path) -> None:
    metadata = read(
        tmp_path,
        "metadata: {description: Reads., license: MIT, labels: [0, one], mean: [1, 2.5], std: 4, version: '2'}\n",
    )
    assert metadata == FileMetadata(
        description="Reads.",
        license="MIT",
        version="2",
        labels={ONLY: ("0", "one")},
        normalization={ONLY: Normalization(mean=(1.0, 2.5), std=(4.0,))},
    )


def test_labels_may_lie_in_a_file_beside_the_experiment(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    metadata = read(tmp_path, "metadata: {labels: labels.txt}\n")
    assert metadata is not None
    assert metadata.labels == {ONLY: ("cat", "dog")}


def test_several_outputs_and_inputs_are_named(tmp_path: Path) -> None:
    metadata = read(tmp_path, "metadata: {labels: {output_1: [a, b]}, std: {image: 255}}\n")
    assert metadata is not None
    assert metadata.labels == {"output_1": ("a", "b")}
    assert metadata.normalization == {"image": Normalization(mean=(0.0,), std=(255.0,))}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{labels: nowhere.txt}", "'nowhere.txt': No such file or directory"),
        ("{labels: []}", "`labels` must be words, none of them empty"),
        ("{labels: [a, '']}", "`labels` must be words, none of them empty"),
        ("{labels: [yes, true]}", "quote yes, no and true"),
        ("{labels: 3}", "`labels` must be words"),
        ("{std: 0}", "`std` must be above 0"),
        ("{mean: [1, a]}", "`mean` must be a number"),
        ("{mean: true}", "`mean` must be a number"),
        ("{lables: [a]}", "labels"),
        ("{description: 3}", "description"),
    ],
)
def test_what_is_impossible_is_told_with_its_line(tmp_path: Path, section: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        read(tmp_path, f"metadata: {section}\n")
    assert message in str(raised.value)
    assert "exp.yaml line 3" in str(raised.value)


def test_a_run_is_still_read_when_its_labels_are_gone(tmp_path: Path) -> None:
    parse_experiment(START + "metadata: {labels: nowhere.txt}\n", tmp_path / "exp.yaml")


def test_metadata_written_after_the_search_counts(tmp_path: Path) -> None:
    file = tmp_path / "exp.yaml"
    searched = parse_experiment(START + "tracking: off\n", file)
    assert present_experiment(searched) == searched  # the file is not there
    file.write_text(START + "metadata: {author: Me}\nsearch: {seed: 9}\n")
    present = present_experiment(searched)
    assert present.metadata == {"author": "Me"}
    assert present.tracking is not None
    assert present.seed == searched.seed


def test_a_file_that_became_another_experiment_has_nothing_to_say(tmp_path: Path) -> None:
    searched = parse_experiment(START, tmp_path / "exp.yaml")
    (tmp_path / "exp.yaml").write_text("model: other:f\ndata: m:g\nmetadata: {author: Me}\n")
    assert present_experiment(searched).metadata == {}
