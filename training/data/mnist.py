"""MNIST as tensors: gathered, parsed, split.

In: a folder, or nothing. Out: a `Dataset` of uint8 images and int64 labels. It knows the two file formats, and nothing
of where files come from or of training.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SMALL_WARNING: Final = (
    "only 5,000 of MNIST's 70,000 digits could be had: trained on fewer than 4,000 and tested on 1,000, so accuracy "
    "is lower and less certain; give the folder of the four whole files with --data-dir"
)


class Digits(NamedTuple):
    """Images uint8[N,1,28,28], light ink on dark as MNIST stores it, and labels int64[N]."""

    images: Tensor
    labels: Tensor

    def take(self, indices: Tensor) -> Digits:
        """The digits at `indices` int64[M], or where bool[N] is true."""
        return Digits(self.images[indices], self.labels[indices])

    def to(self, device: torch.device) -> Digits:
        """The digits in the memory of a device."""
        return Digits(self.images.to(device), self.labels.to(device))

    def and_also(self, others: Digits) -> Digits:
        """These digits and others."""
        return Digits(torch.cat([self.images, others.images]), torch.cat([self.labels, others.labels]))


@dataclass(frozen=True)
class Dataset:
    """Digits to train on and digits to test on, with what the card says of them."""

    train: Digits
    test: Digits
    source: str
    checksums: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(folder: Path | None) -> Dataset:
    """All digits: 60,000 and 10,000, or 4,000 and 1,000 with a warning where no source has more.

    Raises `DataError`, as `sources.gather` does.
    """
    source, contents = sources.gather(folder)
    if source.files is sources.SMALL_FILES:
        return Dataset(*_parse_csv(contents), source.name, source.files, (SMALL_WARNING,))
    return Dataset(*_parse_idx(contents), source.name, source.files)


def split(digits: Digits, share: float) -> tuple[Digits, Digits]:
    """The digits without a random `share` of them, and that share: always the same, so that runs can be compared."""
    order = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(0))
    apart = max(1, round(share * len(order)))
    return digits.take(order[apart:]), digits.take(order[:apart])


def _parse_idx(contents: sources.Contents) -> tuple[Digits, Digits]:
    """The four IDX files: big-endian header (magic, count, sides), then one byte per pixel or label."""
    images, labels, test_images, test_labels = (parse_idx(contents[name]) for name in sources.FILES)
    return _digits(images, labels), _digits(test_images, test_labels)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """The images uint8[N,28,28] or labels uint8[N] of an IDX file (yann.lecun.com/exdb/mnist), uncompressed."""
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _parse_csv(contents: sources.Contents) -> tuple[Digits, Digits]:
    """784 pixels and a label on each of 5,000 lines, 500 of each class in order: every fifth digit is a test digit."""
    (content,) = contents.values()
    rows = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.uint8)
    tested = np.arange(len(rows)) % 5 == 0
    train, test = rows[~tested], rows[tested]
    return _digits(train[:, :-1], train[:, -1]), _digits(test[:, :-1], test[:, -1])


def _digits(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Digits:
    # A copy: the bytes of a file are read-only, and tensors are not.
    return Digits(torch.tensor(images).reshape(-1, 1, 28, 28), torch.tensor(labels, dtype=torch.int64))
