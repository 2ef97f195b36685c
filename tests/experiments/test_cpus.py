from paretune.experiments import cpus
from paretune.experiments.cpus import cpus_of_worker


def test_no_two_workers_share_a_cpu_where_there_are_enough(monkeypatch) -> None:
    monkeypatch.setattr(cpus, "own_cpus", lambda: (2, 3, 5, 7))
    assert [cpus_of_worker(index, 2, 2) for index in range(2)] == [(2, 3), (5, 7)]
    assert [cpus_of_worker(index, 4, 1) for index in range(4)] == [(2,), (3,), (5,), (7,)]


def test_workers_that_do_not_fit_may_go_anywhere(monkeypatch) -> None:
    monkeypatch.setattr(cpus, "own_cpus", lambda: (2, 3, 5))
    assert cpus_of_worker(0, 2, 2) == cpus_of_worker(1, 2, 2) == (2, 3, 5)
    assert cpus_of_worker(0, 1, 2) == (2, 3, 5)
