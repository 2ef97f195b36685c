"""A policy as a YAML file that people can read, keep and apply to new weights of the same architecture."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from paretune.experiments.config.yaml_reader import read_yaml
from paretune.experiments.files import write_atomically
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policy import LayerPolicy, Policy
from paretune.spaces.space import Space


def policy_text(policy: Policy, *, architecture: str) -> str:
    """Return a policy as YAML.

    Args:
        policy: What is decided.
        architecture: Digest of the model it was found for.
    """
    # costs 40 ms, which commands that write no policy do not need to spend
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    layers = CommentedMap()
    for name, decided in policy.items():
        layers[name] = _spelled(decided)
        layers[name].fa.set_flow_style()
    yaml = YAML()
    yaml.width = 1000
    body = StringIO()
    yaml.dump({"layers": layers}, body)
    header = (
        f"# Policy {policy.digest[:12]}, found for model {architecture[:12]}.\n"
        "# Train and export it with:  paretune apply policy.yaml EXPERIMENT.yaml\n"
    )
    return header + body.getvalue()


def write_policy(path: Path, policy: Policy, *, architecture: str) -> None:
    """Write a policy file, whole or not at all.

    Raises:
        RunError: If it cannot be written.
    """
    write_atomically(path, policy_text(policy, architecture=architecture).encode())


def read_policy(path: Path, space: Space) -> Policy:
    """Read a policy file for the model of ``space``; names may be globs.

    Raises:
        ConfigurationError: If the file is missing or not YAML, or says something impossible; the file is named.
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no policy file {path}.")
    document = read_yaml(path)
    unknown = [key for key in document.data if key != "layers"]
    if unknown:
        raise ConfigurationError(f"Unknown key '{unknown[0]}'; a policy knows only `layers` ({path.name}).")
    try:
        return space.resolve(_without_nulls(document.data))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error} ({path.name})") from None


def _without_nulls(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read ``stem:`` with nothing behind it as a layer that is left untouched."""
    layers = document.get("layers")
    if not isinstance(layers, Mapping):
        return document
    return {"layers": {name: {} if knobs is None else knobs for name, knobs in layers.items()}}


def _spelled(decided: LayerPolicy) -> Any:
    from ruamel.yaml.comments import CommentedMap

    clusters = "none" if decided.clusters is None else decided.clusters
    return CommentedMap(sparsity=decided.sparsity, clusters=clusters, quantization=str(decided.quantization))
