import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from paretune.experiments.runs.ledger import SqlLedger, trial_folder
from paretune.experiments.runs.ledger_rows import SCHEMA_VERSION
from paretune.spaces.errors import RunError
from paretune.spaces.results.trial import TrialState
from tests.contracts.ledger import FullDiskContract, LedgerContract, a_measurement, completed, opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    ledger = SqlLedger.create(path)
    yield ledger
    ledger.close()


class TestSqlLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, path: Path) -> SqlLedger:
        return SqlLedger.create(path)

    @pytest.fixture
    def reopened(self, path: Path) -> Callable[[SqlLedger], SqlLedger]:
        # the first one is not closed: a process that crashes closes nothing
        return lambda _: SqlLedger.open(path)


class TestSqlLedgerOnAFullDisk(FullDiskContract):
    @pytest.fixture
    def ledger(self, path: Path) -> SqlLedger:
        return SqlLedger.create(path)

    @pytest.fixture
    def full_disk(self, monkeypatch: pytest.MonkeyPatch) -> Callable:
        @contextmanager
        def full() -> Iterator[None]:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", _no_space)
                yield

        return full


def _no_space(_descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_complete_trial_leaves_its_files_in_a_folder_of_its_own(ledger: SqlLedger, path: Path) -> None:
    closed = completed(ledger)
    folder = trial_folder(path.parent, closed.number)
    assert (folder / "model.tflite").read_bytes() == a_measurement().artifacts["model.tflite"]
    assert sorted(file.name for file in folder.iterdir()) == ["fidelity.json", "model.tflite", "policy.yaml"]


def test_a_full_disk_leaves_no_half_written_file(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = opened(ledger)
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(RunError, match=r"No space left in .* while writing model.tflite"):
        ledger.close_trial(replace(trial, state=TrialState.COMPLETE, measurement=a_measurement()))
    assert list(trial_folder(path.parent, trial.number).iterdir()) == []


def test_a_ledger_that_outgrows_the_disk_is_one_line_and_loses_nothing(ledger: SqlLedger) -> None:
    kept = completed(ledger)
    with ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(RunError, match="No space left"):
        ledger.remember({"long": "x" * 100_000})
    assert list(ledger.trials()) == [kept]


def test_a_reader_sees_what_a_writer_has_committed_and_cannot_write(ledger: SqlLedger, path: Path) -> None:
    closed = completed(ledger)
    running = opened(ledger, 0.2)
    reader = SqlLedger.read(path)
    assert list(reader.trials()) == [closed, running]
    with pytest.raises(RunError, match="readonly"):
        reader.add_seconds_searched(1.0)


def test_a_finished_run_reads_from_a_folder_that_cannot_be_written(ledger: SqlLedger, path: Path) -> None:
    closed = completed(ledger)
    ledger.close()
    assert [file.name for file in path.parent.glob("ledger*")] == [path.name]
    path.parent.chmod(0o500)
    try:
        assert list(SqlLedger.read(path).trials()) == [closed]
    finally:
        path.parent.chmod(0o700)


def test_what_was_committed_survives_the_kill_of_the_writer(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.contracts.ledger import completed, opened\n"
        "from paretune.experiments.runs.ledger import SqlLedger\n"
        "ledger = SqlLedger.create(Path(sys.argv[1])); completed(ledger); opened(ledger, 0.2)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], cwd=Path(__file__).parents[3], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert [trial.state for trial in SqlLedger.open(path).trials()] == [TrialState.COMPLETE, TrialState.INTERRUPTED]


def test_facts_about_the_run_are_replaced_by_key_and_survive(ledger: SqlLedger, path: Path) -> None:
    ledger.remember({"a": {"x": [1, None]}, "b": 1})
    ledger.remember({"b": 2})
    reader = SqlLedger.read(path)
    assert (reader.fact("a"), reader.fact("b"), reader.fact("c")) == ({"x": [1, None]}, 2, None)


def test_a_ledger_of_another_version_is_refused_in_one_line(ledger: SqlLedger, path: Path) -> None:
    ledger.remember({"schema": 99})
    ledger.close()
    with pytest.raises(RunError, match=rf"another version of Paretune \(schema 99, this one reads {SCHEMA_VERSION}\)"):
        SqlLedger.read(path)


@pytest.mark.parametrize("contents", [b"not a database at all " * 50, b""])
def test_a_file_that_is_no_ledger_is_refused_in_one_line(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    for way_in in (SqlLedger.open, SqlLedger.read):
        with pytest.raises(RunError) as caught:
            way_in(path)
        assert "\n" not in str(caught.value)


def test_a_missing_ledger_is_not_made_by_opening_it(path: Path) -> None:
    with pytest.raises(RunError, match="no run"):
        SqlLedger.open(path)
    assert not path.exists()


def test_a_trial_can_be_closed_only_once(ledger: SqlLedger) -> None:
    closed = completed(ledger)
    with pytest.raises(ValueError, match="trial 0 is complete, not running"):
        ledger.close_trial(closed)


def test_measurements_are_appended_never_changed(ledger: SqlLedger, path: Path) -> None:
    completed(ledger)
    ledger.record_test(0, {"accuracy": 0.9, "size_bytes": 5.0})
    ledger.record_test(0, {"accuracy": 0.8})
    [trial] = ledger.trials()
    assert dict(trial.test_values) == {"accuracy": 0.8, "size_bytes": 5.0}
    with sqlite3.connect(path) as connection:
        kinds = [kind for (kind,) in connection.execute("SELECT kind FROM measurements ORDER BY id")]
    assert kinds == ["validation", "test", "test"]
