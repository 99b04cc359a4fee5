"""The reference on a card: counts by signal, of MNIST and of each family of rendered pictures."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from service.model.classifier import Classifier
from service.observability.reference import parse
from service.observability.signals import BINS
from tests.support.service import MODELS, VERSION
from training import data
from training.data.digits import NOT_A_DIGIT
from training.evaluation.reference import describe_reference
from training.synthesis import rendered
from training.synthesis.rendered import Facts

if TYPE_CHECKING:
    from training.data import Digits
    from training.data.mnist import Dataset

MODEL = (MODELS / VERSION / "model.onnx").read_bytes()
COUNT = 200


@pytest.fixture(scope="module")
def few(dataset: Dataset) -> Digits:
    """The first digits of MNIST's test."""
    return dataset.test.take(torch.arange(COUNT))


@pytest.fixture(scope="module")
def reference(few: Digits) -> dict[str, Any]:
    """The reference of the committed model, on few digits and all that are rendered."""
    _, held_out = rendered.load()
    digits = held_out.take(held_out.labels < NOT_A_DIGIT)
    return describe_reference(MODEL, few, digits, rendered.load_held_out_facts())


def test_each_source_is_counted_in_every_signal(reference: dict[str, Any]) -> None:
    """Each picture is in one bin of a signal, and the warnings are of some; the service can use all of it."""
    families = Counter(facts.family for facts in rendered.load_held_out_facts())
    counts = {name: source["pictures"] for name, source in reference["sources"].items()}
    assert counts == {"mnist": COUNT, **families}
    for source in reference["sources"].values():
        assert all(sum(source[signal]) == source["pictures"] for signal in set(BINS) - {"warnings"})
        assert max(source["warnings"]) < source["pictures"] / 4
    shares, problems = parse(json.loads(json.dumps(reference)))
    assert (set(shares), list(problems)) == (set(BINS), [])


def test_mnist_is_counted_as_a_service_would(reference: dict[str, Any], few: Digits) -> None:
    """Digits and confidences are those of the model, in bins with upper bounds; MNIST is light on dark."""
    probabilities = Classifier.load(MODELS, VERSION).predict(few.images.numpy())
    mnist = reference["sources"]["mnist"]
    assert mnist["polarity"] == [COUNT, 0]
    assert mnist["digits"] == np.bincount(probabilities.argmax(1), minlength=10).tolist()
    above = (probabilities.max(1) > 0.99).sum()
    assert mnist["confidence"][-1] == above > COUNT / 2
    assert mnist["ink_ratio"][0] == 0


def test_pictures_without_ink_have_neither_digit_nor_confidence(few: Digits) -> None:
    """They count as pictures, by their polarity and ink, and have no other warning."""
    blank = data.Digits(torch.zeros_like(few.images[:3]), torch.zeros(3, dtype=torch.int64))
    facts = [Facts(0, "empty", "dark_on_light", 0.0, warnings) for warnings in [("no_ink",)] * 2 + [("cut_off",)]]
    source = describe_reference(MODEL, few, blank, facts)["sources"]["empty"]
    assert source["pictures"] == 3
    assert (sum(source["confidence"]), sum(source["digits"])) == (1, 1)
    assert (source["ink_ratio"][0], source["polarity"]) == (3, [0, 3])
    assert dict(zip(BINS["warnings"], source["warnings"], strict=True))["no_ink"] == 2
    assert dict(zip(BINS["warnings"], source["warnings"], strict=True))["cut_off"] == 1


def test_facts_of_other_pictures_are_no_reference(few: Digits) -> None:
    """Each held-out digit has its facts, and nothing else has some."""
    with pytest.raises(ValueError, match="longer"):
        describe_reference(MODEL, few, few, rendered.load_held_out_facts()[: COUNT - 1])


def test_the_reference_is_small(reference: dict[str, Any]) -> None:
    """A card has room for a mebibyte, and people read it."""
    assert len(json.dumps(reference, indent=2)) < 10_000
