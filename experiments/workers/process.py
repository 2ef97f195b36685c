"""The program a worker process runs: build one evaluator, then answer calls until told to stop.

Started by :mod:`paretune.experiments.workers.pool` as ``python -m paretune.experiments.workers.process FD PARENT
CPUS``, with everything TensorFlow reads at its import in the environment already. Over the socket FD come pickled
tuples; each is answered with one: ``(True, RESULT)`` or ``(False, EXCEPTION)``.
"""

import contextlib
import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from paretune.spaces.errors import ParetuneError
from paretune.spaces.results.evaluator import Evaluator

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0


def main() -> None:
    """Serve the coordinator that is named on the command line."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    _stay_on({int(cpu) for cpu in sys.argv[3].split(",")})
    faulthandler.enable()
    os.set_inheritable(descriptor, False)  # what the model's own code starts must not keep the line open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides what Ctrl-C means
    _die_with(parent)
    _be_the_first_to_go()
    # these mean that the coordinator is gone or wants no more
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError), Connection(descriptor) as line:
        _serve(line)
    # TensorFlow's threads can hang an orderly exit, and there is nothing left to put in order.
    sys.stdout.flush()
    os._exit(0)


def _serve(line: Connection) -> None:
    search_path, factory_and_settings = line.recv()
    sys.path[:] = search_path
    try:
        factory, settings = pickle.loads(factory_and_settings)  # noqa: S301  # from our own parent
        evaluator: Evaluator = factory(settings)
    except BaseException as error:
        line.send_bytes(_packed(False, _portable(error)))
        return
    line.send_bytes(_packed(True, None))
    while True:
        method, arguments = line.recv()
        line.send_bytes(_answer(evaluator, method, arguments))


def _answer(evaluator: Evaluator, method: str, arguments: tuple[Any, ...]) -> bytes:
    try:
        return _packed(True, getattr(evaluator, method)(*arguments))
    except BaseException as error:  # whatever it is, the coordinator decides what becomes of it
        return _packed(False, _portable(error))


def _packed(succeeded: bool, outcome: Any) -> bytes:
    return pickle.dumps((succeeded, outcome), protocol=pickle.HIGHEST_PROTOCOL)


def _portable(error: BaseException) -> BaseException:
    """Return the exception itself where it can travel, otherwise one that says the same."""
    if not isinstance(error, ParetuneError):
        traceback.print_exc()
        error.add_note("In the worker:\n" + "".join(traceback.format_exception(error)))
    # Only what the coordinator knows travels as itself: unpickling another class would import its module there, and
    # TensorFlow with it.
    is_known = isinstance(error, ParetuneError) or type(error).__module__ == "builtins"
    try:
        if is_known and type(pickle.loads(pickle.dumps(error))) is type(error):  # noqa: S301
            return error
    except Exception:
        traceback.print_exc()
    substitute = RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", ()):
        substitute.add_note(note)
    return substitute


def _die_with(parent: int) -> None:
    """End this process when its parent ends, however that happens.

    Linux sends the signal itself, even while this process is deep in native code; elsewhere a thread watches.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="watch-parent").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _stay_on(cpus: set[int]) -> None:
    """Keep all threads of this process, those of TensorFlow included, on these CPUs; before they start."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # they were taken from the machine since: any will do
            os.sched_setaffinity(0, cpus)


def _be_the_first_to_go() -> None:
    """Ask Linux to end this process rather than the coordinator when memory runs out."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the kernel chooses
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
