"""MNIST as tensors, and batches of it augmented.

In: a folder, mirrors, npm or pip. Out: a `Dataset` of `Digits`, uint8 images and int64 labels; augmented batches. Knows
no network and no service.
"""

from .digits import Digits
from .mnist import Dataset, load, parse_idx, split

__all__ = ["Dataset", "Digits", "load", "parse_idx", "split"]
