"""What ``import paretune`` offers."""

import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import paretune


def test_public_names_are_these_and_no_others() -> None:
    assert paretune.__all__ == ["ParetuneError", "Pick", "Run", "__version__", "compress", "open_run"]


@pytest.mark.parametrize("name", paretune.__all__)
def test_every_public_name_is_there_listed_and_documented(name: str) -> None:
    assert name in dir(paretune)
    assert getattr(paretune, name).__doc__
    exec(f"from paretune import {name}", {})  # noqa: S102


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        paretune.compres  # noqa: B018


def test_no_public_name_hides_a_package() -> None:
    for room in ("experiments", "objectives", "search", "spaces"):
        assert isinstance(import_module(f"paretune.{room}"), ModuleType)
        assert room not in paretune.__all__


@pytest.mark.slow
def test_a_type_checker_sees_the_signatures(tmp_path: object) -> None:
    program = (
        "import paretune\n"
        "run = paretune.compress('m.keras', 'd.npz', budget=3)\n"
        "reveal_type(run)\nreveal_type(run.pick('knee').smaller)\n"
        "paretune.compress('m.keras')\n"
    )
    words = [sys.executable, "-m", "mypy", "--config-file", "", "--ignore-missing-imports", "-c", program]
    words[3:3] = ["--follow-imports", "silent", "--cache-dir", str(tmp_path)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    assert 'Revealed type is "paretune.experiments.face.run.Run"' in said
    assert 'Revealed type is "float"' in said or 'Revealed type is "builtins.float"' in said
    assert 'Missing positional argument "data"' in said
