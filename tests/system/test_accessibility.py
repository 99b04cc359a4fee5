"""Each page in a real Chromium, as axe-core judges it: in light and dark, on a desktop and on phones."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.browser import Visit, needs_axe, needs_chromium, running_chromium, violations
from tests.support.service import service_with_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = [needs_chromium, needs_axe]

# Each page, and what is on it when it is complete.
PAGES = {
    "/": "#model:has-text('version')",
    "/card": "#confusion td",
    "/learn": "#reads:has-text('.')",
    "/docs": ".opblock",
    "/docs#/predict/predict": ".highlight-code",
}
# What Swagger UI makes so: its headings begin at the third level, each summary of an operation is a button that holds a
# link, and examples that are wider than a phone are scrolled, but not with the keyboard.
SWAGGERS_OWN = ("heading-order", "nested-interactive", "scrollable-region-focusable")
SIZES = [(1200, 800), (320, 640), (640, 320)]
SCHEMES = ["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", PAGES)
def test_pages(browser: Browser, server_url: str, path: str, scheme: Any) -> None:
    """At each size there is no violation, and nothing sticks out sideways."""
    page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
    page.goto(server_url + path)
    expect(page.locator(PAGES[path]).first).to_be_visible()
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        assert violations(page, *(SWAGGERS_OWN if path.startswith("/docs") else ())) == [], width
        assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_drawing_page_in_use(browser: Browser, server_url: str, scheme: Any) -> None:
    """With an answer, the keyboard's help, a warning, what is wrong with a file, and the camera."""
    visit = Visit(browser, server_url, color_scheme=scheme, reduced_motion="reduce")
    page = visit.page
    visit.draw(7)
    visit.expect_digit(7)
    assert violations(page) == []
    page.locator("#pad").press("ArrowLeft")
    assert violations(page) == []
    blank = io.BytesIO()
    Image.new("L", (100, 100), 255).save(blank, "PNG")
    for name, content, where in (("blank", blank.getvalue(), "Warnings"), ("notes", b"hello", "")):
        page.locator("#file").set_input_files({"name": f"{name}.png", "mimeType": "image/png", "buffer": content})
        expect(page.get_by_role("list" if where else "alert", name=where)).not_to_be_empty()
        assert violations(page) == []
    visit.press("Camera")
    expect(page.get_by_role("button", name="Take picture")).to_be_enabled()
    assert violations(page) == []
    visit.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_page_that_asks_for_an_api_key(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    """The dialog, and the page behind it when the dialog is closed."""
    with service_with_key(tmp_path) as (service, _):
        page = browser.new_page(color_scheme=scheme, reduced_motion="reduce")
        for path in ("/", "/card"):
            page.goto(service.url + path)
            expect(page.get_by_role("dialog")).to_be_visible()
            assert violations(page) == []
            page.keyboard.press("Escape")
            expect(page.get_by_role("button", name="Try again")).to_be_visible()
            assert violations(page) == []
        page.close()
