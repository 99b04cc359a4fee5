"""The loaded model: one image's run, which keeps its memory, beside runs of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from service.model.classifier import Classifier
    from tests.support.pictures import Digits


def test_one_image_gets_what_it_gets_among_others(classifier: Classifier, digits: Digits) -> None:
    """The answers of earlier runs stay, although all runs write to the same memory."""
    images = digits.images[:50, None]
    alone = [classifier.predict_one(image.tobytes()) for image in images]
    assert [answer.shape for answer in alone] == [(1, 10)] * 50
    assert np.abs(np.concatenate(alone) - classifier.predict(images)).max() < 1e-6
