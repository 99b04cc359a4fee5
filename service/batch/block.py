"""One block of a batch: prepared pictures in, rows out.

In: a classifier, and pictures with their names, prepared or refused. Out: a table of `SCHEMA`, in the same order. It is
a pure function that starts no process and no event loop, so any engine can run it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from ..errors import ServiceError
from ..inference.results import NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES, Run
from ..picture.mnist_format import SIDE
from ..picture.prepare import PreparedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..arrays import Pixels, Probabilities

T = TypeVar("T")

# A row has either an error, or all of the columns from confidence to polarity.
SCHEMA: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),  # unique in a batch
        pa.field("digit", pa.int8()),  # null: no ink, or an error
        pa.field("confidence", pa.float32()),
        pa.field("probabilities", pa.list_(pa.float32(), 10)),  # of 0 to 9
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("ink_ratio", pa.float64()),  # share of the picture's pixels that are ink
        pa.field("polarity", pa.string()),  # light_on_dark or dark_on_light
        pa.field("error", pa.string()),  # a sentence; null: none
        pa.field("reason", pa.string()),  # of the error, as a label
        pa.field("model", pa.string(), nullable=False),  # NAME/VERSION
    ]
)


class Item(NamedTuple):
    """A picture with its name: prepared, or the error that refuses it."""

    name: str
    found: PreparedImage | ServiceError


class Predictor(Protocol):
    """What a block needs of a `service.model.classifier.Classifier`."""

    name: str
    version: str

    def predict(self, images: Pixels) -> Probabilities:
        """Return probabilities float32[N,10] of images uint8[N,1,28,28]."""


class _Row(NamedTuple):
    digit: int | None
    confidence: float
    probabilities: Sequence[float]
    warnings: tuple[str, ...]


def predict_block(classifier: Predictor, items: Sequence[Item]) -> pa.Table:
    """Return a row of `SCHEMA` for each item, in order; all pictures go through the network in one run."""
    images = [item.found for item in items if isinstance(item.found, PreparedImage)]
    read = iter(_predict(classifier, images))
    rows = [None if isinstance(item.found, ServiceError) else next(read) for item in items]
    found = [item.found for item in items]

    def predicted(value: Callable[[_Row], T]) -> list[T | None]:
        return [None if row is None else value(row) for row in rows]

    def prepared(value: Callable[[PreparedImage], T]) -> list[T | None]:
        return [value(each) if isinstance(each, PreparedImage) else None for each in found]

    def refused(value: Callable[[ServiceError], T]) -> list[T | None]:
        return [value(each) if isinstance(each, ServiceError) else None for each in found]

    columns = {
        "name": [item.name for item in items],
        "digit": predicted(lambda row: row.digit),
        "confidence": predicted(lambda row: row.confidence),
        "probabilities": _probabilities(rows),
        "warnings": predicted(lambda row: row.warnings),
        "ink_ratio": prepared(lambda image: image.ink_ratio),
        "polarity": prepared(lambda image: image.polarity),
        "error": refused(lambda error: error.detail),
        "reason": refused(lambda error: error.reason),
        "model": [f"{classifier.name}/{classifier.version}"] * len(items),
    }
    return pa.table(columns, schema=SCHEMA)


def _predict(classifier: Predictor, images: Sequence[PreparedImage]) -> list[_Row]:
    """Return the prediction of each image; those without ink do not go to the network."""
    inked = b"".join(image.rows for image in images if image.has_ink)
    pixels = np.frombuffer(inked, np.uint8).reshape(-1, 1, SIDE, SIDE)
    run = Run(classifier.predict(pixels) if len(pixels) else np.empty((0, 10), np.float32))
    results = zip(run.digits, run.confidences, run.probabilities, run.warnings, strict=True)
    rows = []
    for image in images:
        if image.has_ink:
            digit, confidence, probabilities, warnings = next(results)
            rows.append(_Row(digit, confidence, probabilities, image.warnings + warnings))
        else:
            rows.append(_Row(None, NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES, image.warnings))
    return rows


def _probabilities(rows: Sequence[_Row | None]) -> pa.Array:
    """Return the column of ten probabilities in each row that has a prediction."""
    values = np.zeros((len(rows), 10), np.float32)
    for number, row in enumerate(rows):
        if row is not None:
            values[number] = row.probabilities
    missing = pa.array([row is None for row in rows], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 10, mask=missing)
