"""What several tests of training share: a small configuration, and a network trained with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from training.config import Config

if TYPE_CHECKING:
    from training.data.mnist import Digits
    from training.network.mlp import Network

RARELY = 86_400.0  # seconds between checkpoints
SMALL = Config(hidden=(64, 32), epochs=1)


class Trained(NamedTuple):
    """A small network after one epoch, and digits that it has not seen."""

    network: Network
    validation: Digits
