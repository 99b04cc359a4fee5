"""The tutorial runs from top to bottom, and what it shows is what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import jupytext
import pytest

from tests.docs.terminal import NUMBER, matches
from tests.docs.tutorial import PAGE, cells
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

TEXT = PAGE.read_text()
PICTURES = set(re.findall(r"!\[.+\]\((\S+\.svg)\)", TEXT))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tutorial has run, with less training than on the page."""
    folder = tmp_path_factory.mktemp("tutorial")
    command = [sys.executable, "-m", "tests.docs.tutorial", str(folder)]
    environment = os.environ | {"TUTORIAL_QUICK": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, timeout=600, check=True)
    return folder


def test_each_cell_prints_what_the_page_shows(folder: Path) -> None:
    """All cells run. The words are the same; so are the numbers, up to the first cell that trains less here."""
    ran = cells((folder / PAGE.name).read_text())
    assert [cell.code for cell in ran] == [cell.code for cell in cells(TEXT)]
    same = True
    for shown, printed in zip(cells(TEXT), ran, strict=True):
        same = same and "if QUICK" not in shown.code
        assert matches(shown.output, printed.output), printed
        if same:
            expected, found = (list(map(_number, NUMBER.findall(text))) for text in (shown.output, printed.output))
            assert found == pytest.approx(expected, rel=0.02, abs=1e-6)


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def test_each_picture_is_shown(folder: Path) -> None:
    """The page shows each picture that its cells draw, and the folder has no other; together they are small."""
    files = list(PAGE.parent.glob("*.svg"))
    assert {file.name for file in files} == PICTURES == {file.name for file in folder.glob("*.svg")}
    assert sum(file.stat().st_size for file in files) < 500_000


def test_the_page_is_a_notebook() -> None:
    """Jupytext reads the page as a notebook with the same cells."""
    notebook = jupytext.reads(TEXT, "md")
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    found = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert found == [cell.code.rstrip() for cell in cells(TEXT)]
