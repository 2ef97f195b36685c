"""Objectives by functions of the user's own."""

import pytest

from paretune.objectives.costs.asked import AskedObjectives, require_free_names
from paretune.objectives.costs.file_function import file_function
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.errors import ConfigurationError, Infeasible, MeasurementFailed
from paretune.spaces.results.objective import Direction, FileFunction, Objective

SOURCE = """
from pathlib import Path

from paretune.spaces.errors import Infeasible


def length(model):
    return len(model)


def on_disk(path):
    assert path.suffix == ".tflite"
    return len(Path(path).read_bytes()) + 0.5


def broken(model):
    raise KeyError("no such sensor")


def impossible(model):
    raise Infeasible("the bootloader takes no more than 1 kB")


def infinite(model):
    return float("inf")


def wordy(model):
    return "fast"


def negative(model):
    return -1


def thoughtless():
    return 1
"""


@pytest.fixture
def beside(tmp_path):
    (tmp_path / "boards.py").write_text(SOURCE)
    return tmp_path


def declared(function, name="boot_ms", *, log=False):
    objective = Objective(name=name, direction=Direction.MINIMIZE, unit="ms", log=log)
    return FileFunction(objective=objective, function=f"boards:{function}")


@pytest.mark.parametrize(("function", "value"), [("length", 6.0), ("on_disk", 6.5)])
def test_a_function_takes_the_contents_of_the_file_or_its_path(beside, function, value):
    assert file_function(declared(function), beside)(b"a file") == value


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        ("broken", MeasurementFailed, r"Objective 'boot_ms' \(boards:broken\) failed: KeyError: 'no such sensor'"),
        ("impossible", Infeasible, r"Objective 'boot_ms' \(boards:impossible\): the bootloader takes no more"),
        ("infinite", MeasurementFailed, r"\(boards:infinite\) must return a finite number, got inf"),
        ("wordy", MeasurementFailed, r"\(boards:wordy\) must return one number, got 'fast'"),
        ("negative", MeasurementFailed, r"\(boards:negative\) must return a number above 0, for `log: true`"),
    ],
)
def test_what_goes_wrong_is_told_with_the_name_of_the_function(beside, function, error, message):
    with pytest.raises(error, match=message):
        file_function(declared(function, log=True), beside)(b"a file")


def test_a_function_that_takes_nothing_is_refused_before_anything_is_measured(beside):
    with pytest.raises(ConfigurationError, match=r"'boards:thoughtless' must take the contents of a file"):
        file_function(declared("thoughtless"), beside)


def asked_in(beside, *functions):
    settings = EvaluatorSettings(model="", data="", beside=str(beside), functions=functions)
    return settings, AskedObjectives(settings, lambda model: model)


def test_the_source_of_a_function_goes_into_the_fingerprint(beside):
    _, asked = asked_in(beside, declared("length"))
    assert asked.of_file(b"a file") == {"boot_ms": 6.0}
    before = asked.fingerprint()
    (beside / "boards.py").write_text(SOURCE.replace("len(model)", "len(model) + 1"))
    after = asked_in(beside, declared("length"))[1].fingerprint()
    assert list(before) == list(after) == ["objective boot_ms"]
    assert before != after


def test_a_function_may_not_take_the_name_of_the_metric(beside):
    settings, _ = asked_in(beside, declared("length", "accuracy"))
    with pytest.raises(ConfigurationError, match=r"Objective 'accuracy' \(boards:length\) needs another name"):
        require_free_names(settings, "accuracy")
