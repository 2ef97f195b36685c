"""The arguments of a call as the experiment file that says the same, read with the same checks."""

from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from paretune.experiments.config.experiment import Experiment, build_experiment
from paretune.experiments.config.yaml_reader import Place, YamlDocument, parse_yaml
from paretune.spaces.errors import ConfigurationError


class Arguments(YamlDocument):
    """A document whose places are arguments of a call."""

    __slots__ = ()

    def where(self, place: Place) -> str:
        """Return ``argument `space``` for a place."""
        return f"argument `{place[0]}`" if place else "arguments"


def experiment_of(arguments: Mapping[str, Any], file: Path) -> Experiment:
    """Return the experiment that keyword arguments ask for; those that are ``None`` are left out.

    Args:
        arguments: By the keys of an experiment file; values as YAML would give them, or tuples, numbers of NumPy and
            mappings of any kind.
        file: The experiment file that says the same; it is not written.

    Raises:
        ConfigurationError: Names every problem (at most five) with its argument.
    """
    document = {key: _plain(value, key) for key, value in arguments.items() if value is not None}
    parsed = parse_yaml(_HEADER + _yaml(document), file)
    return build_experiment(Arguments(parsed.file, parsed.text, parsed.data, {}))


_HEADER = "# Written by paretune.compress(); `paretune search` of this file, with --out, goes on with the same run.\n"


def _yaml(document: dict[str, Any]) -> str:
    # costs 40 ms, which commands do not need to spend
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 1000
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # as the arguments stand
    body = StringIO()
    yaml.dump(document, body)
    return body.getvalue()


def _plain(value: Any, argument: str) -> Any:
    """Return a value as YAML has it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {_key(key): _plain(each, argument) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset | range | np.ndarray):
        return [_plain(each, argument) for each in value]
    raise ConfigurationError(
        f"`{argument}` must be made of numbers, texts, lists and mappings, got a {type(value).__name__}."
    )


def _key(key: Any) -> Any:
    return key.item() if isinstance(key, np.generic) else key
