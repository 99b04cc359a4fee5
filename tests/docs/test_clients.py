"""The programs of docs/clients.md run as they are pasted, and `/docs` shows some of them."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from service.api.predict import EXAMPLES
from tests.docs.pages import DOCUMENTS, Block, blocks
from tests.support.browser import another_origin, needs_chromium, running_chromium
from tests.support.service import ROOT, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Page

CLIENTS = Path(sys.prefix) / "clients" / "bin" / "python"
BLOCKS = blocks(DOCUMENTS["docs/clients.md"])
IN_A_BROWSER = [block for block in BLOCKS if "document." in block.text]
# Draws a picture on a new canvas.
DRAW = """async (url) => {
    const picture = Object.assign(new Image(), { src: url });
    await picture.decode();
    const canvas = document.body.appendChild(document.createElement("canvas"));
    Object.assign(canvas, { width: picture.width, height: picture.height });
    canvas.getContext("2d").drawImage(picture, 0, 0);
}"""
SEVEN = re.compile(r"(seven\.png )?7 0\.99\d+( \[\]| \(\))?")


@pytest.fixture(scope="module")
def folder(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with seven.png, as the page's first command fetches it."""
    folder = tmp_path_factory.mktemp("clients")
    first, *_ = BLOCKS
    run(["bash", "-c", at(server_url, first.text.removeprefix("$ "))], folder)
    return folder


def at(url: str, text: str) -> str:
    """A text that asks this service."""
    return text.replace("localhost:8000", url.removeprefix("http://").replace("127.0.0.1", "localhost"))


def run(command: list[str | Path], folder: Path) -> str:
    """What a program prints; it must end well."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # as in the repository's folder
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def command(block: Block, folder: Path) -> list[str | Path]:
    """How to run a program of the page."""
    if block.language == "console":
        return ["bash", "-c", block.text.removeprefix("$ ")]
    if block.language == "python":
        return [CLIENTS if "tritonclient" in block.text else sys.executable, "-c", block.text]
    program = shutil.which({"js": "node", "go": "go"}[block.language])
    if program is None:
        pytest.skip(f"there is nothing here that runs {block.language}")
    if block.language == "js":
        return [program, "--input-type=module", "--eval", block.text]
    (folder / "main.go").write_text(block.text)
    return [program, "run", "main.go"]


OTHERS = [block for block in BLOCKS[1:] if block not in IN_A_BROWSER]


@pytest.mark.parametrize("block", OTHERS, ids=[block.text.splitlines()[0] for block in OTHERS])
def test_a_program_prints_the_digit(block: Block, server_url: str, folder: Path) -> None:
    """Each program of the page asks a running service, and prints a seven."""
    printed = run(command(block._replace(text=at(server_url, block.text)), folder), folder)
    if block.language == "console":
        assert '"digit":7' in printed
    else:
        assert all(SEVEN.fullmatch(line) for line in printed.splitlines()), printed
        assert printed


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with running_chromium() as browser:
        yield browser.new_page()


@needs_chromium
def test_a_page_sends_its_canvas(page: Page, folder: Path) -> None:
    """In a page of another origin, which the service allows, the snippet for browsers sends what is on the canvas."""
    (snippet,) = IN_A_BROWSER
    seven = base64.b64encode((folder / "seven.png").read_bytes()).decode()
    with another_origin() as origin, running_service(cors_origins=origin) as service:
        page.goto(origin)
        page.evaluate(DRAW, f"data:image/png;base64,{seven}")
        with page.expect_console_message() as said:
            page.evaluate(f"async () => {{ {at(service.url, snippet.text)} }}")
    assert SEVEN.fullmatch(said.value.text), said.value.text


def test_what_the_service_shows_is_on_the_page(client: httpx.Client) -> None:
    """The description of `/predict` in `/openapi.json` has programs of docs/clients.md, one for each language."""
    shown = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["description"]
    assert shown == EXAMPLES.read_text().rstrip()
    assert {block.language for block in blocks(shown)} == {"console", "python", "js", "go"}
    assert [block for block in BLOCKS if block in blocks(shown)] == blocks(shown)


@needs_chromium
def test_the_docs_of_the_service_show_them(page: Page, server_url: str) -> None:
    """`/docs` shows the programs as blocks of code, each behind its title."""
    page.goto(f"{server_url}/docs")
    page.get_by_text("Which digits do these pictures show?").click()
    titles = page.locator("#operations-predict-predict summary")
    shown = blocks(EXAMPLES.read_text())
    expect(titles).to_have_count(len(shown))
    for number, block in enumerate(shown):
        code = page.locator("#operations-predict-predict details pre code").nth(number)
        expect(code).to_be_hidden()
        titles.nth(number).click()
        expect(code).to_be_visible()
        expect(code).to_have_text(block.text)
