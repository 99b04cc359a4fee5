from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from training.choices import ACTIVATIONS
from training.evaluation.metrics import outputs
from training.network.fold import fold
from training.network.mlp import Network

if TYPE_CHECKING:
    from training.data import Dataset


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("components", [0, 40])
def test_folding_changes_the_form_and_not_the_function(
    dataset: Dataset, activation: str, batch_norm: bool, components: int
) -> None:
    """With norms, scale or components, and temperature folded into the linear layers, probabilities are the same."""
    network = Network((64, 32), activation, batch_norm=batch_norm, deslant=True, components=components, seed=3)
    network.find_components(dataset.train.images[:1000])
    network(dataset.train.images[:500])  # the norms learn statistics
    network.eval()
    network.temperature.fill_(1.7)
    images = dataset.test.images[:500]
    difference = outputs(network.probabilities, images) - outputs(fold(network), images)
    assert difference.abs().max() < 5e-6
