"""The process of the oracles and how it ends; what stands in for Keras Tuner here proposes nothing, or breaks."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from paretune.search.advisers.keras_tuner_process import OracleProcess
from paretune.spaces.errors import ConfigurationError, RunError

NOISE = "import os, sys, time; print('loud'); print('loud', file=sys.stderr); os.system('echo loud');"
HANG = "time.sleep(60)"
DIE = "os.kill(os.getpid(), 9)"
STAND_IN = """
class RandomSearchOracle:
    def __init__(self, **arguments):
        self.trials = {}
    def populate_space(self, trial_id):
        return {"values": {}}
BayesianOptimizationOracle = HyperbandOracle = RandomSearchOracle
"""
QUESTION = {"oracle": "random", "arguments": {}, "seed": 1, "parameters": [], "trials": []}

StandIn = Callable[..., None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return what puts a package in the place of Keras Tuner that runs ``loading``, and ``asked`` at a question.

    Each run leaves its process's number in the file ``pid``.
    """

    def stand_in(loading: str = "", asked: str = "") -> None:
        package = tmp_path / "keras_tuner"
        (package / "engine").mkdir(parents=True)
        note = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
        names = "HyperParameters, Objective = dict, lambda *words: None"
        (package / "__init__.py").write_text(f"__version__ = '0'\n{NOISE}\n{note}\n{names}\n{loading}\n")
        (package / "oracles.py").write_text(STAND_IN)
        (package / "engine" / "__init__.py").touch()
        (package / "engine" / "trial.py").write_text(f"{NOISE}\nTrial = None\n{asked}\n")
        paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    return stand_in


@pytest.fixture
def process() -> Iterator[OracleProcess]:
    process = OracleProcess()
    yield process
    process.close()


@pytest.mark.parametrize(
    ("loading", "said"),
    [
        ("raise ImportError('no grpc\\nand much more')", "ImportError: no grpc."),
        ("sys.exit('not on this machine')", "its process ended with exit code 1 (not on this machine)."),
        ("os._exit(3)", "its process ended with exit code 3 (loud)."),
        (DIE, "its process was killed by SIGKILL."),
    ],
)
def test_a_process_that_cannot_start_says_why_in_one_line(
    stand_in: StandIn, process: OracleProcess, capfd: pytest.CaptureFixture[str], loading: str, said: str
) -> None:
    stand_in(loading)
    with pytest.raises(ConfigurationError) as caught:
        process.ask(QUESTION)
    assert str(caught.value) == (f"Keras Tuner cannot be used: {said} Mend its installation, or take another sampler.")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_missing_interpreter_is_told_like_any_other_start_that_fails(
    process: OracleProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match=r"Keras Tuner cannot be used: .*No such file.*'/nowhere/python'"):
        process.ask({})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("raise ValueError('math domain error\\nand more')", "ValueError: math domain error."),
        (DIE, "its process was killed by SIGKILL."),
        ("os._exit(3)", "its process ended with exit code 3 (loud)."),
    ],
)
def test_a_process_that_is_lost_says_why_in_one_line_and_is_replaced_at_the_next_question(
    stand_in: StandIn, process: OracleProcess, capfd: pytest.CaptureFixture[str], asked: str, said: str
) -> None:
    stand_in(asked=asked)
    for _ in range(2):
        with pytest.raises(RunError) as caught:
            process.ask(QUESTION)
        assert str(caught.value) == f"Keras Tuner is lost: {said} Run the command again to go on from here."
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_process_that_hangs_is_ended(stand_in: StandIn) -> None:
    process = OracleProcess(patience_seconds=1.0)
    stand_in(HANG)
    before = psutil.Process().children()
    with pytest.raises(ConfigurationError, match=r"its process gave no answer within 1 s\."):
        process.ask(QUESTION)
    assert psutil.Process().children() == before


def test_the_process_ends_with_a_search_that_is_killed_even_in_the_middle_of_its_work(
    stand_in: StandIn, tmp_path: Path
) -> None:
    written = tmp_path / "pid"
    stand_in(HANG)
    ask = "from paretune.search.advisers.keras_tuner_process import OracleProcess; OracleProcess().ask({})"
    with subprocess.Popen([sys.executable, "-c", ask]) as search:
        wait_for(lambda: written.exists() and written.read_text() != "")
        search.kill()
    process_id = int(written.read_text())
    wait_for(lambda: is_gone(process_id))


def test_one_process_answers_until_it_is_closed_or_forgotten(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in()
    process = OracleProcess()
    process_ids = []
    for end in (process.close, lambda: None):
        assert process.ask(QUESTION) == process.ask(QUESTION) == []
        process_ids.append(int((tmp_path / "pid").read_text()))
        assert not is_gone(process_ids[-1])
        end()
    assert is_gone(process_ids[0])
    del process, end
    assert is_gone(process_ids[1])
    assert process_ids[0] != process_ids[1]


def is_gone(process_id: int) -> bool:
    """Return whether a process has ended, be it that nobody has asked how."""
    try:
        return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return once a condition holds; fail when it takes too long."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)
