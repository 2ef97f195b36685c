import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from paretune.experiments.workers.pool import WorkerPool
from paretune.objectives.settings import EvaluatorSettings
from paretune.spaces.candidates.candidate import Candidate, Limit
from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.errors import DataError, Infeasible, LimitReached, MeasurementFailed, RunError, WorkerLost
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.results.evaluator import Split
from tests.experiments import evaluators as scripted
from tests.fakes import AnalyticEvaluator

ROOT = Path(__file__).parents[3]


def candidate(behaviour: int = scripted.MEASURE) -> Candidate:
    evaluator = AnalyticEvaluator()
    policy = Policy(tuple((spec.name, LayerPolicy(sparsity=0.5)) for spec in evaluator.layers))
    return Candidate(architecture=evaluator.describe().architecture, recipe=Recipe(), policy=policy, seed=behaviour)


@pytest.fixture
def open_pool(tmp_path: Path) -> Iterator[Callable[..., WorkerPool]]:
    pools: list[WorkerPool] = []

    def open_one(workers: int = 1, **options: Any) -> WorkerPool:
        settings = EvaluatorSettings(model=str(tmp_path / "built"), data="", beside=str(tmp_path), threads=2)
        options = {"build": scripted.build, **options}
        pools.append(WorkerPool(settings, workers, tmp_path / "worker.log", **options).__enter__())
        return pools[-1]

    yield open_one
    for pool in pools:
        pool.__exit__(None, None, None)


def evaluate(pool: WorkerPool, behaviour: int = scripted.MEASURE, seconds: float | None = 60.0) -> Any:
    return pool.submit(candidate(behaviour), Rung.FULL, Limit(seconds=seconds)).result(timeout=60)


def gone(process: int) -> bool:
    until = time.monotonic() + 10
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def test_a_measurement_crosses_the_process_boundary_whole(open_pool: Callable[..., WorkerPool]) -> None:
    pool, here = open_pool(), AnalyticEvaluator()
    measured = evaluate(pool)
    expected = here.evaluate(candidate(), Rung.FULL, Limit())
    assert measured.values == expected.values
    assert measured.fidelity == expected.fidelity
    assert measured.artifacts == expected.artifacts
    assert measured.details["pid"] != os.getpid()


def test_description_baseline_and_remeasuring_come_from_a_worker(open_pool: Callable[..., WorkerPool]) -> None:
    pool, here = open_pool(), AnalyticEvaluator()
    assert pool.describe() == here.describe()
    assert pool.baseline() == here.baseline()
    assert pool.remeasure(b"12345", Split.TEST) == {"accuracy": 0.5, "size_bytes": 5.0}


def test_one_evaluator_serves_many_trials(open_pool: Callable[..., WorkerPool], tmp_path: Path) -> None:
    pool = open_pool(workers=2, build=scripted.build_and_count)
    pool.describe()
    assert {evaluate(pool).details["pid"] for _ in range(4)} == set(pool.process_ids)
    assert (tmp_path / "built").read_text() == "built\n"


def test_two_workers_evaluate_at_the_same_time(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool(workers=2)
    futures = [pool.submit(candidate(scripted.SLOW), Rung.FULL, Limit()) for _ in range(2)]
    assert len({future.result(timeout=60).details["pid"] for future in futures}) == 2


@pytest.mark.parametrize(
    ("behaviour", "kind", "words"),
    [
        (scripted.INFEASIBLE, Infeasible, "no such policy"),
        (scripted.UNMEASURED, MeasurementFailed, "no interpreter"),
        (scripted.LIMIT, LimitReached, "after 5 s"),
    ],
)
def test_what_an_evaluator_raises_arrives_as_itself_and_the_worker_stays(
    open_pool: Callable[..., WorkerPool], behaviour: int, kind: type[Exception], words: str
) -> None:
    pool = open_pool()
    pool.describe()
    before = pool.process_ids
    with pytest.raises(kind, match=words):
        evaluate(pool, behaviour)
    assert pool.process_ids == before


def test_a_bug_arrives_as_itself_with_the_worker_s_traceback(open_pool: Callable[..., WorkerPool]) -> None:
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        evaluate(open_pool(), scripted.BUG)
    assert "_misbehave" in "".join(caught.value.__notes__)


def test_an_exception_that_cannot_travel_is_told_in_words(open_pool: Callable[..., WorkerPool]) -> None:
    with pytest.raises(RuntimeError, match="AwkwardError: this and that"):
        evaluate(open_pool(), scripted.AWKWARD_BUG)


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (scripted.KILL, "killed by SIGKILL, perhaps because memory ran out"),
        (scripted.EXIT, "ended with exit code 3"),
        (scripted.RUN_OUT, "ran out of memory"),
    ],
)
def test_a_dying_worker_costs_one_trial(open_pool: Callable[..., WorkerPool], behaviour: int, words: str) -> None:
    pool = open_pool()
    with pytest.raises(WorkerLost, match=words):
        evaluate(pool, behaviour)
    assert evaluate(pool).values


def test_a_hanging_worker_is_killed_and_replaced(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool(grace_seconds=0.2)
    pool.describe()
    [hanging] = pool.process_ids
    with pytest.raises(WorkerLost, match=r"hung: no answer within 0\.3 s"):
        evaluate(pool, scripted.HANG, seconds=0.1)
    assert gone(hanging)
    assert evaluate(pool).details["pid"] != hanging


def test_a_worker_killed_between_two_trials_costs_none(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool()
    pool.describe()
    [idle] = pool.process_ids
    os.kill(idle, signal.SIGKILL)
    os.waitid(os.P_PID, idle, os.WEXITED | os.WNOWAIT)
    assert evaluate(pool).details["pid"] != idle


def test_a_grown_worker_is_replaced_between_two_trials(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool(growth_bytes=20_000_000)
    pool.describe()
    small = evaluate(pool).details["pid"]
    assert evaluate(pool).details["pid"] == small
    assert evaluate(pool, scripted.GROW).details["pid"] == small
    assert evaluate(pool).details["pid"] != small


def test_cancelling_a_running_trial_ends_its_worker_alone(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool()
    pool.describe()
    [worker] = pool.process_ids
    future = pool.submit(candidate(scripted.HANG), Rung.FULL, Limit())
    while not future.running():
        time.sleep(0.01)
    queued = pool.submit(candidate(), Rung.FULL, Limit())
    assert future.cancel()
    assert not wait([future], timeout=20).not_done
    with pytest.raises(CancelledError):
        future.result()
    assert gone(worker)
    assert queued.result(timeout=30).values


def test_a_trial_cancelled_before_it_started_disturbs_nobody(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool()
    running = pool.submit(candidate(scripted.SLOW), Rung.FULL, Limit())
    queued = pool.submit(candidate(scripted.KILL), Rung.FULL, Limit())
    assert queued.cancel()
    assert running.result(timeout=30).values
    assert evaluate(pool).values


def test_closing_the_pool_leaves_no_process_and_no_waiting_future(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool(workers=2)
    futures = [pool.submit(candidate(scripted.HANG), Rung.FULL, Limit()) for _ in range(3)]
    while len(pool.process_ids) < 2:
        time.sleep(0.01)
    workers = pool.process_ids
    pool.__exit__(None, None, None)
    assert not wait(futures, timeout=10).not_done
    assert all(future.cancelled() for future in futures)
    assert all(gone(worker) for worker in workers)
    with pytest.raises(RuntimeError, match="not open"):
        pool.describe()


def test_what_is_wrong_with_model_or_data_reaches_the_coordinator_as_its_one_line(
    open_pool: Callable[..., WorkerPool],
) -> None:
    pool = open_pool(build=scripted.refuse)
    for _ in range(2):
        with pytest.raises(DataError, match=r"^Labels must be in 0\.\.9, got 12\.$"):
            pool.describe()


def test_workers_that_die_while_loading_end_the_search_after_three(
    open_pool: Callable[..., WorkerPool], tmp_path: Path
) -> None:
    pool = open_pool(build=scripted.die)
    for _ in range(2):
        with pytest.raises(WorkerLost, match="while loading the model and the data: killed by SIGSEGV"):
            pool.describe()
    with pytest.raises(RunError, match=r"3 in a row .*worker\.log may tell why"):
        pool.describe()
    assert "Segmentation fault" in (tmp_path / "worker.log").read_text()


def test_a_worker_that_hangs_while_loading_is_told_as_such(open_pool: Callable[..., WorkerPool]) -> None:
    with pytest.raises(WorkerLost, match="while loading the model and the data: hung"):
        open_pool(build=scripted.hang, patience_seconds=1.0).describe()


def test_a_pool_closes_at_once_while_a_worker_is_loading(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool(build=scripted.hang)
    future = pool.submit(candidate(), Rung.FULL, Limit())
    while not pool.process_ids:
        time.sleep(0.01)
    started = time.monotonic()
    pool.__exit__(None, None, None)
    assert time.monotonic() - started < 5
    assert future.cancelled()


def test_what_a_worker_prints_goes_to_the_log(
    open_pool: Callable[..., WorkerPool], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evaluate(open_pool(), scripted.PRINT)
    log = (tmp_path / "worker.log").read_text()
    assert "said in a worker" in log
    assert "said below Python" in log
    assert capfd.readouterr() == ("", "")


def test_workers_are_started_with_what_tensorflow_reads_at_import(
    open_pool: Callable[..., WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_USE_LEGACY_KERAS", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # as a user's own program may
    seen = evaluate(open_pool()).details["environment"]
    wanted = {
        "KERAS_BACKEND": "tensorflow",
        "TF_USE_LEGACY_KERAS": "1",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    assert {key: seen[key] for key in wanted} == wanted
    assert (seen["OMP_NUM_THREADS"], seen["TF_NUM_INTRAOP_THREADS"]) == ("2", "2")
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_workers_do_not_hear_ctrl_c(open_pool: Callable[..., WorkerPool]) -> None:
    pool = open_pool()
    assert evaluate(pool, scripted.CTRL_C).values
    assert os.getpgid(pool.process_ids[0]) != os.getpgid(0)  # the terminal sends it to a group


def test_a_killed_coordinator_leaves_no_worker(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from paretune.experiments.workers.pool import WorkerPool\n"
        "from paretune.objectives.settings import EvaluatorSettings\n"
        "from paretune.spaces.candidates.candidate import Limit\n"
        "from paretune.spaces.candidates.rung import Rung\n"
        "from tests.experiments import evaluators\n"
        "from tests.experiments.workers.test_workers import candidate\n"
        "folder = Path(sys.argv[1])\n"
        "settings = EvaluatorSettings(model='', data='', beside='')\n"
        "with WorkerPool(settings, 2, folder / 'log', build=evaluators.build) as pool:\n"
        "    pool.describe()\n"
        "    for _ in range(2): pool.submit(candidate(evaluators.HANG), Rung.FULL, Limit())\n"
        "    while len(pool.process_ids) < 2: time.sleep(0.01)\n"
        "    print(*pool.process_ids, flush=True); time.sleep(600)\n"
    )
    coordinator = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with coordinator:
        assert coordinator.stdout is not None
        workers = [int(word) for word in coordinator.stdout.readline().split()]
        coordinator.kill()
    assert len(workers) == 2
    assert all(gone(worker) for worker in workers)
