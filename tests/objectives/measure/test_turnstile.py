"""Processes that work together, and one that measures alone."""

import multiprocessing
import time
from pathlib import Path

from paretune.objectives.measure.turnstile import Turnstile


def hold(folder: Path, kind: str, seconds: float, times: int, line) -> None:
    turnstile = Turnstile(folder)
    for _ in range(times):
        with getattr(turnstile, kind)():
            entered = time.monotonic()
            time.sleep(seconds)
            left = time.monotonic()
        line.send((entered, left))
    line.close()


def run(folder: Path, *holders: tuple[str, float, int]) -> list[list[tuple[float, float]]]:
    context = multiprocessing.get_context("spawn")
    lines, processes = [], []
    for holder in holders:
        mine, theirs = context.Pipe(duplex=False)
        processes.append(context.Process(target=hold, args=(folder, *holder, theirs)))
        processes[-1].start()
        theirs.close()
        lines.append((mine, holder[2]))
    times = [[line.recv() for _ in range(count)] for line, count in lines]
    for process in processes:
        process.join()
    return times


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def test_workers_work_at_the_same_time(tmp_path: Path) -> None:
    (first,), (second,) = run(tmp_path, ("working", 2.0, 1), ("working", 2.0, 1))
    assert overlap(first, second)


def test_whoever_measures_is_alone_although_others_never_pause(tmp_path: Path) -> None:
    busy, also_busy, alone = run(tmp_path, ("working", 0.05, 60), ("working", 0.05, 60), ("alone", 0.1, 5))
    assert not any(overlap(quiet, work) for quiet in alone for work in (*busy, *also_busy))
    # and it did get in while they were at it
    assert alone[0][0] < max(busy[-1][1], also_busy[-1][1])


def test_a_block_inside_a_block_and_a_turnstile_without_a_folder_let_everybody_through(tmp_path: Path) -> None:
    turnstile = Turnstile(tmp_path)
    with turnstile.working(), turnstile.working():
        pass
    with turnstile.alone(), turnstile.alone():
        pass
    with Turnstile(None).alone(), Turnstile(None).working():
        pass
