"""A network that has a teacher learns the teacher's answers, and the labels are not asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.training import RARELY
from training.config import Config
from training.data.digits import Digits
from training.loop.checkpoint import TEACHER, Checkpointer
from training.loop.distillation import configure_teacher, distillation
from training.loop.fit import fit
from training.network.mlp import Network
from training.network.teacher import Teacher

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.mnist import Dataset

CONFIG = Config(components=0, hidden=(64,), epochs=8, batch_size=128, teacher_epochs=2, learning_rate=8e-3)


def _teach(dataset: Dataset, checkpointer: Checkpointer) -> Teacher:
    """A teacher after two epochs of 3,000 digits."""
    teacher = Teacher.of(CONFIG)
    digits = dataset.train.take(torch.arange(3000)), dataset.test.take(torch.arange(500))
    assert len(list(fit(teacher, *digits, configure_teacher(CONFIG), checkpointer))) == 2
    return teacher


def test_a_network_learns_from_its_teacher_what_no_label_says(dataset: Dataset) -> None:
    """All labels say 0, and the network reads nine tenths of unseen digits right: as its teacher does, or nearly."""
    teacher, unseen = _teach(dataset, Checkpointer(None, RARELY)), dataset.test.take(torch.arange(500, 1500))
    images = dataset.train.images[:3000]
    mislabelled = Digits(images, torch.zeros(3000, dtype=torch.int64))
    network = Network.of(CONFIG)
    *_, last = fit(network, mislabelled, unseen, CONFIG, Checkpointer(None, RARELY), teacher=teacher, seconds=1000)
    assert last.validation_accuracy > 0.9
    assert last.seconds > 1000  # those of the teacher count


def test_a_teacher_that_is_stopped_goes_on_to_the_same_bits(dataset: Dataset, tmp_path: Path) -> None:
    """A checkpoint after every step, and a second loop from the last of them on: it ends with equal weights."""
    whole = _teach(dataset, Checkpointer(None, RARELY)).state_dict()
    resumed, digits = Teacher.of(CONFIG), dataset.train.take(torch.arange(3000))
    steps: list[int] = []
    stopping = Checkpointer(tmp_path, 0, TEACHER)
    with pytest.raises(InterruptedError):
        list(fit(resumed, digits, digits, configure_teacher(CONFIG), stopping, on_step=lambda _: _stop_at(30, steps)))
    resumed = Teacher(deslant=True, seed=77)
    assert len(list(fit(resumed, digits, digits, configure_teacher(CONFIG), Checkpointer(tmp_path, 0, TEACHER)))) == 1
    assert all(torch.equal(whole[name], value) for name, value in resumed.state_dict().items())


def _stop_at(last: int, steps: list[int]) -> None:
    steps.append(1)
    if len(steps) == last:
        raise InterruptedError


def test_the_loss_is_the_divergence_from_the_teachers_answers(dataset: Dataset) -> None:
    """It is 0 for the teacher's own logits, above 0 for others, and no gradient reaches the teacher."""
    teacher = Teacher(deslant=True, seed=0).eval()
    seen = teacher.see_all(dataset.test.images[:50])
    own = teacher.classify(seen).detach()
    assert distillation(teacher, seen, own).item() == pytest.approx(0, abs=1e-6)
    other = torch.zeros_like(own, requires_grad=True)
    loss = distillation(teacher, seen, other)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() > 0
    assert other.grad is not None
    # With a uniform answer, the slope is T times the difference of the probabilities, a digit's share of the mean.
    expected = 3 * (0.1 - torch.softmax(own / 3, dim=1)) / 50
    torch.testing.assert_close(other.grad, expected, atol=1e-6, rtol=1e-4)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_is_trained_from_labels() -> None:
    """Whatever optimizer and schedule the network has: its teacher has its own, and no teacher."""
    config = configure_teacher(replace(CONFIG, optimizer="sgd", schedule="constant"))
    assert (config.loss, config.optimizer, config.schedule) == ("cross_entropy", "adamw", "one_cycle")
    assert (config.epochs, config.teacher_epochs) == (2, 0)
