"""Real digits, and one small network trained on them, shared by the tests of training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from training import data
from training.config import Config
from training.evaluation.metrics import outputs
from training.loop.checkpoint import Keeper
from training.loop.fit import fit
from training.network.mlp import Network

RARELY = 86_400.0  # seconds between checkpoints
SMALL = Config(hidden=(64, 32), epochs=1)


@pytest.fixture(scope="session")
def dataset() -> data.Dataset:
    folder = os.environ.get("MNIST_DATA_DIR")
    return data.load(Path(folder) if folder else None)


class Trained(NamedTuple):
    """A small network after one epoch, and digits that it has not seen."""

    network: Network
    validation: data.Digits


@pytest.fixture(scope="session")
def trained(dataset: data.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    train, validation = data.split(dataset.train, SMALL.validation_share)
    network = Network.of(SMALL)
    list(fit(network, train, validation, SMALL, Keeper(tmp_path_factory.mktemp("run"), RARELY)))
    assert outputs(network, validation.images).isfinite().all()
    return Trained(network, validation)
