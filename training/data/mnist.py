"""MNIST: fetch the files, parse them, split them.

In: a folder, or nothing. Out: a `Dataset`. Knows the two file formats, and not where the files come from.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from . import sources
from .digits import SIDE, Digits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SMALL_WARNING: Final = (
    "only 5,000 of MNIST's 70,000 digits are available: fewer than 4,000 to train on and 1,000 to test on, so accuracy "
    "is lower and less certain; name the folder of the four complete files with --data-dir"
)


@dataclass(frozen=True)
class Dataset:
    """Digits to train on and digits to test on, and the facts of them that the card repeats."""

    train: Digits
    test: Digits
    source: str
    checksums: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def load(folder: Path | None) -> Dataset:
    """Return all digits: 60,000 and 10,000, or 4,000 and 1,000 with a warning where no source has more.

    Raises `DataError`, as `sources.gather` does.
    """
    source, contents = sources.gather(folder)
    if source.files is sources.SMALL_FILES:
        return Dataset(*_parse_csv(contents), source.name, source.files, (SMALL_WARNING,))
    return Dataset(*_parse_idx(contents), source.name, source.files)


def split(digits: Digits, share: float) -> tuple[Digits, Digits]:
    """Split off a random `share` of the digits: always the same one, so that runs can be compared."""
    order = torch.randperm(len(digits.labels), generator=torch.Generator().manual_seed(0))
    apart = max(1, round(share * len(order)))
    return digits.take(order[apart:]), digits.take(order[:apart])


def _parse_idx(contents: sources.Contents) -> tuple[Digits, Digits]:
    """Parse the four IDX files: a big-endian header (magic, count, sides), then one byte per pixel or label."""
    images, labels, test_images, test_labels = (parse_idx(contents[name]) for name in sources.FILES)
    return _digits(images, labels), _digits(test_images, test_labels)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Return the images uint8[N,28,28] or labels uint8[N] of an uncompressed IDX file (yann.lecun.com/exdb/mnist)."""
    dimensions = content[3]
    shape = struct.unpack_from(f">{dimensions}I", content, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _parse_csv(contents: sources.Contents) -> tuple[Digits, Digits]:
    """Parse 5,000 lines of 784 pixels and a label, 500 of each class in order; every fifth digit is a test digit."""
    (content,) = contents.values()
    rows = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.uint8)
    tested = np.arange(len(rows)) % 5 == 0
    train, test = rows[~tested], rows[tested]
    return _digits(train[:, :-1], train[:, -1]), _digits(test[:, :-1], test[:, -1])


def _digits(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Digits:
    # A copy: the bytes of a file are read-only, and tensors are not.
    return Digits(torch.tensor(images).reshape(-1, 1, SIDE, SIDE), torch.tensor(labels, dtype=torch.int64))
