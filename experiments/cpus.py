"""The CPUs this process may use, and who gets which."""

import os


def own_cpus() -> tuple[int, ...]:
    """Return the numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def cpus_of_worker(index: int, workers: int, threads: int) -> tuple[int, ...]:
    """Return the CPUs of one of several workers, so that none takes another's; all of them where they do not suffice.

    Args:
        index: Of the worker, from 0.
        workers: How many there are.
        threads: Of each worker.
    """
    cpus = own_cpus()
    if workers == 1 or workers * threads > len(cpus):
        return cpus
    return cpus[index * threads : (index + 1) * threads]
