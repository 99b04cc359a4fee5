"""What the tests of the Open Inference Protocol share, over HTTP and over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from service.artefact import Probabilities
    from service.classifier import Classifier
    from tests.conftest import Digits


@pytest.fixture(scope="module")
def some(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty digits uint8[20,1,28,28] in a file."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=digits.images[:20, None])
    return path


@pytest.fixture(scope="module")
def offline(classifier: Classifier, digits: Digits) -> Probabilities:
    """What plain ONNX Runtime says of them."""
    return classifier.predict(digits.images[:20, None])
