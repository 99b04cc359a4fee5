"""The weights of the page /learn, and the command that makes them."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from tests.support.learn import FILE, forward, read_weights
from training.__main__ import COMMANDS
from training.evaluation.onnx_runtime import run_onnx
from training.learn_weights import CONFIG, pack
from training.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pictures import Digits
    from training.data import Dataset


def test_rounded_weights_read_as_well_as_the_network(digits: Digits) -> None:
    """The page's file is under 40 kB, and reads 94.5 % of the test digits right: as the network does, to 0.3 points."""
    network = read_weights()
    _, probabilities = forward(network, digits.images.reshape(-1, 784) / 255)
    accuracy = float((probabilities.argmax(axis=1) == digits.labels).mean())
    assert accuracy >= 0.945
    assert abs(accuracy - network.accuracy) <= 0.003
    assert FILE.stat().st_size < 40_000


def test_packs_what_a_version_computes(dataset: Dataset, tmp_path: Path) -> None:
    """The packed weights of a published version give its probabilities but for the rounding, and carry its accuracy."""
    config = dataclasses.replace(
        CONFIG,
        epochs=1,
        batch_size=500,
        learning_rate=2,
        min_accuracy=0,
        models_dir=tmp_path / "models",
        run_dir=tmp_path / "run",
    )
    version = train(config, Console(quiet=True))
    assert version is not None
    network = read_weights(pack(version))
    images = dataset.test.images[:500]
    expected = run_onnx((version / "model.onnx").read_bytes(), images)
    _, found = forward(network, images.numpy().reshape(-1, 784) / 255)
    assert np.abs(found - np.asarray(expected)).max() < 0.05
    assert network.accuracy == json.loads((version / "model.json").read_text())["metrics"]["test"]["accuracy"]


def test_the_page_says_how_they_were_made() -> None:
    """The page has the command, and the numbers of steps and of pictures that the recipe makes of MNIST."""
    text = " ".join(FILE.with_name("index.html").read_text().replace("\u2019", "'").split())
    assert "python -m training learn-weights" in text
    assert "learn-weights" in COMMANDS
    pictures = round(60_000 * (1 - CONFIG.validation_share))
    assert CONFIG.batch_size == 10
    assert f"{pictures // 10 * CONFIG.epochs:,} of them, each with ten of MNIST's {pictures:,} pictures" in text
    assert f"a weight decay of {CONFIG.weight_decay:.4f}" in text
