"""A shell in an empty folder, with a cache of prepared models that all these tests share."""

from pathlib import Path

import pytest

from tests.end_to_end.command_line import Shell


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shell(tmp_path: Path, cache: Path) -> Shell:
    return Shell(tmp_path, cache)
