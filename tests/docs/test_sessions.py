"""The terminal sessions and the snippets of the documents run as they are pasted, and print what is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCUMENTS, README, Block, blocks, steps
from tests.docs.terminal import Terminal, matches
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is not run here, and why.
LEFT_OUT = {
    "make up": "the session in README.md runs it",
    'make train ARGS="--recipe good"': "it takes minutes; other tests run the job",
    'make train ARGS="--recipe quick"': "`make up` runs it",
    "make dev": "it installs what is here",
    "make extras EXTRAS=grpc": "it installs what is here",
    "make extras EXTRAS=batch": "it installs what is here",
    "MNIST_GRPC_PORT=8001 make serve": "the tests of gRPC start such services",
    ".venv/bin/python -m training evaluate models/mnist-mlp/50 --rendered 20": "other tests run it",
    "docker compose up": "there is no Docker here; tests/test_containers.py checks the files",
    "make docs": "tests/docs/test_site.py builds the site",
    "make lint": "`make test` runs it",
    "make wheel": "tests/system/test_package.py builds it",
}
# test_clients.py and test_tutorial.py run the other two.
OTHERS = ("README.md", "docs/clients.md", "docs/tutorial/index.md")
PAGES = {name: found for name, text in DOCUMENTS.items() if name not in OTHERS and (found := blocks(text))}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def replay(terminal: Terminal, block: Block) -> None:
    """Run a block: a terminal session, whose outputs are compared, or a Python program."""
    if block.language == "python":
        clients = re.search("tritonclient|kserve", block.text) is not None
        terminal.python(block.text, Path(sys.prefix, *["clients"] * clients, "bin", "python"))
    elif block.language == "console":
        for command, output in steps(block.text):
            if command not in LEFT_OUT:
                printed = terminal.run(command)
                assert not output or matches(output, printed), f"$ {command}\n{printed}"


@pytest.mark.parametrize("name", PAGES)
def test_the_sessions_of_a_page_run(terminal: Terminal, name: str) -> None:
    """In a fresh copy of the repository, the page's commands and programs run one after the other."""
    for block in PAGES[name]:
        replay(terminal, block)


def test_the_readme_is_replayed(terminal: Terminal) -> None:
    """`make up` trains and serves, and the questions get their answers; the accuracy is within 0.3 point."""
    first, *others = [block for block in blocks(README.read_text()) if block.language == "console"]
    ((command, shown),) = steps(first.text)
    assert command == "make up"
    made = re.findall(r'^\t@echo "(.*)"$', (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv"), re.MULTILINE)
    printed = terminal.run(command)
    expected = "".join(line for line in shown.splitlines(keepends=True) if line.strip() not in made)
    source = re.compile(r"(?<=to train on, from ).*")  # where MNIST is found depends on the machine
    assert matches(source.sub("…", expected), source.sub("…", printed)), printed
    (before,), (now,) = (re.findall(r"test accuracy ([\d.]+)%", text) for text in (shown, printed))
    assert float(now) == pytest.approx(float(before), abs=0.3)
    for block in others:
        replay(terminal, block)


def test_what_is_left_out_is_in_the_documents() -> None:
    """No reason outlives its command."""
    commands = {step.command for text in DOCUMENTS.values() for block in blocks(text) for step in steps(block.text)}
    assert set(LEFT_OUT) <= commands
