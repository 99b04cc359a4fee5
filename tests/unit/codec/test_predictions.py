"""The JSON of predictions: text put together from text is the document that a JSON library writes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from service.codec import predictions
from service.inference.results import Results, Run

DIRICHLET = np.random.default_rng(7).dirichlet([0.1] * 10, 64).astype(np.float32)
EDGES = np.array([[1, *[0] * 9], [1e-38, 1 - 1e-7, *[1e-45] * 8], [0.1] * 10], np.float32)


@pytest.mark.parametrize("rows", [DIRICHLET, DIRICHLET[:1], EDGES], ids=["64", "1", "edges"])
def test_numbers_are_read_back_as_they_are(rows: np.ndarray) -> None:
    """Each float32 by its shortest decimal; the confidence is the digit's number in the list, to the last character."""
    results = Results(Run(rows), 0, len(rows))
    model = {"name": "mnist-mlp", "version": "7"}
    encoded = predictions.encode_digits(results.digits, results.json_rows, [("no_ink", "cut_off")] * len(rows))
    document = json.loads(predictions.encode(model, encoded))
    assert document["model"] == model
    for prediction, row in zip(document["predictions"], rows, strict=True):
        assert list(prediction) == ["digit", "confidence", "probabilities", "warnings"]
        assert np.array_equal(np.array(prediction["probabilities"], np.float32), row)
        assert prediction["digit"] == row.argmax()
        assert prediction["confidence"] == prediction["probabilities"][prediction["digit"]]
        assert prediction["warnings"] == ["no_ink", "cut_off"]


def test_what_is_no_digit_has_its_place() -> None:
    """An error, a picture without a digit, and further members, in a document with a digit."""
    (digit,) = predictions.encode_digits([0], Run(EDGES[:1]).json_rows, [()])
    no_digit = predictions.encode_no_digit(0.1, [0.1] * 10, ["no_ink"])
    error = predictions.encode_error({"status": 415, "detail": 'a "quote"'})
    members = [{"set": [0, 6]}, {}, {}]
    encoded = map(predictions.add_members, [digit, no_digit, error], members)
    document = json.loads(predictions.encode({}, encoded))
    assert document["predictions"] == [
        {"digit": 0, "confidence": 1, "probabilities": [1, *[0] * 9], "warnings": [], "set": [0, 6]},
        {"digit": None, "confidence": 0.1, "probabilities": [0.1] * 10, "warnings": ["no_ink"]},
        {"error": {"status": 415, "detail": 'a "quote"'}},
    ]
