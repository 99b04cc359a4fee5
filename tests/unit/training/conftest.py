"""Real digits, and one small network trained on them, shared by the tests of training."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.training import RARELY, SMALL, Trained
from training import data
from training.evaluation.metrics import outputs
from training.loop.checkpoint import Checkpointer
from training.loop.fit import fit
from training.network.mlp import Network


@pytest.fixture(scope="session")
def dataset() -> data.Dataset:
    folder = os.environ.get("MNIST_DATA_DIR")
    return data.load(Path(folder) if folder else None)


@pytest.fixture(scope="session")
def trained(dataset: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    train, validation = data.split(dataset.train, SMALL.validation_share)
    network = Network.of(SMALL)
    list(fit(network, train, validation, SMALL, Checkpointer(tmp_path_factory.mktemp("run"), RARELY)))
    assert outputs(network, validation.images).isfinite().all()
    return Trained(network, validation)
