"""The documentation is true: what it shows can be parsed, and runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from paretune.experiments.cli import paretune as command_line
from paretune.experiments.config.experiment import parse_experiment
from tests.docs.pages import MODEL_AND_DATA, PAGES, ROOT, Block, all_blocks, blocks_of, program_of

LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
RUNNABLE = [page for page in PAGES if any(block.language == "python" or block.commands for block in blocks_of(page))]


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in PAGES if page.parent.name == "docs" and page.name not in ("README.md",)] == sorted(
        set(re.findall(r"\((\w+\.md)", index))
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            anchors = ["#" + re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{target}{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in ("python", "yaml", "console", "json", "text"), str(block)


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_yaml_is_an_experiment_or_some_of_its_keys(block: Block, tmp_path: Path) -> None:
    keys = YAML(typ="safe").load(block.text)
    lacking = "".join(f"{key}: my_{key}:load\n" for key in ("model", "data") if key not in keys)
    parse_experiment(lacking + block.text, tmp_path / "page.yaml")


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_python_is_python(block: Block) -> None:
    compile(block.text, str(block), "exec")


@pytest.mark.parametrize("block", [block for block in all_blocks("console") if block.commands], ids=str)
def test_commands_and_their_options_exist(block: Block) -> None:
    for words in block.commands:
        with command_line.make_context("paretune", list(words)) as group:
            name, command, rest = command_line.resolve_command(group, words)
            assert isinstance(command, click.Command)
            command.make_context(name, rest, parent=group).close()


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("*.py", "__*", "[!d]*/")
    )
    keys = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    environment = {name: value for name, value in os.environ.items() if name not in keys}
    environment |= {"MPLBACKEND": "agg", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, program in (("set_up.py", MODEL_AND_DATA), ("page.py", program_of(page))):
        (tmp_path / name).write_text(program)
        done = subprocess.run(
            [sys.executable, name],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=1500,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
