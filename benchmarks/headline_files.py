"""Headlines about files: what published tables and guides promise of sizes and speed, and what comes out here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cases import CASES, Case, uniform_policy
from figures import mean_interval
from headline_bench import Bench, Figures, Line, Notebook
from trial_runs import call_apart

from paretune.spaces.candidates.recipe import Recipe, layers_under
from paretune.spaces.policies.decompositions import CHANNELS, SPATIAL
from paretune.spaces.policies.normal_form import normal_form
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.quantization import Quantization
from paretune.spaces.results.evaluator import ModelDescription

#: By class of keras.applications: name, pixels, and published megabytes in float32 and int8.
_PUBLISHED = {
    "MobileNet": ("MobileNet v1", 224, 16.9, 4.3),
    "MobileNetV2": ("MobileNet v2", 224, 14.0, 3.6),
    "InceptionV3": ("Inception v3", 299, 95.7, 23.9),
    "ResNet101V2": ("ResNet v2 101", 224, 178.3, 44.9),
}

_CLASSIC = Case(model="models:classic_cnn", data="models:large_digits_data", steps=(608, 304, 152), batch_size=64)
#: Steps of pruning (two epochs, and twelve), and with how many seeds. The guide takes four epochs of 60,000 images.
_CLASSIC_STEPS = {304: 3, 1824: 1}
#: What 90 % sparse files should take: bytes at most, and in words; the first is the guide's.
_CLASSIC_SIZES = {Quantization.FLOAT32: (2.44 * 2**20, "2.44 MiB"), Quantization.INT8: (0.5e6, "our aim: about 0.5 MB")}
_MLP = Case(model="models:digits_mlp", data="paretune.objectives.zoo:digits_data", steps=(456, 304, 76), batch_size=64)
#: What has ranks: name, decompositions as they are told, and energies.
_RANKED = (
    ("digits MLP 64-512-512-10", _MLP, {CHANNELS: ""}, (0.95, 0.9, 0.8, 0.7, 0.5)),
    ("ResNet-8", CASES["resnet8-demo"], {CHANNELS: ", by channels", SPATIAL: ", spatial"}, (0.9, 0.8, 0.7)),
)

_TIMED = {
    "ResNet-8": CASES["resnet8"],
    "MobileNetV2": replace(CASES["mobilenetv2"], model="models:mobilenet_v2_untrained"),
}
_WIDTHS = (0.75, 0.5, 0.25)
_FULL_WIDTH = {
    "sparsity 0.9": LayerPolicy(sparsity=0.9),
    "clusters 8": LayerPolicy(clusters=8),
    **{
        str(form): LayerPolicy(quantization=form)
        for form in Quantization
        if form not in (Quantization.FLOAT32, Quantization.INT8_QAT)  # the latter's file is an int8 one
    },
}
#: What a file holds for each channel of a kernel, and again of a bias: a scale of 4 bytes, and a zero point of 8.
_BYTES_A_SCALE = 12
#: A ratio this near to 1 is none, nor is one whose rounds lie on both sides of 1.
_EVEN = 0.03


def sizes(notebook: Notebook, _: Path) -> list[Line]:
    """Compare the files of four classifiers with TensorFlow's own table; weights are random, which no format minds."""
    lines = []
    for kind, (name, pixels, *published) in _PUBLISHED.items():
        found = notebook.figures(kind, lambda kind=kind, pixels=pixels: call_apart(_measure, kind, pixels, threads=1))
        own = [found["float32"] / 1e6, found["int8"] / 1e6]
        off = [f"{100 * (mine / theirs - 1):+.1f} %" for mine, theirs in zip(own, published, strict=True)]
        lines.append(
            Line(
                what=f"{name}, float32 and int8: MB",
                measured=f"{own[0]:.1f}, {own[1]:.1f} ({found['scales'] / 1e6:.1f} of it scales of channels)",
                claimed=f"{published[0]}, {published[1]}",
                verdict=", ".join(off),
            )
        )
    return lines


def classic(notebook: Notebook, scratch: Path) -> list[Line]:
    """Prune and quantize the network of the first guides to pruning."""
    with Bench(notebook, _CLASSIC, scratch) as bench:
        untouched = bench.baseline()
        half = _uniform(bench, "float16", LayerPolicy(quantization=Quantization.FLOAT16))
        pruned = [
            (steps, form, [_pruned(bench, steps, form, seed) for seed in range(seeds)])
            for steps, seeds in _CLASSIC_STEPS.items()
            for form in (Quantization.FLOAT32, Quantization.INT8)
        ]
    raw, smaller = untouched["raw_bytes"] / 1e6, half["raw_bytes"] / untouched["raw_bytes"]
    lines = [
        Line(
            what="classic CNN: MB, raw and deflated; accuracy",
            measured=f"{raw:.2f}, {_megabytes([untouched])}; {_accuracy(untouched)}",
            claimed="12.52, 11.63 MiB",
        )
    ]
    for steps, form, found in pruned:
        what = f"90 % sparse in {steps} steps, {form}"
        size, claimed = _CLASSIC_SIZES[form]
        lines += [
            _size_line(f"{what}: MB deflated", found, size, claimed),
            _drop_line(f"{what}: accuracy lost", untouched, found, 0.002, "our aim: "),
        ]
    return [
        *lines,
        Line(
            what="classic CNN, float16: raw file",
            measured=f"{smaller:.3f} of float32",
            claimed="half",
            verdict=_holds(smaller <= 0.505),
        ),
        _drop_line("float16: accuracy lost", untouched, [half], 0.0003),
    ]


def latency(notebook: Notebook, scratch: Path) -> list[Line]:
    """Measure what narrower layers, zeros, clusters and formats do to the time of a run on this CPU."""
    lines = []
    for name, case in _TIMED.items():
        with Bench(notebook, case, scratch, rounds=5) as bench:
            untouched = bench.baseline()
            narrow = [(width, _timed(bench, f"channels {width}", LayerPolicy(channels=width))) for width in _WIDTHS]
            full = [(option, _timed(bench, option, wanted)) for option, wanted in _FULL_WIDTH.items()]
        for width, found in [(1.0, untouched), *narrow]:
            share = found["macs"] / untouched["macs"]
            verdict = "" if width == 1 else _speed(found)
            lines.append(
                Line(
                    what=f"{name}, channels {width:g}: latency",
                    measured=_ratio(found),
                    claimed=f"{share:.2f}x the MACs",
                    verdict=verdict,
                )
            )
        for option, found in full:
            some = (
                ""
                if found["touched"] == found["layers"]
                else f", {found['touched']:.0f} of {found['layers']:.0f} layers"
            )
            lines.append(Line(what=f"{name}, {option}{some}: latency", measured=_ratio(found), verdict=_speed(found)))
    return lines


def rank(notebook: Notebook, scratch: Path) -> list[Line]:
    """Store the kernels of a network as two of lower rank."""
    lines = []
    for name, case, ways, energies in _RANKED:
        with Bench(notebook, case, scratch, rounds=5) as bench:
            untouched = bench.baseline()
            found = [("full rank", untouched)]
            for how, suffix in ways.items():
                of_energy = [(f"energy {energy}{suffix}", energy) for energy in energies]
                found += [(what, _of_rank(bench, case, what, energy, how)) for what, energy in of_energy]
        lines += [
            Line(
                what=f"{name}, {what}: accuracy; deflated; latency",
                measured=f"{_accuracy(own)}; {own['size_bytes'] / 1000:.0f} kB; {_ratio(own)}",
                claimed=f"{own['macs'] / untouched['macs']:.2f}x the MACs",
                verdict="" if own is untouched else _speed(own),
            )
            for what, own in found
        ]
    return lines


def _measure(kind: str, pixels: int) -> Figures:
    """Convert a classifier of random weights; runs in a process of its own."""
    import numpy as np

    from paretune.objectives.flatbuffer.graph import read_graph
    from paretune.objectives.formats.formats import quantize_file
    from paretune.objectives.formats.recipes import why_impossible
    from paretune.objectives.keras_door import keras, limit_threads
    from paretune.objectives.templates.template import build_template

    limit_threads(1)
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, kind)(input_shape=(pixels, pixels, 3), weights=None)
    template = build_template(model)
    file = template.fill(model)
    possible = [
        layer
        for layer, places in template.places.items()
        if all(why_impossible(place, Quantization.INT8) is None for place in places)
    ]
    samples = np.random.default_rng(0).uniform(-1, 1, (4, pixels, pixels, 3)).astype(np.float32)
    quantized = quantize_file(template, file, dict.fromkeys(possible, Quantization.INT8), [samples])
    own = [each.scales for each in read_graph(quantized).all_tensors() if each.scales is not None]
    scales = sum(_BYTES_A_SCALE * len(each) for each in own if len(each) > 1)
    return {"float32": float(len(file)), "int8": float(len(quantized)), "scales": float(scales)}


def _uniform(bench: Bench, of: str, wanted: LayerPolicy, seed: int = 0) -> Figures:
    return bench.trial(of, lambda description: uniform_policy(description.layers, wanted), seed=seed)


def _pruned(bench: Bench, steps: int, form: Quantization, seed: int) -> Figures:
    def recipe(samples: int) -> Recipe:
        return replace(_CLASSIC, steps=(steps, *_CLASSIC.steps[1:])).recipe(samples)

    def policy(description: ModelDescription) -> Policy:
        return uniform_policy(description.layers, LayerPolicy(sparsity=0.9, quantization=form))

    return bench.trial(f"sparsity 0.9 in {steps} steps, {form}", policy, recipe=recipe, seed=seed)


def _timed(bench: Bench, of: str, wanted: LayerPolicy) -> Figures:
    """Measure a policy after a single step of each stage: what the file computes depends on no value of a weight."""

    def policy(description: ModelDescription) -> Policy:
        return uniform_policy(description.layers, wanted)

    return bench.trial(of, policy, recipe=_one_step)


def _one_step(_: int) -> Recipe:
    usual, least = Recipe(), {"epochs": 1e-6, "batch_size": 16}
    return replace(
        usual,
        structure=replace(usual.structure, **least),
        prune=replace(usual.prune, **least),
        cluster=replace(usual.cluster, **least),
    )


def _of_rank(bench: Bench, case: Case, of: str, energy: float, how: str) -> Figures:
    def recipe(samples: int) -> Recipe:
        usual = case.recipe(samples)
        return replace(usual, structure=replace(usual.structure, decomposition=how))

    def policy(description: ModelDescription) -> Policy:
        layers = layers_under(recipe(description.samples["train"]), description.layers)
        return Policy(tuple((spec.name, normal_form(spec, LayerPolicy(rank=spec.rank_of(energy)))) for spec in layers))

    return bench.trial(of, policy, recipe=recipe)


def _size_line(what: str, found: Sequence[Figures], claimed_bytes: float, claimed: str) -> Line:
    sizes = [each["size_bytes"] for each in found]
    holds = sum(sizes) / len(sizes) <= claimed_bytes
    return Line(what=f"classic CNN, {what}", measured=_megabytes(found), claimed=claimed, verdict=_holds(holds))


def _drop_line(what: str, untouched: Figures, found: Sequence[Figures], most: float, whose: str = "") -> Line:
    mean, low, high = mean_interval(untouched["test_accuracy"] - each["test_accuracy"] for each in found)
    spread = f" [{100 * low:.2f}, {100 * high:.2f}], {len(found)} seeds" if len(found) > 1 else ""
    return Line(
        what=f"classic CNN, {what}",
        measured=f"{100 * mean:.2f} points{spread}",
        claimed=f"{whose}at most {100 * most:g} points",
        verdict=_holds(mean <= most),
    )


def _megabytes(found: Sequence[Figures]) -> str:
    return f"{sum(each['size_bytes'] for each in found) / len(found) / 1e6:.2f}"


def _accuracy(found: Figures) -> str:
    return f"{100 * found['test_accuracy']:.2f} %"


def _holds(does: bool) -> str:
    return "holds" if does else "does not hold"


def _ratio(found: Figures) -> str:
    return f"{found['latency']:.2f}x [{found['latency_low']:.2f}, {found['latency_high']:.2f}]"


def _speed(found: Figures) -> str:
    if found["latency"] < 1 - _EVEN and found["latency_high"] < 1:
        return "faster"
    return "slower" if found["latency"] > 1 + _EVEN and found["latency_low"] > 1 else "no faster"
