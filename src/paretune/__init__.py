"""Search for the best way to compress a trained Keras model.

::

    import paretune

    run = paretune.compress(model, (x, y), budget={"trials": 24})
    run.front()
    run.export("knee", "shipped")

Names load what they need when they are first used; importing the package loads next to nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paretune.experiments.face.compressing import compress as compress
    from paretune.experiments.face.run import Pick as Pick
    from paretune.experiments.face.run import Run as Run
    from paretune.experiments.face.run import open_run as open_run
    from paretune.spaces.errors import ParetuneError as ParetuneError

__version__ = version("paretune")

__all__ = ["ParetuneError", "Pick", "Run", "__version__", "compress", "open_run"]

_HOMES = {
    "ParetuneError": "paretune.spaces.errors",
    "Pick": "paretune.experiments.face.run",
    "Run": "paretune.experiments.face.run",
    "compress": "paretune.experiments.face.compressing",
    "open_run": "paretune.experiments.face.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
