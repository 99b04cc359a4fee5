"""The drift report of a batch: counts as the service's metrics have them, the index, the verdict, and the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import expect
from prometheus_client import CollectorRegistry

from service.batch.block import SCHEMA, Item, predict_block
from service.batch.counts import count
from service.batch.report import measure, render
from service.errors import NotAPicture
from service.inference.results import Results, Run
from service.observability.drift import count as count_metrics
from service.observability.metrics import Metrics
from service.picture import prepare
from tests.support.browser import needs_axe, needs_chromium, running_chromium, violations
from tests.support.pictures import SEVEN, drawn, png

if TYPE_CHECKING:
    from pathlib import Path

    from service.batch.report import Drift
    from service.model.classifier import Classifier
    from tests.support.pictures import Digits

SIZES = [(1200, 800), (320, 640), (640, 320)]
# Headings of tables with a word that is on two lines, or that sticks out of its card.
BROKEN_HEADINGS = """[...document.querySelectorAll("section th")].flatMap(th => {
    const text = th.firstChild, right = th.closest("section").getBoundingClientRect().right;
    return [...(text?.data ?? "").matchAll(/\\S+/g)].filter(word => {
        const range = document.createRange();
        range.setStart(text, word.index), range.setEnd(text, word.index + word[0].length);
        return range.getClientRects().length > 1 || th.closest("table").getBoundingClientRect().right > right;
    }).map(word => word[0]);
})"""


def part(folder: Path, classifier: Classifier, items: list[Item]) -> list[Path]:
    """A part with the rows of these items."""
    pq.write_table(predict_block(classifier, items), folder / "part.parquet")
    return [folder / "part.parquet"]


def read(data: bytes) -> prepare.PreparedImage:
    return prepare.read(data, max_pixels=10**6)


def mixed(digits: Digits) -> list[Item]:
    """Digits of MNIST, drawn ones, pictures without ink, and errors."""
    images = [read(png(image)) for image in digits.images[:300]]
    images += [read(png(drawn(60 + n))) for n in range(20)] + [read(png(drawn(60) * 0 + 255))] * 5
    return [*(Item(str(n), image) for n, image in enumerate(images)), Item("x", NotAPicture("no"))]


def test_counts_are_those_of_the_metrics(tmp_path: Path, classifier: Classifier, digits: Digits) -> None:
    """For the same pictures, each signal has the counts that the service would measure its drift by."""
    from service.inference.engine import Engine

    items = mixed(digits)
    counts = count(part(tmp_path, classifier, items))
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    engine = Engine.__new__(Engine)
    engine._metrics = metrics
    images = [item.found for item in items if isinstance(item.found, prepare.PreparedImage)]
    inked = [image for image in images if image.has_ink]
    import numpy as np

    run = Run(classifier.predict(np.stack([image.pixels for image in inked])[:, None]))
    engine.count_images(images)
    engine.count_results(Results(run, 0, len(inked)))
    metrics.buffered.flush()
    expected = count_metrics(registry.collect())
    assert {signal: counts.parted(signal).tolist() for signal in expected} == expected
    assert (counts.rows, counts.errors, counts.no_ink, counts.digits) == (326, 1, 5, 320)
    assert counts.reasons == {"not_a_picture": 1}


def measured(folder: Path, classifier: Classifier, pictures: list[bytes], card: dict[str, Any] | None = None) -> Drift:
    items = [Item(str(n), read(data)) for n, data in enumerate(pictures)]
    return measure(count(part(folder, classifier, items)), classifier.card if card is None else card)


def test_verdicts(tmp_path: Path, classifier: Classifier, digits: Digits) -> None:
    """MNIST's digits are as expected, one picture over and over is a drift; few pictures have no verdict."""
    good = measured(tmp_path, classifier, [png(image) for image in digits.images[:1000]])
    assert good.verdict == "The pictures are like those that the model was measured on."
    assert all(signal.psi is not None and signal.psi < 0.1 for signal in good.signals)
    same = measured(tmp_path, classifier, [SEVEN] * 500)
    assert same.verdict.startswith("The pictures have drifted from those that the model was measured on, in: digits")
    few = measured(tmp_path, classifier, [SEVEN] * 399)
    assert few.verdict == "No verdict: fewer than 400 pictures without an error say little, and this batch has 399."
    none = measured(tmp_path, classifier, [SEVEN] * 400, {"name": "other"})
    assert none.verdict == "No verdict: the model's card has no reference."
    pq.write_table(pa.Table.from_pylist([], SCHEMA), tmp_path / "empty.parquet")
    assert measure(count([tmp_path / "empty.parquet"]), classifier.card).verdict.startswith("No verdict")


@needs_chromium
@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_complete(
    tmp_path: Path, classifier: Classifier, digits: Digits, scheme: Any
) -> None:
    """In light and dark, on desktops and phones: no violation, nothing sticks out sideways, and nothing is loaded."""
    items = [*mixed(digits), *(Item(f"s{n}", read(SEVEN)) for n in range(300))]
    counts = count(part(tmp_path, classifier, items))
    drift = measure(counts, classifier.card)
    page_file = tmp_path / "report.html"
    settings = json.dumps({"max_pixels": 50, "formats": "x" * 200, "column": None})
    page_file.write_text(render(drift, counts, {"model": "<b>&", "settings": settings}))
    with running_chromium() as browser:
        page = browser.new_page(color_scheme=scheme)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        expect(page.get_by_role("heading", level=1)).to_have_text("Drift of a batch")
        expect(page.get_by_role("region", name="Digits").get_by_role("row")).to_have_count(11)
        expect(page.locator(".verdict")).to_have_text(drift.verdict)
        expect(page.get_by_text("<b>&")).to_be_visible()
        expect(page.get_by_text(f"max pixels 50, formats {'x' * 200}", exact=True)).to_be_visible()
        assert asked == [page_file.as_uri()]
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            assert violations(page) == [], width
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(BROKEN_HEADINGS) == [], width
