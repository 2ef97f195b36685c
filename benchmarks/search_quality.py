"""How soon a search finds the front: Paretune's funnel against other samplers, on recorded tables.

Run ``python benchmarks/search_quality.py`` (``--help`` lists the choices). Every policy of a table was really trained
(see ``benchmarks/table/README.md``), so a search is replayed in seconds, with the training steps and the seconds that
it would have spent. Everybody starts from nothing, with 20 seeds each, and the same seeds; the profile, its proxies
and short trainings count as cost. A full trial is a policy whose file was measured after a full training, be it a
leaf that shares its trained weights with another or not.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "table"))  # its modules name each other
# one thread each: as many processes as there are cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from contenders import CONTENDERS, run_contender
from grids import GRIDS
from quality_report import attainment_picture, quality_report

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Replay what the command line asks for, and print."""
    asked = _arguments()
    courses = {}
    with ProcessPoolExecutor(asked.workers) as pool:
        tasks = {
            (table, name, seed): pool.submit(run_contender, table, name, seed, asked.trials)
            for table in asked.tables.split(",")
            for name in asked.contenders.split(",")
            for seed in range(asked.seeds if CONTENDERS[name].is_random else 1)
        }
        for key, task in tasks.items():
            courses[key] = task.result()
    if asked.keep:
        kept = [{"key": list(key), **asdict(course)} for key, course in courses.items()]
        asked.keep.write_text(json.dumps(kept))
    for table in asked.tables.split(","):
        own = {(name, seed): course for (of, name, seed), course in courses.items() if of == table}
        print(quality_report(table, own, trials=asked.trials), flush=True)
        if asked.picture:
            attainment_picture(table, own, asked.picture / f"attainment_{table}.png")


def _arguments() -> argparse.Namespace:
    able = [name for name, contender in CONTENDERS.items() if all(find_spec(each) for each in contender.needs)]
    parser = argparse.ArgumentParser(description="How soon a search finds the front, on recorded tables.")
    parser.add_argument("--tables", default=",".join(GRIDS), help=f"of {', '.join(GRIDS)}")
    parser.add_argument("--contenders", default=",".join(able), help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--seeds", type=int, default=20, help="of every contender that draws numbers")
    parser.add_argument("--trials", type=int, default=400, help="full trials after which a contender is stopped")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--keep", type=Path, help="write the courses to this JSON file")
    parser.add_argument("--picture", type=Path, help="draw attainment surfaces into this folder")
    asked = parser.parse_args()
    unknown = [name for name in asked.contenders.split(",") if name not in CONTENDERS]
    if unknown:
        parser.error(f"--contenders must be of {', '.join(CONTENDERS)}, got '{unknown[0]}'")
    return asked


if __name__ == "__main__":
    main()
