from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.training import RARELY, SMALL
from training.choices import LOSSES, OPTIMIZERS
from training.loop.checkpoint import Checkpointer
from training.loop.fit import Epoch, fit, make_optimizer
from training.network.mlp import Network

if TYPE_CHECKING:
    from training.config import Config
    from training.data.mnist import Dataset

RATES = {"sgd": 0.2, "momentum": 0.05, "adamw": 4e-3}


def _fit(dataset: Dataset, config: Config, count: int = 4096) -> tuple[Network, list[Epoch]]:
    train = dataset.train.take(torch.arange(count))
    network = Network.of(config)
    with TemporaryDirectory() as folder:
        checkpointer = Checkpointer(Path(folder), RARELY)
        return network, list(fit(network, train, dataset.test.take(torch.arange(500)), config, checkpointer))


def _same(one: Network, other: Network) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_same_knobs_give_the_same_bits(dataset: Dataset) -> None:
    """Two fits with the same seed end with equal weights, statistics and losses; another seed ends elsewhere."""
    first, epochs = _fit(dataset, SMALL)
    torch.manual_seed(123)  # the state of PyTorch's own generator does not matter
    again, epochs_again = _fit(dataset, SMALL)
    other, _ = _fit(dataset, replace(SMALL, seed=1))
    assert _same(first, again)
    assert [epoch.loss for epoch in epochs] == [epoch.loss for epoch in epochs_again]
    assert not _same(first, other)


def test_steps_do_without_the_compiler_of_pytorch() -> None:
    """In a fresh process, each optimizer makes a step, saves and restores its state, and exports: none compiles."""
    program = (
        "import sys, torch\n"
        "from training.choices import OPTIMIZERS\n"
        "from training.export.to_onnx import to_onnx\n"
        "from training.network.mlp import Network\n"
        "network = Network((4,), 'relu', batch_norm=True, deslant=True, seed=0)\n"
        "for choice in OPTIMIZERS.values():\n"
        "    optimizer = choice.make(network.parameters(), 0.1, 0.0)\n"
        "    optimizer.zero_grad()\n"
        "    network(torch.zeros(2, 1, 28, 28)).sum().backward()\n"
        "    optimizer.step()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "to_onnx(network.eval())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_whoever_follows_the_steps_changes_no_bit(dataset: Dataset) -> None:
    """Each step is told with its loss, and to read it leaves the weights as they are."""
    config, digits = replace(SMALL, epochs=2), dataset.train.take(torch.arange(2048))
    told = []
    network = Network.of(config)
    fitting = fit(
        network, digits, digits, config, Checkpointer(None, RARELY), on_step=lambda s: told.append((s, s.loss.item()))
    )
    epochs = list(fitting)
    assert [(step.epoch, step.step, step.steps) for step, _ in told] == [(e, n, 8) for e in (1, 2) for n in range(1, 9)]
    assert [sum(loss for step, loss in told if step.epoch == n) / 8 for n in (1, 2)] == [
        pytest.approx(epoch.loss) for epoch in epochs
    ]
    silent = Network.of(config)
    list(fit(silent, digits, digits, config, Checkpointer(None, RARELY)))
    assert _same(network, silent)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_optimizer_learns_under_every_loss(dataset: Dataset, optimizer: str, loss: str) -> None:
    """In four epochs of 4,096 digits every combination learns to read four digits of five."""
    config = replace(SMALL, optimizer=optimizer, loss=loss, learning_rate=RATES[optimizer], epochs=4, batch_size=64)
    _, epochs = _fit(dataset, config)
    assert epochs[-1].loss < epochs[0].loss
    assert epochs[-1].validation_accuracy > 0.8


def test_fewer_digits_than_a_batch_are_one_batch(dataset: Dataset) -> None:
    """A hundred digits are still learnt from, though a batch would be 256."""
    _, epochs = _fit(dataset, replace(SMALL, epochs=3), count=100)
    assert len(epochs) == 3
    assert epochs[-1].loss < epochs[0].loss


def test_epochs_tell_their_facts_in_order(dataset: Dataset) -> None:
    """Epochs are numbered from 1, and their seconds grow."""
    _, epochs = _fit(dataset, replace(SMALL, epochs=3))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert 0 < epochs[0].seconds < epochs[1].seconds < epochs[2].seconds


def test_the_network_is_left_ready_to_answer(dataset: Dataset) -> None:
    """After fit the network is in evaluation mode: one digit alone gets the answer it gets in a batch."""
    network, _ = _fit(dataset, SMALL)
    images = dataset.test.images[:8]
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", [0, 0, 0]), ("momentum", [0.95, 0.85, 0.95])])
def test_the_schedule_leaves_plain_sgd_plain(optimizer: str, momentum: list[float]) -> None:
    """One cycle goes up to the peak rate and down; momentum goes the other way, and sgd never has any."""
    network = Network((8,), "relu", batch_norm=True, deslant=False, seed=0)
    stepper, schedule = make_optimizer(network, replace(SMALL, optimizer=optimizer, learning_rate=0.5), 1002)
    (group,), rates, momenta = stepper.param_groups, [], []
    for step in range(1001):
        if step in (0, 300, 1000):
            rates.append(group["lr"])
            momenta.append(group["momentum"])
        stepper.step()
        schedule.step()
    assert rates == pytest.approx([0.02, 0.5, 0], abs=1e-3)
    assert momenta == pytest.approx(momentum, abs=1e-3)


def test_a_constant_rate_is_the_same_at_every_step() -> None:
    """Textbooks' schedule leaves rate and momentum alone."""
    network = Network((8,), "sigmoid", batch_norm=False, deslant=False, seed=0)
    config = replace(SMALL, optimizer="momentum", schedule="constant", learning_rate=0.3)
    stepper, schedule = make_optimizer(network, config, 3)
    for _ in range(5):
        assert (stepper.param_groups[0]["lr"], stepper.param_groups[0]["momentum"]) == (0.3, 0.9)
        stepper.step()
        schedule.step()
