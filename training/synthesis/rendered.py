"""A fixed set of rendered pictures, prepared by the service, to train on and to measure with.

In: nothing; rendered.png holds them, a mosaic to look at, because it takes minutes to make. Out: `Digits`, of which two
of seven show no digit. `python -m training render` makes the mosaic again, from MNIST and this machine's fonts. Make it
again after a change to `ink`, to `not_digits` or to the service's picture preparation.
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from PIL import Image

from .. import data
from ..config import Config, default_data_dir
from ..data.digits import NOT_A_DIGIT, SIDE
from ..service_picture import read
from . import ink, not_digits

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

HELP: Final = "draw the rendered pictures again (minutes)"
MOSAIC: Final = Path(__file__).with_name("rendered.png")
COLUMNS: Final = 112  # pictures in a row of the mosaic
ROWS: Final = 150
HELD_OUT_ROWS: Final = 15  # the last rows; nothing trains on them
CYCLE: Final = 14  # a column's label is its number modulo this; from 10 on, the picture shows no digit
_LABELS: Final = np.minimum(np.arange(COLUMNS) % CYCLE, NOT_A_DIGIT)
MAX_PIXELS: Final = 10**6
KINDS: Final = ("letter", "letter", *not_digits.KINDS)


def load() -> tuple[data.Digits, data.Digits]:
    """Return the pictures to train on and those held out, images uint8[N,1,28,28], labels 0 to 9 or `NOT_A_DIGIT`."""
    with Image.open(MOSAIC) as mosaic:
        images = np.asarray(mosaic).reshape(-1, SIDE, COLUMNS, SIDE).swapaxes(1, 2).reshape(-1, 1, SIDE, SIDE)
    labels = np.tile(_LABELS, ROWS)
    every = data.Digits(torch.tensor(images), torch.tensor(labels))
    train = torch.arange(len(labels)) < COLUMNS * (ROWS - HELD_OUT_ROWS)
    return every.take(train), every.take(~train)


def checksum() -> str:
    """Return the SHA-256 of the mosaic: figures of different ones do not compare."""
    return hashlib.sha256(MOSAIC.read_bytes()).hexdigest()


def make_row(number: int, digits: data.Digits, fonts: Sequence[Path]) -> NDArray[np.uint8]:
    """Return one row of the mosaic, uint8[28,28 · COLUMNS]; its number determines the pictures."""
    rng = np.random.default_rng(number)
    kinds = [KINDS[i] for i in rng.permutation(len(KINDS))] * COLUMNS
    pictures: list[NDArray[np.uint8]] = []
    while len(pictures) < COLUMNS:
        label = int(_LABELS[len(pictures)])
        sent = not_digits.render(kinds.pop(), rng, fonts) if label == NOT_A_DIGIT else _digit(label, digits, rng)
        prepared = read(sent, max_pixels=MAX_PIXELS)
        if prepared.box is not None:  # the service itself warns of pictures without ink
            pictures.append(prepared.pixels)
    return np.concatenate(pictures, axis=1)


def _digit(label: int, digits: data.Digits, rng: np.random.Generator) -> bytes:
    """Render a digit in a tuned family, half of the time along an MNIST digit, else in a shape of our own."""
    family = not_digits.DRAWN[rng.integers(len(not_digits.DRAWN))]
    if rng.random() < 0.5:
        return ink.render(family, None, label, rng)
    same = np.flatnonzero(digits.labels.numpy() == label)
    return ink.render(family, digits.images[same[rng.integers(len(same))], 0].numpy(), label, rng)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the mosaic has no options."""


def run(_: dict[str, Any]) -> None:
    """Make the mosaic."""
    digits, _held_out = data.split(data.load(default_data_dir()).train, Config().validation_share)
    fonts = not_digits.find_fonts(held_out=False)
    print(f"{ROWS} rows of {COLUMNS} pictures, letters in {len(fonts)} fonts", file=sys.stderr)
    with ProcessPoolExecutor() as processes:
        rows = list(processes.map(make_row, range(ROWS), [digits] * ROWS, [fonts] * ROWS))
    Image.fromarray(np.concatenate(rows)).save(MOSAIC, optimize=True)
