"""A real Chromium, and the drawing page in it.

In: a service's address. Out: the page, drawn on as a person would. It knows the page's elements, not the service.
"""

from __future__ import annotations

import contextlib
import http.server
import math
import shutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, Route

CHROMIUM = shutil.which("chromium") or ""
AXE = Path(sys.prefix) / "clients" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="make dev installs axe-core where there is npm")
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
NAMED = "--host-resolver-rules=MAP digits.example 127.0.0.1"  # a name that is not this machine's own
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}

Stroke: TypeAlias = "list[tuple[float, float]]"


def arc(x: float, y: float, radii: tuple[float, float], start: int, end: int) -> Stroke:
    """A part of an ellipse on the unit square, clockwise from `start` to `end` degrees; 0 is to the right."""
    angles = [math.radians(start + (end - start) * step / 9) for step in range(10)]
    return [(x + radii[0] * math.cos(angle), y + radii[1] * math.sin(angle)) for angle in angles]


GLYPHS: dict[int, list[Stroke]] = {
    0: [arc(0.5, 0.5, (0.18, 0.28), -90, 270)],
    1: [[(0.52, 0.2), (0.5, 0.5), (0.48, 0.8)]],
    2: [[*arc(0.5, 0.37, (0.17, 0.16), 190, 380), (0.33, 0.78), (0.7, 0.78)]],
    3: [arc(0.47, 0.36, (0.16, 0.14), -150, 80) + arc(0.47, 0.64, (0.18, 0.15), -80, 150)],
    4: [[(0.38, 0.22), (0.32, 0.55), (0.7, 0.55)], [(0.6, 0.32), (0.58, 0.82)]],
    5: [[(0.66, 0.22), (0.4, 0.22), (0.37, 0.46), *arc(0.48, 0.62, (0.18, 0.17), -115, 150)]],
    6: [arc(0.6, 0.52, (0.24, 0.34), -110, -180) + arc(0.5, 0.65, (0.15, 0.15), 180, 540)],
    7: [[(0.28, 0.24), (0.5, 0.24), (0.72, 0.23), (0.6, 0.5), (0.46, 0.8)]],
    8: [arc(0.5, 0.36, (0.13, 0.14), 90, 450) + arc(0.5, 0.65, (0.16, 0.15), -90, 270)],
    9: [[*arc(0.5, 0.38, (0.15, 0.15), 0, 360), (0.65, 0.5), (0.62, 0.82)]],
}


@contextlib.contextmanager
def running_chromium() -> Iterator[Browser]:
    """A browser that finds the service under a name, too."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, NAMED])
        yield browser
        browser.close()


def violations(page: Page, *ignored: str) -> list[str]:
    """What axe-core finds, by rule and element; evaluated from outside, where the page's policy does not hold."""
    page.evaluate(AXE.read_text())
    options = {"resultTypes": ["violations"], "rules": {rule: {"enabled": False} for rule in ignored}}
    found = page.evaluate("(options) => axe.run(options).then((results) => results.violations)", options)
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


def refuse_once(page: Page) -> list[str]:
    """Refuse the page's next prediction, as a service that is full does; the request's URL is then in the list."""
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        problem = '{"title": "Service Unavailable", "status": 503, "detail": "the queue is full"}'
        route.fulfill(status=503, headers={"Retry-After": "1"}, body=problem, content_type="application/problem+json")

    page.route("**/predict*", refuse, times=1)
    return refused


class EmptyPage(http.server.BaseHTTPRequestHandler):
    """Another site's page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def another_origin() -> Iterator[str]:
    """The origin of a server on a port of its own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Visit:
    """A page opened afresh, with what went on in it; `model` is what it says of the model before it is used.

    Of another page than the drawing page, `path` is its path, and `says` the element that says it.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        path: str = "",
        *,
        model: str = "version",
        says: str = "#model",
        **options: Any,
    ) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.url = url
        self.complaints: list[str] = []
        self.urls: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.goto(url + path)
        expect(self.page.locator(says)).to_contain_text(model)

    def draw(self, digit: int) -> None:
        """Writes a digit with the mouse."""
        for stroke in GLYPHS[digit]:
            self.stroke(stroke)
            self.page.mouse.up()

    def stroke(self, stroke: Stroke) -> None:
        """Draws a line with the mouse and leaves the button down."""
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)

    def expect_digit(self, digit: int) -> None:
        """Waits for an answer."""
        expect(self.page.locator("#digit")).to_have_text(str(digit))

    def press(self, name: str) -> None:
        """Presses the button with this name."""
        self.page.get_by_role("button", name=name).click()

    def close(self) -> None:
        """Closes the page and judges it: it asked nobody else, and nothing went wrong that was not meant to."""
        self.context.close()
        assert [url for url in self.urls if not url.startswith((self.url, "data:image/png", "blob:"))] == []
        assert self.complaints == []
