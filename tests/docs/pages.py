"""The README and the pages of ``docs/``: their blocks of code, in order.

How a block is run, by its language:

* ``python``: all blocks of a page share one namespace, in order;
* ``console``: lines that start with ``$ paretune`` are commands; other lines are output, or not ours to run;
* ``yaml``: an experiment, or some of its keys.

A page runs in a folder that holds ``my_model.keras`` and ``my_data.npz`` (:data:`MODEL_AND_DATA`) and the ready-made
``experiments/``.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

#: Commands that are checked for their options alone, and why.
NOT_RUN = {"ui": "serves until Ctrl-C"}

#: What is added to a command that would take long.
SHORTER = {"search": ("--trials", "3")}

#: What a page may take for granted, as a program.
MODEL_AND_DATA = """
import numpy as np
import tf_keras as keras
from sklearn.datasets import load_digits

x, y = load_digits(return_X_y=True)
x = (x / 16).astype("float32").reshape(-1, 8, 8, 1)
keras.utils.set_random_seed(0)
layers = [
    keras.Input((8, 8, 1)),
    keras.layers.Conv2D(8, 3, activation="relu", name="stem"),
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax", name="head"),
]
model = keras.Sequential(layers, name="my_model")
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x[:1400], y[:1400], epochs=5, verbose=0)
model.save("my_model.keras")
np.savez("my_data.npz", x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:])
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: Name of the page.
        line: Where it begins.
        language: What stands behind its fence.
        text: What it says.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without ``paretune`` and comments; none where it is no ``console`` block."""
        lines = self.text.splitlines() if self.language == "console" else []
        return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("$ paretune ")]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, those in lists included."""
    tokens = MarkdownIt().parse(page.read_text())
    return [
        Block(page.name, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens
        if token.type == "fence" and token.map is not None
    ]


def all_blocks(language: str) -> list[Block]:
    """Return the blocks of one language on all pages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]


def program_of(page: Path) -> str:
    """Return a page as one program: its Python as it stands, each command a call that must end with exit code 0."""
    lines = [
        "import subprocess, sys",
        "def _command(*words):",
        "    print('$ paretune', *words, flush=True)",
        "    subprocess.run([sys.executable, '-m', 'paretune', *words], check=True)",
    ]
    for block in blocks_of(page):
        if block.language == "python":
            lines.append(block.text)
        for words in block.commands:
            if words[0] not in NOT_RUN:
                has_budget = "--trials" in words
                lines.append(f"_command(*{[*words, *(() if has_budget else SHORTER.get(words[0], ()))]!r})")
    return "\n".join(lines) + "\n"
