"""What a policy costs to train, given what has been trained: stems are shared."""

from collections.abc import Sequence

import numpy as np

from paretune.search.additive.encoding import Encoding, IntArray
from paretune.search.front import FloatArray
from paretune.search.settings import SearchProblem
from paretune.spaces.candidates.recipe import STAGES
from paretune.spaces.candidates.rung import Rung
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.trial import Trial, TrialState

#: What a trial costs beside its training steps, as a share of those of all stages.
_OVERHEAD = 0.15


class TrainingCost:
    """Keeps book of the stages that were trained, and tells what a candidate would add.

    A stage depends on what the policy decides for it and for the stages before it, as in the stage tree.

    Args:
        problem: The recipe, and the number of training samples.
        encoding: The space.
    """

    def __init__(self, problem: SearchProblem, encoding: Encoding) -> None:
        self._encoding = encoding
        samples = problem.description.samples.get("train", 1)
        steps = np.array([getattr(problem.recipe, stage).steps(samples) for stage in STAGES], dtype=np.float64)
        self._codes = [_stage_codes(encoding, unit) for unit in range(len(encoding.units))]
        self._alike = [[_others_alike(codes, option) for option in range(len(codes))] for codes in self._codes]
        self._always_needed = np.array([stage in encoding.pinned_stages for stage in STAGES])
        is_possible = np.any([(codes > 0).any(axis=0) for codes in self._codes], axis=0) | self._always_needed
        self._shares = steps / max(1.0, steps[is_possible].sum())
        self._trained: set[bytes] = set()

    def tell(self, row: Sequence[int], trial: Trial) -> None:
        """Take note of what a complete trial has trained."""
        if trial.state is TrialState.COMPLETE and trial.rung is Rung.FULL:
            rows = np.array([row], dtype=np.int64)
            self._trained.update(key for keys in self._stage_keys(rows) for key in keys if key)

    def of(self, rows: IntArray) -> FloatArray:
        """Return what each candidate costs, as a share of a trial with all its stages; never 0."""
        costs = np.full(len(rows), _OVERHEAD)
        for place, keys in enumerate(self._stage_keys(rows)):
            costs[place] += sum(
                share for share, key in zip(self._shares, keys, strict=True) if key and key not in self._trained
            )
        return costs

    def is_leaf(self, row: Sequence[int]) -> bool:
        """Return whether a candidate needs stages, and all of them have been trained."""
        keys = [key for key in next(iter(self._stage_keys(np.array([row], dtype=np.int64)))) if key]
        return bool(keys) and all(key in self._trained for key in keys)

    def leaves(self, rows: Sequence[Sequence[int]]) -> IntArray:
        """Return what differs from each of ``rows`` in the number format of one unit, and trains nothing more."""
        found: list[list[int]] = []
        for row in rows:
            for unit, alike in enumerate(self._alike):
                found += [[*row[:unit], option, *row[unit + 1 :]] for option in alike[row[unit]]]
        return np.array(found, dtype=np.int64).reshape(len(found), len(self._codes))

    def _stage_keys(self, rows: IntArray) -> list[list[bytes]]:
        """Return for each row, stage by stage, what the stage depends on; empty where it is not needed."""
        codes = np.stack([codes[rows[:, unit]] for unit, codes in enumerate(self._codes)], axis=1)
        needed = np.any(codes > 0, axis=1) | self._always_needed
        return [
            [
                bytes([stage]) + codes[place, :, : stage + 1].tobytes() if needed[place, stage] else b""
                for stage in range(len(STAGES))
            ]
            for place in range(len(rows))
        ]


def _others_alike(codes: IntArray, option: int) -> list[int]:
    """Return the other options that decide the same for every stage."""
    return [int(other) for other in np.flatnonzero((codes == codes[option]).all(axis=1)) if other != option]


def _stage_codes(encoding: Encoding, unit: int) -> IntArray:
    """Return a number for what each option decides for each stage, shape (options, stages); 0 leaves it out."""
    codes: list[list[int]] = []
    seen: list[dict[tuple[object, ...], int]] = [{} for _ in STAGES]
    for option in encoding.units[unit].options:
        shares: list[tuple[object, ...]] = [
            tuple((each.channels, each.rank) if each.channels < 1 or each.rank else 0 for each in option.decided),
            tuple(decided.sparsity for decided in option.decided),
            tuple(decided.clusters or 0 for decided in option.decided),
            tuple(decided.quantization is Quantization.INT8_QAT for decided in option.decided),
        ]
        row = []
        for stage, share in enumerate(shares):
            row.append(seen[stage].setdefault(share, len(seen[stage]) + 1) if any(share) else 0)
        codes.append(row)
    return np.array(codes, dtype=np.int64)
