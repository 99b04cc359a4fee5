"""Fixtures that many tests share: a running service, real digits with their offline answers, and versions to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest

from service.model.classifier import Classifier
from tests.support.pictures import Digits
from tests.support.service import MODELS, VERSION, publish, running_service
from tests.support.traffic import Expected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.arrays import Probabilities
    from tests.support.service import Service


@pytest.fixture(scope="session")
def server() -> Iterator[Service]:
    """One service for all tests that only ask; it serves the committed model, and a busy machine may take its time."""
    with running_service(timeout_seconds=60) as service:
        yield service


@pytest.fixture(scope="session")
def server_url(server: Service) -> str:
    """The base URL of the shared service."""
    return server.url


@pytest.fixture(scope="session")
def client(server_url: str) -> Iterator[httpx.Client]:
    """A keep-alive client of the shared service."""
    with httpx.Client(base_url=server_url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def digits() -> Digits:
    """All digits that MNIST keeps for testing."""
    from training import data

    test = data.load(None).test
    return Digits(test.images.numpy()[:, 0], test.labels.numpy())


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The committed model, in this process: what the service should answer."""
    return Classifier.load(MODELS, VERSION)


@pytest.fixture(scope="session")
def version_2() -> Classifier:
    """Version 2, which serves in tests that switch between it and version 1."""
    return Classifier.load(MODELS, "2")


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


@pytest.fixture(scope="session")
def expected(digits: Digits) -> Expected:
    """Digits on which the committed versions can be told apart."""
    return Expected.of(digits.images[:2000])


@pytest.fixture(scope="module")
def grpc_service() -> Iterator[Service]:
    """One service with gRPC, for the tests that only ask."""
    with running_service(grpc_port=0, timeout_seconds=60) as service:
        yield service


@pytest.fixture(scope="module")
def channel(grpc_service: Service) -> Iterator[Any]:
    """A connection to it."""
    with grpc.insecure_channel(grpc_service.grpc, [("grpc.max_send_message_length", -1)]) as channel:
        yield channel
