"""Report and comparison in a real Chromium: a phone and a desk, light and dark, words that explain themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import needs_axe, needs_chromium, running_chromium, violations
from tests.support.training import SMALL
from training.config import RECIPES
from training.evaluation.metrics import outputs
from training.export.quantise import Export
from training.loop.fit import Epoch
from training.reporting import compare
from training.reporting.report import Findings, render_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.support.training import Trained

pytestmark = needs_chromium
EPOCHS = [Epoch(n, 0.5 / n, 0.3 / n, 1 - 0.1 / n, 2.0 * n, 0.001 * n, [0.3, 0.2, 0.1]) for n in (1, 2, 3)]
LONG = "a-run-with-a-very-long-name-of-which-no-letter-is-cut-off"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> dict[str, Path]:
    """A report of three epochs, and a comparison of eleven runs of all recipes."""
    folder = tmp_path_factory.mktemp("pages")
    network, digits = trained
    exports = {name: Export(1000, 0.9912, 0.03, 30.0) for name in ("fp32", "int8", "int8_dynamic")}
    findings = Findings(SMALL, network, "a wheel", digits, outputs(network.probabilities, digits.images), exports)
    (folder / "report.html").write_text(render_report(findings, EPOCHS, ended="not published: " + "x" * 200))
    runs = []
    for seed in range(11):
        config = replace(list(RECIPES.values())[seed % len(RECIPES)], seed=seed)
        run = folder / f"{LONG}-{seed}"
        run.mkdir()
        (run / "config.json").write_text(json.dumps(config.hyperparameters()))
        (run / "metrics.jsonl").write_text("".join(json.dumps(asdict(epoch)) + "\n" for epoch in EPOCHS))
        runs.append(compare.read(run))
    (folder / "compare.html").write_text(compare.render_page(runs))
    return {name: folder / f"{name}.html" for name in ("report", "compare")}


def _open(browser: Browser, path: Path, width: int, scheme: str) -> Page:
    page = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if scheme == "dark" else "light", offline=True
    ).new_page()
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("width", [320, 375, 1200])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_no_page_is_wider_than_its_window(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    """A wide table scrolls in itself; names in a legend wrap; the page does not scroll sideways."""
    page = _open(browser, pages[name], width, "light")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        "[...document.querySelectorAll('figcaption, .legend li, figure p, .facts div')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth || e.scrollWidth > e.clientWidth).length"
    )
    assert cut == 0
    page.context.close()


@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_is_dark_where_the_reader_wants_it(browser: Browser, pages: dict[str, Path], name: str) -> None:
    """Ground, text and every text of every chart have other colours, and each stands out from its card."""
    look = (
        "[...document.querySelectorAll('body, figure, figure svg text')].map(e => [e.tagName, "
        "getComputedStyle(e)[e.tagName == 'text' ? 'fill' : 'backgroundColor'].match(/\\d+/g).slice(0, 3).map(Number)])"
    )
    for scheme in ("light", "dark"):
        page = _open(browser, pages[name], 1200, scheme)
        for tag, colour in page.evaluate(look):
            bright = sum(colour) / 3 > 128
            assert bright == ((scheme == "dark") == (tag == "text")), (scheme, tag, colour)
        page.context.close()


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_axe_finds_no_violation(browser: Browser, pages: dict[str, Path], name: str, scheme: str) -> None:
    """On a phone and on a desk."""
    page = _open(browser, pages[name], 375, scheme)
    for width in (375, 1200):
        page.set_viewport_size({"width": width, "height": 800})
        assert violations(page) == [], width
    page.context.close()


@pytest.mark.parametrize("width", [375, 1200])
def test_a_word_explains_itself(browser: Browser, pages: dict[str, Path], width: int) -> None:
    """Its line is shown on hover and on focus, inside the window, and hidden otherwise."""
    page = _open(browser, pages["report"], width, "light")
    for name in ("ECE", "epochs", "deslant", "learning_rate"):
        word = page.get_by_role("button", name=name, exact=True).first
        line = page.locator(f"#{word.get_attribute('aria-describedby')}")
        expect(line).to_be_hidden()
        word.hover()
        expect(line).to_be_visible()
        page.mouse.move(0, 0)
        expect(line).to_be_hidden()
        word.focus()
        expect(line).to_be_visible()
        box = line.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        word.blur()
    page.context.close()
