"""A profile of a real model before its search."""

import json

import pytest

from tests.end_to_end.command_line import Shell, ready_made

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


def taken_away(changes: dict[str, float]) -> float:
    """Return the share of the weights, or of the channels, that an option takes away."""
    return changes["sparsity"] if "sparsity" in changes else 1 - changes["channels"]


def test_a_profile_of_a_real_model_is_where_its_search_begins(shell: Shell) -> None:
    file = ready_made("breast_cancer")
    document = json.loads(shell.run("profile", file, "--format", "json").out)
    assert (shell.folder / document["files"]["picture"]).read_bytes().startswith(b"\x89PNG")
    for layer in document["layers"]:
        first, *others = layer["options"]
        alone = [option for option in others if list(option["changes"]) in (["sparsity"], ["channels"])]
        strongest = max(alone, key=lambda option: taken_away(option["changes"]))
        assert strongest["bytes"] < first["bytes"]
        assert layer["sensitivity"] >= 0
    search = shell.run("search", file, "--trials", "1")
    assert "profile  measuring" not in search.err
    assert "Most sensitive: " in shell.run("profile", file).out
