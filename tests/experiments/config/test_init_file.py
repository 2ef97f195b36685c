from pathlib import Path

import pytest

from paretune.experiments.config.experiment import parse_experiment, read_experiment
from paretune.experiments.config.init_file import experiment_text, write_experiment
from paretune.spaces.errors import ConfigurationError


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("model.keras", "data.npz"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_runs_as_it_is(workplace: Path) -> None:
    written = write_experiment(Path("mine.yaml"), model="model.keras", data="data.npz")
    experiment = read_experiment(written)
    assert (experiment.name, experiment.model, experiment.data) == ("mine", "model.keras", "data.npz")
    assert experiment.budget.trials == 24


def test_paths_are_seen_from_the_folder_of_the_file(workplace: Path) -> None:
    experiment = read_experiment(write_experiment(Path("deep/er/mine.yaml"), model="./model.keras", data="data.npz"))
    assert (experiment.model, experiment.data) == ("../../model.keras", "../../data.npz")
    assert (experiment.file.parent / experiment.model).samefile(workplace / "model.keras")


def test_functions_and_data_sets_by_name_stay_as_they_are(workplace: Path) -> None:
    experiment = read_experiment(write_experiment(Path("mine.yaml"), model="my_module:build", data="keras:mnist"))
    assert (experiment.model, experiment.data) == ("my_module:build", "keras:mnist")


def test_a_file_that_is_there_is_kept_unless_forced(workplace: Path) -> None:
    target = Path("mine.yaml")
    target.write_text("precious")
    with pytest.raises(ConfigurationError, match="--force"):
        write_experiment(target, model="model.keras", data="data.npz")
    assert target.read_text() == "precious"
    write_experiment(target, model="model.keras", data="data.npz", force=True)
    assert read_experiment(target).model == "model.keras"


def test_a_model_that_is_not_there_writes_nothing(workplace: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"The model must be .* got 'modle.keras'"):
        write_experiment(Path("mine.yaml"), model="modle.keras", data="data.npz")
    assert not Path("mine.yaml").exists()


@pytest.mark.parametrize(
    "name",
    ["a b.keras", "12", "true", "no", "it's.h5", 'say "hi".h5', "ünï.h5", "-x", "a: b", "a #b", "{x}", "*x", "x:"],
)
def test_awkward_names_read_back_as_they_are(name: str) -> None:
    text = experiment_text(model=name, data="d:f", name="mine")
    assert parse_experiment(text, Path("mine.yaml")).model == name


def test_what_is_commented_out_works_when_it_is_not() -> None:
    text = experiment_text(model="m:f", data="d:f", name="mine")
    commented = {"# task:", "# layers:", "# groups:", "# pinned:", "# constraints:", "#   metric:", "#   size_bytes:",
                 "# workers:", "# threads:"}  # fmt: skip
    for line in commented:
        assert line in text
        text = text.replace(line, line.replace("# ", "", 1) if not line.startswith("#   ") else line[1:])
    experiment = parse_experiment(text, Path("mine.yaml"))
    assert (experiment.task, experiment.workers, experiment.threads) == ("classification", 2, 1)
    assert [str(constraint) for constraint in experiment.constraints] == ["metric drop 0.02", "size_bytes 0.25x"]
    assert set(experiment.space.pinned) == {"stem"}
