"""What of this machine a search may use, and which worker gets what."""

import os
from pathlib import Path

import psutil

#: What a worker takes with TensorFlow, a small model and its compiled stages loaded, and some room.
_BYTES_A_WORKER = 2 * 2**30


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


def workers_that_fit(threads: int) -> int:
    """Return how many workers of so many threads the CPUs and the memory have room for, at least one."""
    return max(1, min(len(own_cpus()) // threads, machine_bytes() // _BYTES_A_WORKER))


def machine_bytes() -> int:
    """Return the memory this process may use: the machine's, or less in a container."""
    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdecimal() else total
