"""What tests of the service share over HTTP and over gRPC: digits, their offline answers, and versions to change."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.conftest import MODELS
from tests.traffic import Expected

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


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model's folder with version 1."""
    folder = tmp_path / "models"
    folder.mkdir()
    publish(folder, 1)
    return folder


def publish(models: Path, version: int) -> None:
    """A committed version, whole at once, as export publishes."""
    shutil.copytree(MODELS / str(version), models / ".unfinished")
    (models / ".unfinished").rename(models / str(version))


@pytest.fixture(scope="session")
def expected(digits: Digits) -> Expected:
    """Digits on which versions 1 and 2 can be told apart."""
    return Expected.of(digits.images[:2000])
