"""Encode predictions as the JSON of `POST /predict`.

In: digits and warnings, and probabilities that are JSON already. Out: the body. It knows neither pictures nor the
model. Text is put together from text, because an object for each number would cost more than all else of a response.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DIGIT = b'{"digit":%d,"confidence":%b,"probabilities":[%b],"warnings":%b}'
_NO_DIGIT = b'{"digit":null,"confidence":%b,"probabilities":%b,"warnings":%b}'


def encode(model: Mapping[str, str], predictions: Iterable[bytes]) -> bytes:
    """Return the body for the predictions of one model."""
    return b'{"model":%b,"predictions":[%b]}' % (orjson.dumps(model), b",".join(predictions))


def encode_digits(digits: Iterable[int], rows: Iterable[bytes], warnings: Iterable[Sequence[str]]) -> list[bytes]:
    """Return a prediction for each digit; a row is its ten probabilities, with commas between."""
    return [
        _DIGIT % (digit, row.split(b",", digit + 1)[digit], row, _names(found))
        for digit, row, found in zip(digits, rows, warnings, strict=True)
    ]


def encode_no_digit(confidence: float, probabilities: Sequence[float], warnings: Sequence[str]) -> bytes:
    """Return the prediction of a picture without a digit."""
    return _NO_DIGIT % (orjson.dumps(confidence), orjson.dumps(probabilities), _names(warnings))


def encode_error(members: Mapping[str, Any]) -> bytes:
    """Return what stands in the place of a prediction that failed."""
    return b'{"error":%b}' % orjson.dumps(members)


def add_members(prediction: bytes, members: Mapping[str, Any]) -> bytes:
    """Return the prediction with further members."""
    return b"%b,%b" % (prediction[:-1], orjson.dumps(members)[1:]) if members else prediction


def _names(warnings: Sequence[str]) -> bytes:
    return orjson.dumps(warnings) if warnings else b"[]"
