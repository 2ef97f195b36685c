import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.experiments.runs.folder import RunFolder, cache_folder, find_run
from paretune.spaces.errors import RunError

HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from paretune.experiments.runs.folder import RunFolder\n"
    "with RunFolder(Path(sys.argv[1])).lock():\n"
    "    print('held', flush=True); time.sleep(600)\n"
)


def make_run(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.make()
    folder.ledger.touch()
    return folder


def test_a_second_search_on_one_folder_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for _ in range(2):  # being refused does not take the lock away
            with (
                pytest.raises(RunError, match=rf"Another search is using {tmp_path} \(process {holder.pid}\)"),
                RunFolder(tmp_path).lock(),
            ):
                pass
        holder.send_signal(signal.SIGKILL)
    with RunFolder(tmp_path).lock():
        pass


def test_the_lock_is_free_again_after_the_block(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder(tmp_path).lock():
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"


def test_child_processes_do_not_inherit_the_lock(tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with RunFolder(tmp_path).lock():
            pass
    finally:
        child.kill()
        child.wait()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run").make()


def test_a_run_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "digits")
    assert find_run("digits", tmp_path / "runs") == folder
    assert find_run(str(folder.path), tmp_path / "elsewhere") == folder


def test_an_unknown_run_lists_the_known_ones_and_the_nearest(tmp_path: Path) -> None:
    for name in ("digits", "faces"):
        make_run(tmp_path / name)
    (tmp_path / "not_a_run").mkdir()
    with pytest.raises(RunError) as caught:
        find_run("digts", tmp_path)
    assert str(caught.value) == (
        f"There is no run 'digts'; known in {tmp_path} are digits, faces. Did you mean 'digits'?"
    )


def test_without_any_run_there_is_nothing_to_suggest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=f"There is no run 'digits'; there is none in {tmp_path}/runs."):
        find_run("digits", tmp_path / "runs")


def test_the_cache_is_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "paretune"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path.home() / ".cache" / "paretune"
