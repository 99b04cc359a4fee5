"""In a real Chromium: a page of another origin that asks the service, and the service below a path of nginx."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from service.access import keys
from tests.support.browser import Visit, another_origin, needs_chromium, running_chromium
from tests.support.http import LOAD
from tests.support.proxies import running_proxy
from tests.support.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = needs_chromium
# What a page does with `fetch`: status, digit or detail, and headers that the service exposes; or that it may not.
ASK = """async ([url, options]) => {
    if (options.pixels) options.body = new Uint8Array(options.pixels);
    try {
        const answer = await fetch(url, options), text = await answer.text();
        return {status: answer.status, id: answer.headers.get("X-Request-ID"), text};
    } catch (error) { return {failed: String(error)}; }
}"""
PIXELS = {"method": "POST", "headers": {"Content-Type": "application/octet-stream"}, "pixels": [0] * 784}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def ask(page: Page, url: str, **options: object) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(ASK, [url, options])
    return found


def test_a_page_of_an_allowed_origin_asks_with_a_key(browser: Browser, tmp_path: Path) -> None:
    """Preflight and all: it reads the digits, the errors and the id; without the setting it may read nothing."""
    key, line = keys.new("page", "infer,metrics,admin", None)
    file = tmp_path / "keys.txt"
    file.write_text(line)
    bearer = {"Authorization": f"Bearer {key}"}
    with another_origin() as allowed, another_origin() as other:
        with running_service(api_keys_file=file, cors_origins=allowed) as service:
            page = browser.new_page()
            page.goto(allowed)
            for path in ("/predict", "/predict?explain=1"):
                options = PIXELS | {
                    "headers": bearer | {"Content-Type": "application/octet-stream", "X-Request-ID": "a"}
                }
                found = ask(page, service.url + path, **options)
                assert (found["status"], found["id"]) == (200, "a")
                assert "no_ink" in found["text"]
            refused: list[tuple[dict[str, Any], int]] = [
                (PIXELS, 401),
                (PIXELS | {"headers": bearer, "pixels": [1]}, 415),
                (PIXELS | {"headers": bearer | {"Content-Type": "application/octet-stream"}, "pixels": [1]}, 400),
                ({"method": "PUT", "headers": bearer | {"Content-Type": "image/png"}, "body": "x"}, 405),
            ]
            for options, status in refused:
                found = ask(page, f"{service.url}/predict", **options)
                assert (found["status"], len(found["id"]) > 0) == (status, True)
                assert '"detail"' in found["text"]
            for path in ("/metrics", "/v2/repository/index", LOAD):
                method = "GET" if path == "/metrics" else "POST"
                assert "failed" in ask(page, service.url + path, method=method, headers=bearer), path
            page.goto(other)
            assert "failed" in ask(page, f"{service.url}/predict", **PIXELS)
            page.close()
        with running_service() as service:
            page = browser.new_page()
            page.goto(allowed)
            assert "failed" in ask(page, f"{service.url}/predict", **PIXELS)
            page.close()


@pytest.fixture(scope="module")
def below() -> Iterator[str]:
    """nginx, which publishes a service below three paths."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    with (
        running_service(root_path="/digits", trusted_proxies="127.0.0.1") as service,
        running_proxy("nginx", service.url) as proxy,
    ):
        yield proxy


@pytest.mark.parametrize("path", ["/digits/", "/named/", "/left/", "/left"])
def test_page_and_documentation_work_below_a_path(browser: Browser, below: str, path: str) -> None:
    """nginx removes the path and says nothing of it, or names it, or leaves it: a digit is read, and /docs asks too."""
    expect.set_options(timeout=15_000)
    visit = Visit(browser, below + path)
    visit.url = below + path.rstrip("/") + "/"
    assert visit.page.url == visit.url
    visit.urls.remove(below + path)
    visit.draw(7)
    visit.expect_digit(7)
    for other in ("learn", "learn/", "card", "card/"):
        visit.page.goto(visit.url + other, wait_until="networkidle")
        assert visit.page.evaluate("() => document.styleSheets.length") > 0
        expect(visit.page.get_by_role("heading", level=1)).to_be_visible()
    for docs in ("docs", "docs/"):
        visit.page.goto(visit.url + docs)
        block = visit.page.locator("#operations-predict-predict")
        block.locator(".opblock-summary").click()
        block.get_by_role("button", name="Try it out").click()
        block.get_by_label("Request content type").select_option("application/json")
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
        expect(block.locator(".request-url")).to_contain_text(f"{visit.url}predict")
        expect(block.locator(".live-responses-table")).to_contain_text('"digit": 1')
    assert visit.complaints == []
    visit.close()
