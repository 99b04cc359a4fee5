"""The documentation as a site: every link leads somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Route

GENERATOR = Path(sys.prefix) / "docs" / "bin" / "zensical"
CHROMIUM = shutil.which("chromium") or ""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the pages, to build in."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    return folder


def _build(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [GENERATOR, "build", "--strict", "--clean"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(source: Path) -> Path:
    """The site, built as `make docs` builds it."""
    run = _build(source)
    assert run.returncode == 0, run.stdout + run.stderr
    return source / "build" / "docs"


def test_every_page_is_in_the_site_and_its_navigation(site: Path) -> None:
    """Each file of docs/ has a page, and the navigation links to it."""
    home = (site / "index.html").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / name).exists()
        assert f'href="./{name}"' in home or str(name) == "index.html"


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """No page names a script, style, font or picture of another host."""
    for page in site.rglob("*.html"):
        assert re.findall(r"<(?:script|link|img|iframe)[^>]*https?://[^>]*>", page.read_text()) == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?://", style.read_text()) == [], style


def test_a_broken_link_is_an_error(source: Path, site: Path, tmp_path: Path) -> None:
    """A link to a page or a heading that does not exist ends the build."""
    for link in ("nowhere.md", "api.md#nowhere"):
        folder = tmp_path / link.replace("#", "-")
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("build", ".cache"))
        with (folder / "docs" / "index.md").open("a") as page:
            page.write(f"\n[broken]({link})\n")
        assert _build(folder).returncode != 0


@pytest.fixture
def url(site: Path) -> Iterator[str]:
    """The site on a file server of this machine."""
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_site_works_offline(url: str) -> None:
    """In a browser without any other host, a page asks for nothing else, nothing fails, and the search finds a page."""
    asked, failed = [], []

    def only_here(route: Route) -> None:
        asked.append(route.request.url)
        if route.request.url.startswith(url):
            route.continue_()
        else:
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.route("**/*", only_here)
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.goto(f"{url}/metrics.html", wait_until="networkidle")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Metrics")
        page.keyboard.press("/")
        page.keyboard.type("canary")
        expect(page.get_by_text("Canary and shadow")).to_be_visible()
        browser.close()
    assert failed == []
    assert all(each.startswith((url, "data:", "blob:")) for each in asked)
