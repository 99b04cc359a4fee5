"""Real digits and pictures of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import pytest
from PIL import Image

from service.classifier import Classifier
from tests.conftest import MODELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from service.picture import Pixels


class Digits(NamedTuple):
    """MNIST's test digits."""

    images: Pixels  # uint8[N,28,28]
    labels: NDArray[np.int64]  # int64[N]


@pytest.fixture(scope="session")
def digits() -> Digits:
    """All digits that MNIST keeps for testing."""
    from training import data

    test = data.load(None).test
    return Digits(test.images.numpy()[:, 0], test.labels.numpy())


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The committed model, in this process: what the service should answer."""
    return Classifier.load(MODELS, "1")


def png(pixels: Pixels, **options: object) -> bytes:
    """A picture as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()
