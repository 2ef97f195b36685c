"""The stages that have been trained before, by content: a stem is trained once and serves many trials.

A stage is addressed by all that decides its weights: model, data and versions (the root), what every stage before it
was asked, and its own share of the policy. Candidates that differ only in what comes later share it: one pruned stem
serves many cluster counts, one clustered stem every number format that needs no training.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from paretune.objectives.cache_entries import read_entry, write_entry
from paretune.objectives.kernels.weights import LayerWeights, pack_weights, unpack_weights
from paretune.objectives.pipeline.stages import StageTask
from paretune.objectives.settings import MOST_STAGE_BYTES
from paretune.spaces.candidates.recipe import stage_share
from paretune.spaces.policies.policy import digest_of

_SUFFIX = ".stage"


@dataclass(frozen=True, slots=True)
class StageTree:
    """Trained stages in a folder, the least recently used of which go when they take too much room.

    Attributes:
        root: What all stages share: model, data, versions, ... as plain data.
        folder: Where they are kept; ``None`` keeps nothing.
        most_bytes: Room for all of them.
    """

    root: Mapping[str, Any]
    folder: Path | None = None
    most_bytes: int = MOST_STAGE_BYTES

    def branch(self, tasks: Sequence[StageTask]) -> "Branch":
        """Return the way from the root over the stages of a candidate."""
        keys, above = [], digest_of(dict(self.root))
        for task in tasks:
            share = stage_share(task.stage, task.policy)
            above = digest_of([above, task.stage, asdict(task.recipe), task.steps, task.seed, share])
            keys.append(above)
        return Branch(self, tuple(keys))

    def sweep(self) -> None:
        """Remove the least recently used stages until the others fit into the room there is."""
        if self.folder is None:
            return
        entries = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another worker swept it
                facts = path.stat()
                entries.append((facts.st_mtime, facts.st_size, path))
        excess = sum(size for _, size, _ in entries) - self.most_bytes
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key[:40]}{_SUFFIX}"


@dataclass(frozen=True, slots=True)
class Branch:
    """The stages of one candidate in a tree, the first one first."""

    tree: StageTree
    keys: tuple[str, ...]

    def deepest_known(self) -> tuple[int, LayerWeights | None]:
        """Return how many stages need no training, and the weights after the last of them."""
        for number in range(len(self.keys) - 1, -1, -1):
            path = self.tree._path(self.keys[number])
            contents = None if path is None else read_entry(path)
            if path is not None and contents is not None:
                with contextlib.suppress(OSError):
                    path.touch()  # used just now
                return number + 1, unpack_weights(contents)
        return 0, None

    def keep(self, number: int, weights: LayerWeights) -> None:
        """Keep the weights after a stage; where they cannot be written, they are trained again when needed."""
        path = self.tree._path(self.keys[number])
        if path is not None:
            with contextlib.suppress(OSError):
                write_entry(path, pack_weights(weights))
                self.tree.sweep()
