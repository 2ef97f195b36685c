"""Headlines about training: two ways to train the same, seed by seed. What one seed gains by luck, both gain."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cases import CASES, Case, uniform_policy
from figures import mean_interval
from headline_bench import Bench, Figures, Line, Notebook, PolicyOf, RecipeOf

from paretune.spaces.candidates.recipe import Recipe
from paretune.spaces.candidates.stage_recipes import PruneRecipe
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.evaluator import ModelDescription

_SEEDS = range(10)
_LSTM = Case(
    model="paretune.objectives.zoo:digit_rows_lstm",
    data="paretune.objectives.zoo:digit_rows_data",
    steps=(408, 204, 102),
    batch_size=64,
)
#: Epochs of the prune stage: as in the ready-made experiment, and four times as many.
_LSTM_EPOCHS = (24, 96)
_CLUSTERED = replace(CASES["resnet8"], steps=(84, 152, 42))
_DSCNN = replace(CASES["dscnn"], steps=(84, 42, 84))

_GNMT = "GNMT at 80 %: BLEU 26.86 against 26.77, 29.50 against 29.47"

#: Most clusters of a tensor that are tried to match the size of clusters of channels.
_MOST_CLUSTERS = 128


def lstm(notebook: Notebook, scratch: Path) -> list[Line]:
    """Compare an LSTM with 80 % of its weights zero with the dense one, trained as long and in the same order."""
    lines = []
    with Bench(notebook, _LSTM, scratch) as bench:
        untouched = bench.baseline()
        lines.append(Line(what="LSTM of digit rows before retraining: loss", measured=f"{untouched['test_loss']:.4f}"))
        for epochs in _LSTM_EPOCHS:
            dense, sparse = (
                [bench.trial(f"{of}, {epochs} epochs", policy, recipe=_long(epochs), seed=seed) for seed in _SEEDS]
                for of, policy in (("dense", _one_zero()), ("sparsity 0.8", _same(LayerPolicy(sparsity=0.8))))
            )
            what = f"LSTM of digit rows, sparsity 0.8 less dense, {epochs} epochs"
            lines.append(_loss_line(f"{what}: loss", sparse, dense, _GNMT))
            sizes = f"{_kilobytes(sparse)} against {_kilobytes(dense)}"
            lines.append(_accuracy_line(f"the same: accuracy ({sizes})", sparse, dense))
    return lines


def clusters(notebook: Notebook, scratch: Path) -> list[Line]:
    """Compare clusters of each channel with as many clusters of the whole tensor as take the same deflated bytes."""
    lines = []
    with Bench(notebook, _CLUSTERED, scratch) as bench:
        for form in (Quantization.FLOAT32, Quantization.INT8):
            for count in (2, 4, 8):
                own = [_clustered(bench, "channel", count, form, seed) for seed in _SEEDS]
                same = _count_of_size(bench, own[0]["size_bytes"], form)
                whole = [_clustered(bench, "tensor", same, form, seed) for seed in _SEEDS]
                what = f"ResNet-8 in {form}: {count} clusters a channel less {same} a tensor: accuracy"
                sizes = f"{_kilobytes(own)} against {_kilobytes(whole)}"
                lines.append(_accuracy_line(f"{what} ({sizes})", own, whole))
    return lines


def filters(notebook: Notebook, scratch: Path) -> list[Line]:
    """Compare filters removed by entropy with those removed by L1 norm: as many of each layer, so the same MACs."""
    lines = []
    with Bench(notebook, CASES["resnet8"], scratch) as bench:
        for share in (0.5, 0.25):
            runs = {
                criterion: [
                    bench.trial(
                        f"channels {share} by {criterion}",
                        _same(LayerPolicy(channels=share)),
                        recipe=_criterion(criterion),
                        seed=seed,
                    )
                    for seed in _SEEDS
                ]
                for criterion in ("entropy", "l1")
            }
            macs = " and ".join(f"{own[0]['macs'] / 1e6:.2f}" for own in runs.values())
            what = f"ResNet-8, {share} of the channels, by entropy less by L1: accuracy ({macs} million MACs)"
            lines.append(_accuracy_line(what, runs["entropy"], runs["l1"]))
    return lines


def qat(notebook: Notebook, scratch: Path) -> list[Line]:
    """Compare a depthwise-separable net trained for int8 with int8 alone, and after as much training in float."""
    with Bench(notebook, _DSCNN, scratch) as bench:
        trained = [
            bench.trial("int8_qat", _same(LayerPolicy(quantization=Quantization.INT8_QAT)), seed=s) for s in _SEEDS
        ]
        calibrated = bench.trial("int8", _same(LayerPolicy(quantization=Quantization.INT8)))
        retrained = [bench.trial("int8 retrained", _one_zero(Quantization.INT8), seed=seed) for seed in _SEEDS]
        untouched = bench.baseline()
    return [
        Line(
            what="DS-CNN: accuracy in float32, and in int8",
            measured=f"{100 * untouched['test_accuracy']:.2f} %, {100 * calibrated['test_accuracy']:.2f} %",
        ),
        _accuracy_line("DS-CNN, int8_qat less int8: accuracy", trained, [calibrated] * len(trained)),
        _accuracy_line("DS-CNN, int8_qat less int8 after as much training in float: accuracy", trained, retrained),
    ]


def _clustered(bench: Bench, scope: str, count: int, form: Quantization, seed: int) -> Figures:
    def recipe(samples: int) -> Recipe:
        usual = _CLUSTERED.recipe(samples)
        return replace(usual, cluster=replace(usual.cluster, scope=scope))

    policy = _same(LayerPolicy(clusters=count, quantization=form))
    return bench.trial(f"{count} clusters a {scope}, {form}", policy, recipe=recipe, seed=seed)


def _count_of_size(bench: Bench, size_bytes: float, form: Quantization) -> int:
    """Return the number of clusters of a tensor whose file comes nearest to a size, by halving; with seed 0."""

    def size(count: int) -> float:
        return _clustered(bench, "tensor", count, form, 0)["size_bytes"]

    low, high = 2, _MOST_CLUSTERS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < size_bytes else (low, middle)
    return min((low, high), key=lambda count: abs(size(count) - size_bytes))


def _long(epochs: int) -> RecipeOf:
    """Return the ready-made experiment's recipe of the LSTM, for so many epochs of pruning."""
    return lambda _: Recipe(prune=PruneRecipe(epochs=epochs, learning_rate=3e-3))


def _same(wanted: LayerPolicy) -> PolicyOf:
    return lambda description: uniform_policy(description.layers, wanted)


def _one_zero(form: Quantization = Quantization.FLOAT32) -> PolicyOf:
    """Return what trains as long as a pruned model does, and prunes one weight of each layer: as good as none."""

    def policy(description: ModelDescription) -> Policy:
        plain = uniform_policy(description.layers, LayerPolicy(quantization=form))
        zeros = {spec.name: 1 / spec.weights if spec.prunable else 0.0 for spec in description.layers}
        return Policy(tuple((name, replace(decided, sparsity=zeros[name])) for name, decided in plain.items()))

    return policy


def _criterion(criterion: str) -> RecipeOf:
    def recipe(samples: int) -> Recipe:
        usual = CASES["resnet8"].recipe(samples)
        return replace(usual, structure=replace(usual.structure, criterion=criterion))

    return recipe


def _accuracy_line(what: str, own: Sequence[Figures], other: Sequence[Figures], claimed: str = "") -> Line:
    return _line(what, own, other, claimed, of="test_accuracy", scale=100, form=".2f", unit=" %", sign=1)


def _loss_line(what: str, own: Sequence[Figures], other: Sequence[Figures], claimed: str) -> Line:
    return _line(what, own, other, claimed, of="test_loss", scale=1, form=".4f", unit="", sign=-1)


def _line(
    what: str,
    own: Sequence[Figures],
    other: Sequence[Figures],
    claimed: str,
    *,
    of: str,
    scale: float,
    form: str,
    unit: str,
    sign: int,
) -> Line:
    pairs = list(zip(own, other, strict=True))
    mean, low, high = mean_interval(scale * (mine[of] - theirs[of]) for mine, theirs in pairs)
    ours, theirs = (f"{scale * sum(each[of] for each in side) / len(side):{form}}{unit}" for side in (own, other))
    difference = f"{mean:+{form}} [{low:+{form}}, {high:+{form}}]"
    verdict = "no difference shown" if low <= 0 <= high else ("better" if sign * mean > 0 else "worse")
    faults = sum(each["faults"] for side in (own, other) for each in side)
    return Line(
        what=what,
        measured=f"{ours} against {theirs}: {difference}, {len(pairs)} pairs",
        claimed=claimed,
        verdict=verdict + (f"; {faults:.0f} layers are not as asked" if faults else ""),
    )


def _kilobytes(figures: Sequence[Figures]) -> str:
    return f"{sum(each['size_bytes'] for each in figures) / len(figures) / 1000:.1f} kB"
