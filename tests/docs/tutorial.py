"""The tutorial, which is a page of the site and a notebook in one file: run its cells, and write what they print.

In: docs/tutorial/index.md, Jupytext Markdown: each block of Python is a cell. Out: the page, where a block of text
after each cell has what the cell printed. The cells save their pictures themselves, in the folder in which they run.

    python -m tests.docs.tutorial [FOLDER]    runs the page in a folder, and writes it there
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.service import ROOT

if TYPE_CHECKING:
    from types import CodeType

PAGE = ROOT / "docs" / "tutorial" / "index.md"
_CELL = re.compile(r'^```python\n(.*?)^```\n(?:\n```text title="Output"\n(.*?)^```\n)?', re.DOTALL | re.MULTILINE)


class Cell(NamedTuple):
    """The code of a cell, and the output that the page shows after it."""

    code: str
    output: str


def cells(text: str) -> list[Cell]:
    """Return the cells of the page, in order."""
    return [Cell(*found) for found in _CELL.findall(text)]


def run(text: str) -> str:
    """Return the page with the outputs of its cells, which run one after the other in the present folder."""
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def run_cell(found: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            _execute(compile(found[1], f"cell {found[1].splitlines()[0]!r}", "exec", dont_inherit=True), namespace)
        output = re.sub(r" +$", "", printed.getvalue(), flags=re.MULTILINE)
        return f"```python\n{found[1]}```\n" + (f'\n```text title="Output"\n{output}```\n' if output else "")

    return _CELL.sub(run_cell, text)


def definitions(text: str) -> dict[str, Any]:
    """Return what the cells import and define: functions, and constants in capitals. Nothing else of them runs."""
    body = [node for cell in cells(text) for node in ast.parse(cell.code).body if _defines(node)]
    namespace: dict[str, Any] = {}
    _execute(compile(ast.Module(body, []), str(PAGE), "exec", dont_inherit=True), namespace)
    return namespace


def _execute(code: CodeType, namespace: dict[str, Any]) -> None:
    exec(code, namespace)  # noqa: S102 - the code of our own page


def _defines(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.isupper() for target in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef)


def main(folder: Path) -> None:
    """Run the page in a folder, and write it there with its outputs."""
    os.environ["MPLBACKEND"] = "agg"  # a window would wait for somebody to close it
    os.chdir(folder)
    text = run(PAGE.read_text())
    (folder / PAGE.name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else PAGE.parent)
