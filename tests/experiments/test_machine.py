"""Which CPUs a worker gets, and how many workers fit."""

import pytest

from paretune.experiments import machine
from paretune.experiments.machine import cpus_of_worker, workers_that_fit


def test_no_two_workers_share_a_cpu_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "own_cpus", lambda: (2, 3, 5, 7))
    assert [cpus_of_worker(index, 2, 2) for index in range(2)] == [(2, 3), (5, 7)]
    assert [cpus_of_worker(index, 4, 1) for index in range(4)] == [(2,), (3,), (5,), (7,)]


def test_workers_that_do_not_fit_may_go_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "own_cpus", lambda: (2, 3, 5))
    assert cpus_of_worker(0, 2, 2) == cpus_of_worker(1, 2, 2) == (2, 3, 5)
    assert cpus_of_worker(0, 1, 2) == (2, 3, 5)


@pytest.mark.parametrize(
    ("cpus", "gigabytes", "threads", "fitting"),
    [(8, 64, 1, 8), (8, 64, 2, 4), (8, 7, 1, 3), (1, 1, 4, 1)],
)
def test_as_many_workers_fit_as_cpus_and_memory_allow(
    monkeypatch: pytest.MonkeyPatch, cpus: int, gigabytes: int, threads: int, fitting: int
) -> None:
    monkeypatch.setattr(machine, "own_cpus", lambda: tuple(range(cpus)))
    monkeypatch.setattr(machine, "machine_bytes", lambda: gigabytes * 2**30)
    assert workers_that_fit(threads) == fitting
