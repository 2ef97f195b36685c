"""How soon a search finds the front: Paretune's funnel against other samplers, on recorded tables.

Run ``python benchmarks/search_quality.py`` (``--help`` lists the choices). Every policy of a table was really trained
(see ``benchmarks/table/README.md``), so a search is replayed in seconds, with the training steps and the seconds that
it would have spent. Everybody starts from nothing, with 20 seeds each, and the same seeds; the profile, its proxies
and short trainings count as cost. A full trial is a policy whose file was measured after a full training, be it a
leaf that shares its trained weights with another or not.

With ``--keep courses.jsonl`` every finished search is kept at once, and the same command goes on where it was
interrupted; ``--report-only`` reports what is there so far. ``--until 0.98`` stops a search once it covers so much, so
that slow ones can be given as many trials as they need.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "table"))  # its modules name each other
# one thread each: as many processes as there are cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from contenders import CONTENDERS, run_contender
from grids import GRIDS
from quality_report import attainment_picture, quality_report
from replay import Course

#: Table, contender, seed, full trials at most, and the share of the volume at which it is stopped.
Key = tuple[str, str, int, int, float]


def main() -> None:
    """Replay what the command line asks for and has not been replayed before, and print."""
    asked = _arguments()
    tables = asked.tables.split(",")
    # contender by contender, so that what an interrupted comparison has kept can be compared
    keys = [
        (table, name, seed, asked.trials, asked.until)
        for name in asked.contenders.split(",")
        for table in tables
        for seed in range(asked.seeds if CONTENDERS[name].is_random else 1)
    ]
    courses = _kept(asked.keep) if asked.keep else {}
    if not asked.report_only:
        for key, course in _replayed([key for key in keys if key not in courses], asked.workers):
            courses[key] = course
            if asked.keep:
                _keep(asked.keep, key, course)
    for table in tables:
        own = {key[1:3]: courses[key] for key in keys if key[0] == table and key in courses}
        if own:
            print(quality_report(table, own, trials=asked.trials), flush=True)
        if own and asked.picture:
            attainment_picture(table, own, asked.picture / f"attainment_{table}.png")


def _replayed(keys: Sequence[Key], workers: int) -> Iterator[tuple[Key, Course]]:
    with ProcessPoolExecutor(workers) as pool:
        tasks = {pool.submit(run_contender, *key): key for key in keys}
        for task in as_completed(tasks):
            yield tasks[task], task.result()


def _kept(file: Path) -> dict[Key, Course]:
    lines = file.read_text().splitlines() if file.exists() else []
    return {tuple(kept.pop("key")): Course(**kept) for kept in map(json.loads, lines)}


def _keep(file: Path, key: Key, course: Course) -> None:
    with file.open("a") as kept:
        kept.write(json.dumps({"key": key, **asdict(course)}) + "\n")


def _arguments() -> argparse.Namespace:
    able = [name for name, contender in CONTENDERS.items() if all(find_spec(each) for each in contender.needs)]
    parser = argparse.ArgumentParser(description="How soon a search finds the front, on recorded tables.")
    parser.add_argument("--tables", default=",".join(GRIDS), help=f"of {', '.join(GRIDS)}")
    parser.add_argument("--contenders", default=",".join(able), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--seeds", type=int, default=20, help="of every contender that draws numbers")
    parser.add_argument("--trials", type=int, default=400, help="full trials after which a contender is stopped")
    parser.add_argument("--until", type=float, default=1.0, help="share of the hypervolume at which it is stopped too")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--keep", type=Path, help="file of finished courses, which are not replayed again")
    parser.add_argument("--report-only", action="store_true", help="replay nothing; report what --keep holds")
    parser.add_argument("--picture", type=Path, help="draw attainment surfaces into this folder")
    asked = parser.parse_args()
    unknown = [name for name in asked.contenders.split(",") if name not in CONTENDERS]
    if unknown:
        parser.error(f"--contenders must be of {', '.join(CONTENDERS)}, got '{unknown[0]}'")
    if asked.report_only and not asked.keep:
        parser.error("--report-only needs --keep")
    return asked


if __name__ == "__main__":
    main()
