"""Classes of channels: those that can only be removed together, and those that must stay."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: One label for each position along the last axis of a tensor.
Labels = NDArray[np.int64]


@dataclass(slots=True)
class LabelClasses:
    """Labels of channels, united as they turn out to belong together (a union-find structure)."""

    _parents: list[int] = field(default_factory=list)
    _reasons: dict[int, str] = field(default_factory=dict)

    def fresh(self, count: int) -> Labels:
        """Return so many new labels, each a class of its own."""
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def fixed(self, count: int, reason: str) -> Labels:
        """Return so many new labels that must stay, all of one class."""
        label = self.fresh(1)
        self.fix(label, reason)
        return np.repeat(label, count)

    def fix(self, labels: Labels, reason: str) -> None:
        """Remember that these must stay, and why; the first reason counts."""
        for label in np.unique(labels).tolist():
            self._reasons.setdefault(self.root(label), reason)

    def unite(self, first: Labels, second: Labels) -> None:
        """Put labels at the same position into one class; both have the same length."""
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            kept, gone = self.root(one), self.root(other)
            if kept != gone:
                self._parents[gone] = kept
                if gone in self._reasons:
                    self._reasons.setdefault(kept, self._reasons.pop(gone))

    def root(self, label: int) -> int:
        """Return the label that stands for a class."""
        while self._parents[label] != label:
            self._parents[label] = self._parents[self._parents[label]]
            label = self._parents[label]
        return label

    def roots(self, labels: Labels) -> Labels:
        """Return the label that stands for the class of each."""
        return np.array([self.root(label) for label in labels.tolist()], dtype=np.int64)

    def why_fixed(self, labels: Labels) -> str:
        """Return why one of these must stay; empty where none must."""
        reasons = (self._reasons.get(root, "") for root in self.roots(labels).tolist())
        return next((reason for reason in reasons if reason), "")


def joined(parts: Sequence[Labels]) -> Labels:
    """Return labels one after the other."""
    return np.concatenate(list(parts))
