from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.docs import tutorial
from training.choices import ACTIVATIONS, LOSSES
from training.data.digits import WHOLE
from training.evaluation.metrics import outputs
from training.network.deslant import DESLANTED, Deslant
from training.network.mlp import Network

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.training import Trained
    from training.data.mnist import Dataset

PAIRS = list(itertools.product(ACTIVATIONS, list(LOSSES)))


def _loss(dataset: Dataset, activation: str, loss: str, *, batch_norm: bool) -> tuple[Network, Callable[[], Tensor]]:
    """A small float64 network, and its loss on 16 digits as a function of its present weights."""
    network = Network((12, 8), activation, batch_norm=batch_norm, deslant=False, seed=1).double()
    images, labels = dataset.test.take(torch.arange(16))
    return network, lambda: LOSSES[loss](network(images), labels)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_gradients_are_the_slopes_of_the_loss(dataset: Dataset, activation: str, loss: str, batch_norm: bool) -> None:
    """Along random directions of every weight, the gradient agrees with a central difference in float64."""
    network, value = _loss(dataset, activation, loss, batch_norm=batch_norm)
    value().backward()  # type: ignore[no-untyped-call]
    random = torch.Generator().manual_seed(2)
    for parameter in network.parameters():
        assert parameter.grad is not None
        for _ in range(3):
            step = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
            step *= 1e-6 / step.norm()
            with torch.no_grad():
                parameter.add_(step)
                above = value()
                parameter.sub_(step, alpha=2)
                difference = above - value()
                parameter.add_(step)
            assert difference.item() == pytest.approx(2 * (parameter.grad * step).sum().item(), rel=1e-4, abs=1e-13)


@pytest.fixture(scope="module")
def from_scratch() -> dict[str, Any]:
    """The functions that the tutorial defines."""
    return tutorial.definitions(tutorial.PAGE.read_text())


@pytest.mark.parametrize(("activation", "loss"), PAIRS)
def test_gradients_are_those_of_the_chain_rule(
    from_scratch: dict[str, Any], dataset: Dataset, activation: str, loss: str
) -> None:
    """PyTorch's loss and gradients are those of the tutorial's backpropagation, which is written from scratch."""
    network, value = _loss(dataset, activation, loss, batch_norm=False)
    result = value()
    result.backward()  # type: ignore[no-untyped-call]
    images, labels = dataset.test.take(torch.arange(16))
    layers = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in network.layers]
    pixels = (images.numpy().reshape(16, 784) / 255 - 0.1307) / 0.3081
    expected, gradients = from_scratch["backprop"](layers, pixels, labels.numpy(), activation, loss)
    assert result.item() == pytest.approx(expected, rel=1e-12)
    for layer, (weight, bias) in zip(network.layers, gradients, strict=True):
        assert layer.weight.grad is not None
        assert layer.bias.grad is not None
        np.testing.assert_allclose(layer.weight.grad.numpy(), weight, rtol=1e-9, atol=1e-14)
        np.testing.assert_allclose(layer.bias.grad.numpy(), bias, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_fresh_deep_network_lets_the_signal_through(dataset: Dataset, activation: str) -> None:
    """Weights start so that digits still differ after five layers, and gradients still reach the first."""
    network = Network((256,) * 4, activation, batch_norm=False, deslant=False, seed=0)
    images, labels = dataset.test.take(torch.arange(200))
    logits = network(images)
    LOSSES["cross_entropy"](logits, labels).backward()  # type: ignore[no-untyped-call]
    first = network.layers[0].weight.grad
    last = network.layers[-2].weight.grad
    assert first is not None
    assert last is not None
    assert 0.03 < logits.std(dim=0).mean() < 30
    assert 0.01 < first.norm() / last.norm() < 100


def test_the_same_seed_draws_the_same_weights() -> None:
    """Weights follow from the seed alone, and another seed draws others."""
    torch.manual_seed(9)
    first, again, other = (
        Network((32,), "relu", batch_norm=True, deslant=False, seed=seed).layers[0].weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_probabilities_sum_to_one(trained: Trained) -> None:
    """Each row of probabilities is a distribution over the ten digits."""
    probabilities = outputs(trained.network.probabilities, trained.validation.images)
    assert probabilities.min() >= 0
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(probabilities)))


def test_shifts_are_averaged(dataset: Dataset) -> None:
    """With shifts, the logits are the mean of those of the upright digit in nine places."""
    one, nine = (
        Network((16,), "relu", batch_norm=True, deslant=True, shifts=shifts, seed=0).eval() for shifts in (False, True)
    )
    images = dataset.test.images[:20]
    upright = functional.pad(Deslant(WHOLE)(images), (1, 1, 1, 1))
    moved = [
        one.logits(DESLANTED.crop(upright[..., 1 + down : 29 + down, 1 + right : 29 + right]))
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    torch.testing.assert_close(nine(images), torch.stack(moved).mean(dim=0))
