"""What trials of one model tell about policies of another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretune.search.front import FloatArray
from paretune.search.learning.kernel import Points
from paretune.search.learning.residual import GaussianProcess, likeliest_kernel


@dataclass(frozen=True, slots=True)
class Experience:
    """What trained trials tell of how a metric recovers, whatever the model.

    Attributes:
        untrained: Rise of the loss, on a scale that turns logarithmic; worsening of the metric; and the metric of the
            uncompressed model; shape (trials, 3).
        trained: The metric after training, on the scale that is learnt and that all models share; shape (trials,).
    """

    untrained: FloatArray
    trained: FloatArray


def process_of_all(known: Sequence[Experience]) -> GaussianProcess:
    """Return a regression of what is left after training on what was lost untrained, over trials of all models."""
    untrained = Points(np.concatenate([each.untrained for each in known]))
    trained = np.concatenate([each.trained for each in known])
    return GaussianProcess(untrained, trained, likeliest_kernel(untrained, trained))


def farthest_recovery(own: Experience, others: Sequence[Experience], limit: float) -> float:
    """Return the greatest untrained rise of the loss from which training of this model may be hoped to recover.

    That is half the way from the greatest from which it has recovered to the least from which it has not, or to the
    greatest from which any model has: the regression above says little so far out.

    Args:
        own: Of this model.
        others: Of other models.
        limit: What has been recovered is below it, on the scale that is learnt.
    """
    near, lost = own.untrained[own.trained < limit, 0], own.untrained[own.trained >= limit, 0]
    anywhere = np.concatenate([near, *(each.untrained[each.trained < limit, 0] for each in others)])
    reached = near.max(initial=0.0)
    farthest = min(anywhere.max(initial=0.0), lost.min(initial=np.inf))
    return float(reached + max(farthest - reached, 0.0) / 2)
