"""What a trial costs: the compiled engine against tfmot's own flow, and against plain tfmot, on the same policies.

The reference flow trains with tfmot and shares the rest of Paretune with the engine; the plain one is what people write
without Paretune (:mod:`plain`). All take the same steps.

Run ``python benchmarks/trial_cost.py`` (``--help`` lists the choices). Each model and flow has a process of its own,
with a worker's environment. Other measurements, each on resnet8:

* ``--paired 20``: accuracy of both flows on the same policies and seeds;
* ``--workers``: two workers against one, and a family of trials against its stem.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from cases import CASES
from figures import machine_report
from paired import compare_accuracy
from throughput import compare_workers, run_families
from trial_report import family_report, flows_report, paired_report, plain_report, workers_report
from trial_runs import call_apart, run_flow, run_plain

_PAIRED = "resnet8"
_MODELS = "resnet8,dscnn,mobilenetv2"


def main() -> None:
    """Measure what the command line asks for, and print."""
    asked = _arguments()
    print(machine_report(asked.threads), flush=True)
    with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
        scratch = Path(folder)
        if asked.paired:
            print(paired_report(compare_accuracy(_PAIRED, scratch, pairs=asked.paired)), flush=True)
        elif asked.workers:
            print(workers_report(compare_workers(_PAIRED, scratch, trials=asked.trials)), flush=True)
            for name in (_PAIRED, f"{_PAIRED}-demo"):
                families = call_apart(run_families, name, scratch, asked.families, threads=1)
                print(family_report(name, CASES[name], families), flush=True)
        else:
            for name in asked.models.split(","):
                print(_compare_flows(name, scratch, asked), flush=True)


def _compare_flows(name: str, scratch: Path, asked: argparse.Namespace) -> str:
    compiled, reference = (
        call_apart(
            run_flow,
            name,
            CASES[name].settings(scratch, engine=engine, threads=asked.threads),
            range(trials),
            threads=asked.threads,
        )
        for engine, trials in (
            ("compiled", max(asked.trials, asked.memory_trials, asked.plain_trials)),
            ("reference", asked.reference_trials),
        )
    )
    report = flows_report(name, CASES[name], compiled, reference, timed=asked.trials)
    if not asked.plain_trials:
        return report
    settings = CASES[name].settings(scratch, threads=asked.threads)
    candidates = compiled.candidates[: asked.plain_trials]
    plain, whole = (
        call_apart(run_plain, name, settings, candidates, is_whole, threads=asked.threads) for is_whole in (False, True)
    )
    return f"{report}\n{plain_report(plain, whole, compiled, timed=asked.trials)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a trial costs, with the compiled engine and without.")
    parser.add_argument("--models", default=_MODELS, help=f"of {', '.join(CASES)}; default {_MODELS}")
    parser.add_argument("--trials", type=int, default=20, help="timed trials of the compiled engine")
    parser.add_argument("--reference-trials", type=int, default=4, help="trials of tfmot's own flow, at least 1")
    parser.add_argument("--plain-trials", type=int, default=3, help="trials of plain tfmot; 0 leaves it out")
    parser.add_argument("--memory-trials", type=int, default=50, help="compiled trials over which memory is watched")
    parser.add_argument("--threads", type=int, default=1, help="threads of each process")
    parser.add_argument("--paired", type=int, default=0, metavar="PAIRS", help="compare accuracy instead, pair by pair")
    parser.add_argument("--workers", action="store_true", help="measure workers and families instead")
    parser.add_argument("--families", type=int, default=5, help="families measured with --workers")
    asked = parser.parse_args()
    unknown = [name for name in asked.models.split(",") if name not in CASES]
    if unknown:
        parser.error(f"--models must be of {', '.join(CASES)}, got '{unknown[0]}'")
    if min(asked.trials, asked.memory_trials) < 3 or asked.reference_trials < 1 or asked.families < 1:
        parser.error("--trials and --memory-trials must be at least 3, --reference-trials and --families at least 1")
    if asked.plain_trials < 0:
        parser.error("--plain-trials must not be negative")
    if asked.paired == 1 or asked.paired < 0:
        parser.error("--paired must be at least 2")
    return asked


if __name__ == "__main__":
    main()
