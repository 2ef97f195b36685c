"""A first experiment file for a user's own model: complete, commented, and runnable as it is."""

import json
import os
from pathlib import Path

from paretune.experiments.files import disk_errors, write_atomically
from paretune.spaces.errors import ConfigurationError


def experiment_text(*, model: str, data: str, name: str) -> str:
    """Return an experiment file.

    Args:
        model: Reference to the model, as seen from the file's folder.
        data: Reference to the data, as seen from the file's folder.
        name: Of the run.
    """
    return _TEMPLATE.format(model=_scalar(model), data=_scalar(data), name=_scalar(name))


def write_experiment(target: Path, *, model: str, data: str, force: bool = False) -> Path:
    """Write an experiment file for a model and data that are referred to from the current folder.

    Returns:
        The file.

    Raises:
        ConfigurationError: If ``target`` is there and ``force`` is not given, or a file named is not there.
        RunError: If it cannot be written.
    """
    if target.exists() and not force:
        raise ConfigurationError(f"{target} is there already. Choose another name with -o, or pass --force.")
    folder = target.absolute().parent
    references = {"model": _reference("model", model, folder), "data": _reference("data", data, folder)}
    with disk_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(target, experiment_text(**references, name=target.stem).encode())
    return target


def _reference(key: str, reference: str, folder: Path) -> str:
    """Return a reference as seen from ``folder``; ``module:function`` and ``keras:NAME`` stay as they are."""
    path = Path(reference)
    if path.exists():
        # resolve() follows links, and `..` behind a link leads elsewhere
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    if ":" in reference:
        return reference
    raise ConfigurationError(f"The {key} must be module:function or a file that is there, got {reference!r}.")


def _scalar(text: str) -> str:
    """Return text as a YAML scalar; JSON strings are YAML, so what could mean something else is quoted."""
    plain = text.replace("/", "").replace("_", "").replace("-", "").replace(".", "").replace(":", "")
    is_plain = plain.isascii() and plain.isalnum() and not plain.isdecimal() and text[0].isalpha()
    is_word = text.lower() in ("null", "true", "false", "none", "off", "on", "yes", "no", "y", "n")
    return text if is_plain and not is_word and not text.endswith(":") else json.dumps(text)


_TEMPLATE = """\
# An experiment: what to compress, and what is asked of the result. Next:
#   paretune doctor FILE    what may be done to each layer, and why not
#   paretune search FILE    look for the best trade-offs; stop it any time, run it again to go on
# Paths are seen from this file's folder. Lines that start with '#' show what else there is.
name: {name}                  # the run is kept in runs/NAME
model: {model}
# The data: arrays x_train y_train x_val y_val x_test y_test; without val or test they are split off.
# w_train weighs the training rows; a folder of .npy files of these names may be larger than memory.
data: {data}

# Told from the model and the labels when left out.
# task: {{kind: classification, metric: accuracy}}   # also class_weights: balanced, or {{0: 1, 1: 5}}

# Where the files are to run: defaults for what follows, where you leave it out (comment `space` and `objectives` out).
# target: cpu                            # or download, microcontroller, ethos-u, android

# What may be decided about each layer. Choices that a layer does not support are left out for it.
space:
  channels: [1, 0.75, 0.5, 0.25]          # share of the output channels kept: the only one that makes CPUs faster
  rank: [none]                            # or also 0.9, 0.8: shares of a kernel's energy kept, as two smaller kernels
  sparsity: [0, 0.5, 0.7, 0.8, 0.9]       # share of the weights set to zero; or {{from: 0, to: 0.9, step: 0.1}}
  clusters: [none, 32, 16, 8, 4]          # distinct weight values kept
  quantization: [float32, dynamic_int8, int8, int8_qat, int4]   # also float16, int16x8, int4_block
  # layers: {{head: {{sparsity: [0, 0.5]}}}}   # other choices for the layers a name or glob matches
  # groups: [[block1_*]]                     # layers that share one decision
  # pinned: {{stem: {{quantization: int8}}}}   # layers that are not searched

# What is traded off: `metric` is the task's; also latency_ratio, raw_bytes, arena_bytes, bit_operations, energy_nj, ...
objectives: [metric, size_bytes]

# What every result must keep to.
# constraints:
#   metric: {{drop: 0.02}}                   # at most this much worse than the uncompressed model
#   size_bytes: 0.25x                      # or {{max: 60kB}}

# What is enough: a trial that keeps to all of these ends the search.
# stop_when: {{metric: {{drop: 0.01}}, size_bytes: 0.1x}}

# How each candidate is retrained, stage by stage. `epochs: 8` gives better results and slower trials; left out, they
# are 4, for cluster and quantize 2, and more if that is less than 200 (100) steps. `epochs: [4, 16]` searches them.
recipe:
  structure: {{learning_rate: 0.001, batch_size: 64, schedule: cosine, criterion: l1, decomposition: channels}}
  prune: {{learning_rate: 0.001, batch_size: 64, schedule: cosine, pruning_schedule: polynomial}}
  cluster: {{learning_rate: 0.001, batch_size: 64, schedule: cosine, initialisation: linear, scope: tensor}}
  quantize: {{learning_rate: 0.001, batch_size: 64, schedule: cosine}}

search:
  sampler: funnel                         # or tpe, {{name: NSGAIISampler, arguments: {{population_size: 20}}}}, ...
  seed: 0
  # workers: 2                            # processes that train at the same time; as many as fit when left out
  # threads: 1                            # of each worker; more for large models, whose steps they speed up
  # stop_when_flat: {{trials: 30, gain: 0.001}}   # end when the front has stopped growing
  trial_minutes: 10                       # a trial that takes longer is given up

# Totals for the run, whichever is spent first; raise them later to go on.
budget: {{trials: 24}}                      # also minutes, training_steps

# MLflow's record, kept beside the run. Or {{uri: http://host:5000, experiment: NAME}}, or off.
tracking: {{experiment: paretune}}
"""
