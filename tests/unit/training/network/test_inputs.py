from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from training.network.mlp import Network

if TYPE_CHECKING:
    from training.data import Dataset


@pytest.mark.parametrize("deslant", [False, True])
def test_principal_components_are_those_of_the_images(dataset: Dataset, deslant: bool) -> None:
    """The first weights see the projections with the largest variances: not correlated, centred, of mean variance 1."""
    network = Network((8,), "relu", batch_norm=True, deslant=deslant, components=12, seed=0)
    images = dataset.train.images[:1000]
    network.find_components(images)
    seen = network.see_all(images).double()
    assert seen.shape == (1000, 12)
    every = network.prepare(images) if deslant else images
    pixels = network.frame.crop(every).flatten(1).double()
    largest = torch.linalg.svdvals(pixels - pixels.mean(dim=0)).square()[:12].flip(0) / 1000
    expected = torch.diag(largest / largest.mean())
    torch.testing.assert_close(seen.T @ seen / 1000, expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(12).double(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("components", [0, 12])
def test_what_is_seen_once_is_what_every_step_would_see(dataset: Dataset, components: int) -> None:
    """Logits of images are those of what the first weights see of them, which is found before the first step."""
    network = Network((8,), "relu", batch_norm=True, deslant=True, components=components, seed=0).eval()
    images = dataset.train.images[:600]
    network.find_components(images)
    torch.testing.assert_close(network.classify(network.see_all(images)), network(images))
