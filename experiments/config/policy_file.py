"""A policy as a YAML file that people can read, keep and apply to new weights of the same architecture."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from paretune.experiments.config.yaml_reader import read_yaml
from paretune.experiments.files import write_atomically
from paretune.spaces.candidates.candidate import Candidate
from paretune.spaces.candidates.hyperspace import Hyperparameter, read_values
from paretune.spaces.errors import ConfigurationError
from paretune.spaces.policies.policy import LayerPolicy, Policy
from paretune.spaces.policies.space import Space, policy_of_names


def policy_text(candidate: Candidate) -> str:
    """Return the policy of a candidate as YAML, and the hyperparameters that go with it."""
    # costs 40 ms, which commands that write no policy do not need to spend
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    layers = CommentedMap()
    for name, decided in candidate.policy.items():
        layers[name] = _spelled(decided)
        layers[name].fa.set_flow_style()
    yaml = YAML()
    yaml.width = 1000
    body = StringIO()
    hyperparameters = {"hyperparameters": dict(candidate.hyperparameters)} if candidate.hyperparameters else {}
    yaml.dump({**hyperparameters, "layers": layers}, body)
    header = (
        f"# Policy {candidate.policy.digest[:12]}, found for model {candidate.architecture[:12]}.\n"
        "# Train and export it with:  paretune apply policy.yaml EXPERIMENT.yaml --to FOLDER\n"
    )
    return header + body.getvalue()


def write_policy(path: Path, candidate: Candidate) -> None:
    """Write the policy file of a candidate, whole or not at all.

    Raises:
        RunError: If it cannot be written.
    """
    write_atomically(path, policy_text(candidate).encode())


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file says; which model it is for has not been looked at.

    Attributes:
        name: Of the file.
        document: Its contents.
    """

    name: str
    document: Mapping[str, Any]

    def values(self, hyperspace: Sequence[Hyperparameter]) -> dict[str, Any]:
        """Return the values of hyperparameters, in normal form; what is not named keeps its default.

        Raises:
            ConfigurationError: On one that is not known, or a value that is none of its choices.
        """
        with self._named():
            return read_values(hyperspace, self.document.get("hyperparameters") or {})

    def policy(self, space: Space) -> Policy:
        """Return the policy for the model of ``space``; names may be globs.

        Raises:
            ConfigurationError: If it says something impossible.
        """
        with self._named():
            return space.resolve(_without_nulls(self.document))

    def policy_of_names(self, names: Sequence[str]) -> Policy:
        """Return the policy for layers of which nothing but the names is known.

        Raises:
            ConfigurationError: If it says something impossible.
        """
        with self._named():
            return policy_of_names(_without_nulls(self.document), names)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} ({self.name})") from None


def read_policy_file(path: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        ConfigurationError: If the file is missing or not YAML, or has unknown keys; the file is named.
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no policy file {path}.")
    document = read_yaml(path)
    unknown = [key for key in document.data if key not in ("layers", "hyperparameters")]
    if unknown:
        raise ConfigurationError(
            f"Unknown key '{unknown[0]}'; a policy knows only `layers` and `hyperparameters` ({path.name})."
        )
    return PolicyFile(path.name, document.data)


def _without_nulls(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Read ``stem:`` with nothing behind it as a layer that is left untouched."""
    layers = document.get("layers")
    if not isinstance(layers, Mapping):
        return document
    return {"layers": {name: {} if knobs is None else knobs for name, knobs in layers.items()}}


def _spelled(decided: LayerPolicy) -> Any:
    from ruamel.yaml.comments import CommentedMap

    clusters = "none" if decided.clusters is None else decided.clusters
    document = CommentedMap(sparsity=decided.sparsity, clusters=clusters, quantization=str(decided.quantization))
    if decided.rank is not None:
        document.insert(0, "rank", decided.rank)
    if decided.channels < 1:
        document.insert(0, "channels", decided.channels)
    return document
