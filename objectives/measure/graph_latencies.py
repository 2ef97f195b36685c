"""Latencies of one model's files, each measured once for what the interpreter does."""

from paretune.objectives.flatbuffer.stored import file_format
from paretune.objectives.measure.latency import Latency, measure_latency
from paretune.objectives.measure.turnstile import Turnstile
from paretune.spaces.policies.decompositions import CHANNELS
from paretune.spaces.policies.policy import Policy
from paretune.spaces.policies.quantization import Quantization

#: What the interpreter does depends on these alone: how ranks split kernels, and the channels, the rank and the number
#: format of every layer.
_Graph = tuple[str, tuple[tuple[float, int | None, Quantization], ...]]


class GraphLatencies:
    """Measures files beside a base, and remembers what it has measured.

    Sparsity and clusters do not change what the interpreter does, and measuring again would only add noise between
    trials that are equally fast.

    Args:
        base: The file that latencies are ratios to.
        threads: Of the interpreter.
        turnstile: Entered alone while it is measured.
    """

    def __init__(self, base: bytes, threads: int, turnstile: Turnstile) -> None:
        self._base = base
        self._threads = threads
        self._turnstile = turnstile
        self._known: dict[_Graph, Latency] = {}

    def of(self, model: bytes, policy: Policy, decomposition: str = CHANNELS) -> Latency:
        """Return the latency of the file of a policy, whose ranks split kernels by a decomposition."""
        decisions = ((each.channels, each.rank, file_format(each.quantization)) for each in policy.values())
        graph = decomposition, tuple(decisions)
        if graph not in self._known:
            with self._turnstile.alone():
                self._known[graph] = measure_latency(model, self._base, threads=self._threads)
        return self._known[graph]
