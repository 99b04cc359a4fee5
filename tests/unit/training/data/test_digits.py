from __future__ import annotations

import torch

from training.data import Digits


def test_digits_take_what_is_asked_for() -> None:
    """Images and labels stay together when some are taken."""
    digits = Digits(torch.arange(4, dtype=torch.uint8).reshape(4, 1, 1, 1), torch.arange(4))
    images, labels = digits.take(torch.tensor([3, 1]))
    assert images.flatten().tolist() == labels.tolist() == [3, 1]
