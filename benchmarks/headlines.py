"""What Paretune's headlines rest on: one table of claims, and what is measured of each.

Run ``python benchmarks/headlines.py`` for all rows, or name those you want: ``python benchmarks/headlines.py sizes``
(``--help`` lists them). Everything goes through the evaluator and the worker that a search uses, in one thread.

With ``--keep figures.jsonl`` every figure is kept as it comes, and the same command goes on where it was interrupted;
``--report-only`` prints what is there so far.

Claims, and where they stand:
    sizes: TensorFlow Lite, Model optimization, table of post-training quantization and quantization-aware training.
    classic: TensorFlow (2019), Train sparse TensorFlow models with Keras (sizes in MiB, zipped); TensorFlow (2019),
        Model Optimization Toolkit: float16 quantization halves model size (accuracy of MobileNet v2 and the like).
    lstm: TensorFlow Model Optimization, Trim insignificant weights, results of translation by LSTM (GNMT).
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import machine_text
from headline_bench import Line, Notebook, NotMeasured
from headline_files import classic, latency, rank, sizes
from headline_pairs import clusters, filters, lstm, qat

_ROWS: Mapping[str, Callable[[Notebook, Path], list[Line]]] = {
    "sizes": sizes,
    "classic": classic,
    "lstm": lstm,
    "clusters": clusters,
    "filters": filters,
    "qat": qat,
    "latency": latency,
    "rank": rank,
}
_COMMAND = "python benchmarks/headlines.py"


def main() -> None:
    """Measure the rows that the command line names and that are not kept, and print them as Markdown."""
    asked = _arguments()
    print(f"{machine_text(1)}\n", flush=True)
    print("| command | what | measured | claimed | verdict |\n|---|---|---|---|---|", flush=True)
    for name in asked.rows or _ROWS:
        with TemporaryDirectory(prefix="paretune-benchmark-") as folder:
            notebook = Notebook(row=name, file=asked.keep, may_measure=not asked.report_only)
            try:
                lines = _ROWS[name](notebook, Path(folder))
            except NotMeasured as missing:
                lines = [Line(what="not measured to the end", measured="", verdict=f"next is {missing}")]
        for line in lines:
            cells = (f"`{_COMMAND} {name}`", line.what, line.measured, line.claimed, line.verdict)
            print(f"| {' | '.join(cells)} |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the headlines rest on, row by row.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(_ROWS)}; all by default")
    parser.add_argument("--keep", type=Path, help="file of finished figures, which are not measured again")
    parser.add_argument("--report-only", action="store_true", help="measure nothing; report what --keep holds")
    asked = parser.parse_args()
    unknown = [name for name in asked.rows if name not in _ROWS]
    if unknown:
        parser.error(f"ROW must be of {', '.join(_ROWS)}, got '{unknown[0]}'")
    if asked.report_only and not asked.keep:
        parser.error("--report-only needs --keep")
    return asked


if __name__ == "__main__":
    main()
