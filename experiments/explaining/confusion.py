"""Which rows a compressed file gets wrong that the uncompressed one got right, and the other way round."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: Kinds of new mistakes that are worth listing.
_MOST_MISTAKES = 10


@dataclass(frozen=True, slots=True)
class ClassChange:
    """One class, before and after.

    Attributes:
        name: Of the class.
        rows: That are of this class.
        right_before: How many of them the uncompressed file got right.
        right_after: How many the compressed one gets right.
        lost: Right before, wrong now.
        gained: Wrong before, right now.
    """

    name: str
    rows: int
    right_before: int
    right_after: int
    lost: int
    gained: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """What has changed between two files' answers.

    Attributes:
        classes: By label.
        mistakes: Commonest new mistakes first: right class, what is said instead, how many rows.
    """

    classes: tuple[ClassChange, ...]
    mistakes: tuple[tuple[str, str, int], ...]

    def to_document(self) -> dict[str, Any]:
        """Return plain data that :func:`read_confusion` reads back to an equal value."""
        classes = [{name: getattr(each, name) for name in each.__slots__} for each in self.classes]
        return {"classes": classes, "mistakes": [list(mistake) for mistake in self.mistakes]}


def read_confusion(document: dict[str, Any]) -> Confusion:
    """Read what :meth:`Confusion.to_document` wrote."""
    mistakes = tuple((truth, said, int(count)) for truth, said, count in document["mistakes"])
    return Confusion(tuple(ClassChange(**row) for row in document["classes"]), mistakes)


def compare_answers(
    truth: Sequence[int], before: Sequence[int], after: Sequence[int], class_names: Sequence[str] = ()
) -> Confusion:
    """Compare the answers of two files to the same rows.

    Args:
        truth: The right label of each row.
        before: What the uncompressed file says.
        after: What the compressed one says.
        class_names: By label; a label without a name goes by its number.
    """
    rows = list(zip(truth, before, after, strict=True))
    names = {label: class_names[label] if label < len(class_names) else str(label) for label in {*truth, *after}}
    classes = []
    for label in sorted(set(truth)):
        own = [(first == label, then == label) for right, first, then in rows if right == label]
        classes.append(
            ClassChange(
                name=names[label],
                rows=len(own),
                right_before=sum(was for was, _ in own),
                right_after=sum(now for _, now in own),
                lost=sum(was and not now for was, now in own),
                gained=sum(now and not was for was, now in own),
            )
        )
    new = Counter((right, then) for right, first, then in rows if first == right != then)
    mistakes = sorted(new.items(), key=lambda item: (-item[1], item[0]))[:_MOST_MISTAKES]
    return Confusion(tuple(classes), tuple((names[right], names[said], count) for (right, said), count in mistakes))
