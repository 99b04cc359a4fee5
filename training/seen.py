"""Pictures as the service sees them: rendered as people send them, read by `service.picture.prepare`, ready to be
trained on.

In: nothing; they lie in seen.png, a mosaic that anybody can look at, since to make them takes minutes. Out: `Digits`,
of which some are no digits. `python -m training.seen` makes the mosaic anew, out of MNIST and this machine's fonts;
to be done when `ink`, `others` or `service.picture.prepare` draw or read differently. It knows nothing of networks.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from PIL import Image

from service.picture import prepare
from training import data, ink, others
from training.config import Config, default_data_dir
from training.network import NONE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOSAIC: Final = Path(__file__).with_name("seen.png")
SIDE: Final = 28
COLUMNS: Final = 112  # pictures in a row of the mosaic
ROWS: Final = 150
HELD_OUT_ROWS: Final = 15  # the last ones, never trained on
CYCLE: Final = 14  # a column's label is its number modulo this; from 10 up there are no digits
_LABELS: Final = np.minimum(np.arange(COLUMNS) % CYCLE, NONE)
MAX_PIXELS: Final = 10**6
KINDS: Final = ("letter", "letter", *others.KINDS)


def load() -> tuple[data.Digits, data.Digits]:
    """The pictures to train on and those held out, images uint8[N,1,28,28], labels 0 to 9 or `NONE`."""
    with Image.open(MOSAIC) as mosaic:
        images = np.asarray(mosaic).reshape(-1, SIDE, COLUMNS, SIDE).swapaxes(1, 2).reshape(-1, 1, SIDE, SIDE)
    labels = np.tile(_LABELS, ROWS)
    every = data.Digits(torch.tensor(images), torch.tensor(labels))
    train = torch.arange(len(labels)) < COLUMNS * (ROWS - HELD_OUT_ROWS)
    return every.take(train), every.take(~train)


def make_row(number: int, digits: data.Digits, fonts: Sequence[Path]) -> NDArray[np.uint8]:
    """One row of the mosaic, uint8[28,28 · COLUMNS]; which pictures, follows from its number."""
    rng = np.random.default_rng(number)
    kinds = [KINDS[i] for i in rng.permutation(len(KINDS))] * COLUMNS
    pictures: list[NDArray[np.uint8]] = []
    while len(pictures) < COLUMNS:
        label = int(_LABELS[len(pictures)])
        sent = others.render(kinds.pop(), rng, fonts) if label == NONE else _digit(label, digits, rng)
        prepared = prepare.read(sent, max_pixels=MAX_PIXELS)
        if prepared.box is not None:  # else there is no ink, which the service says by itself
            pictures.append(prepared.pixels)
    return np.concatenate(pictures, axis=1)


def _digit(label: int, digits: data.Digits, rng: np.random.Generator) -> bytes:
    """A digit in a tuned family, as often in a shape of our own as along an MNIST digit."""
    family = others.DRAWN[rng.integers(len(others.DRAWN))]
    if rng.random() < 0.5:
        return ink.render(family, None, label, rng)
    same = np.flatnonzero(digits.labels.numpy() == label)
    return ink.render(family, digits.images[same[rng.integers(len(same))], 0].numpy(), label, rng)


def main() -> None:
    """Make the mosaic."""
    digits, _ = data.split(data.load(default_data_dir()).train, Config().validation_share)
    fonts = others.find_fonts(held_out=False)
    print(f"{ROWS} rows of {COLUMNS} pictures, letters in {len(fonts)} fonts", file=sys.stderr)
    with ProcessPoolExecutor() as processes:
        rows = list(processes.map(make_row, range(ROWS), [digits] * ROWS, [fonts] * ROWS))
    Image.fromarray(np.concatenate(rows)).save(MOSAIC, optimize=True)


if __name__ == "__main__":
    main()
