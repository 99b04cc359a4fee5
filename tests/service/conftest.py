"""What tests of the service share over HTTP and over gRPC: digits, their offline answers, and versions to change."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from service.picture.mnist_format import in_mnist_form, seems_mnist_form
from tests.conftest import MODELS, running_service
from tests.traffic import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.model.artefact import Probabilities
    from service.model.classifier import Classifier
    from service.picture.decode import Pixels
    from tests.conftest import Digits, Service


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


def is_mnist_form(pixels: Pixels) -> bool:
    """Whether `uint8[28, 28]` is in MNIST's own form: it seems so, and is."""
    return seems_mnist_form(pixels.tobytes()) and in_mnist_form(pixels[None])[0]


@pytest.fixture(scope="session")
def expected(digits: Digits) -> Expected:
    """Digits on which versions 1 and 2 can be told apart."""
    return Expected.of(digits.images[:2000])


@pytest.fixture(scope="module")
def grpc_service() -> Iterator[Service]:
    """One service with gRPC, for the tests that only ask."""
    with running_service(grpc_port=0) as service:
        yield service


@pytest.fixture(scope="module")
def channel(grpc_service: Service) -> Iterator[Any]:
    """A connection to it."""
    with grpc.insecure_channel(grpc_service.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        yield channel
