from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from training import data

if TYPE_CHECKING:
    from training.data.mnist import Dataset


def test_digits_are_mnist_as_published(dataset: Dataset) -> None:
    """60,000 and 10,000 digits, uint8 with ink up to 255, with the labels that LeCun's page lists first."""
    assert dataset.train.images.shape == (60_000, 1, 28, 28)
    assert dataset.test.images.shape == (10_000, 1, 28, 28)
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    assert dataset.train.images.max() == 255
    assert round(dataset.train.images.float().mean().item() / 255, 4) == 0.1307


def test_a_split_parts_all_digits_always_alike(dataset: Dataset) -> None:
    """Training and validation digits are disjoint, all are there, and the same ones validate every run."""
    numbered = data.Digits(dataset.train.images, torch.arange(60_000))
    train, validation = data.split(numbered, 1 / 12)
    assert len(validation.labels) == 5_000
    assert torch.equal(torch.cat(train[1:] + validation[1:]).sort().values, numbered.labels)
    assert torch.equal(data.split(numbered, 1 / 12)[1].labels, validation.labels)
