"""What trials of one model tell about policies of another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretune.search.front import FloatArray
from paretune.search.residual import GaussianProcess, likeliest_kernel


@dataclass(frozen=True, slots=True)
class Experience:
    """What trained trials tell of how a metric recovers, whatever the model.

    Attributes:
        untrained: Rise of the loss, on a scale that turns logarithmic, and worsening of the metric; shape (trials, 2).
        trained: The metric's change from the uncompressed model's after training, on the scale that is learnt; shape
            (trials,).
    """

    untrained: FloatArray
    trained: FloatArray


def process_of_all(known: Sequence[Experience]) -> GaussianProcess:
    """Return a regression of what is left after training on what was lost untrained, over trials of all models."""
    untrained = np.concatenate([each.untrained for each in known])
    trained = np.concatenate([each.trained for each in known])
    return GaussianProcess(untrained, trained, likeliest_kernel(untrained, trained))


def farthest_recovery(own: Experience, others: Sequence[Experience], limit: float) -> float:
    """Return the greatest untrained rise of the loss of which training of this model may be hoped to recover.

    That is the greatest from which training has recovered any model, and below the least from which it has not
    recovered this one: the regression above says little beyond.

    Args:
        own: Of this model.
        others: Of other models.
        limit: What has been recovered is below it, on the scale that is learnt.
    """
    lost = own.untrained[own.trained >= limit, 0]
    recovered = np.concatenate([each.untrained[each.trained < limit, 0] for each in (own, *others)])
    recovered = recovered[recovered < lost.min(initial=np.inf)]
    return float(recovered.max(initial=0.0))
