"""Digits of our own hand, in MNIST's own form."""

from __future__ import annotations

import torch

from service.form import is_mnist_form
from training.written import written


def test_the_seed_decides_which_digits_are_written() -> None:
    """The same seed writes the same digits, another one others, as many of each class."""
    first, again, other = written(40, 3), written(40, 3), written(40, 4)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.labels.bincount().tolist() == [4] * 10
    assert (first.images.dtype, first.images.shape) == (torch.uint8, (40, 1, 28, 28))


def test_written_digits_have_the_form_of_mnist() -> None:
    """They are as long, as centred, as dark and as light as MNIST's, by the service's own measure but for the odd one
    whose curves reach a pixel beyond."""
    fits = is_mnist_form(written(200, 0).images[:, 0].numpy())
    assert fits.mean() > 0.85


def test_none_at_all() -> None:
    """No digits is a valid number of them."""
    assert written(0, 0).images.shape == (0, 1, 28, 28)
