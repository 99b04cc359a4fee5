"""One block of a batch: a pure function of a classifier and prepared pictures."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from service.batch.block import SCHEMA, Item, predict_block
from service.errors import NotAPicture
from service.picture import prepare
from tests.support.pictures import SEVEN, drawn, png
from tests.support.service import ROOT

if TYPE_CHECKING:
    from service.model.classifier import Classifier


def test_rows_are_in_the_order_of_the_items(classifier: Classifier) -> None:
    """A digit, a picture without ink, and an error: each has its columns, and the network sees the first alone."""
    blank = prepare.read(png(drawn(60) * 0 + 255), max_pixels=10**6)
    items = [
        Item("blank", blank),
        Item("seven", prepare.read(SEVEN, max_pixels=10**6)),
        Item("wrong", NotAPicture("no picture")),
    ]
    table = predict_block(classifier, items)
    assert table.schema.equals(SCHEMA)
    table.validate(full=True)
    without, seven, wrong = table.to_pylist()
    assert (without["name"], without["digit"], without["warnings"]) == ("blank", None, ["no_ink"])
    np.testing.assert_allclose(without["probabilities"], [0.1] * 10)
    assert (seven["digit"], seven["error"], seven["polarity"]) == (7, None, items[1].found.polarity)  # type: ignore[union-attr]
    assert np.argmax(seven["probabilities"]) == 7
    assert (wrong["error"], wrong["reason"], wrong["probabilities"]) == ("no picture", "not_a_picture", None)
    assert {row["model"] for row in (without, seven, wrong)} == {f"{classifier.name}/{classifier.version}"}


def test_blocks_without_a_digit(classifier: Classifier) -> None:
    """An empty block, and one of errors alone."""
    assert predict_block(classifier, []).schema.equals(SCHEMA)
    assert len(predict_block(classifier, [Item("a", NotAPicture("no"))])) == 1


def test_the_block_needs_no_event_loop_and_no_server() -> None:
    """Any engine can import it: neither asyncio nor anything of HTTP comes with it."""
    program = (
        "import sys, service.batch.block\n"
        "print(sorted({'asyncio', 'fastapi', 'httptools', 'uvicorn', 'service.settings'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
