"""A fixed set of rendered pictures, prepared by the service, to train on and to measure with.

In: nothing; rendered.png holds them, a mosaic to look at, because it takes minutes to make, and held_out.csv has what
the service found out about the held-out digits. Out: `Digits`, of which two of seven show no digit, and `Facts`.
`python -m training render` makes both files again, from MNIST and this machine's fonts. Make them again after a change
to `ink`, to `not_digits`, to `strokes` or to the service's picture preparation.

A picture to train on is drawn again where the service's preparation does not show what was drawn. Held-out digits are
as the service sees them, lost ones too, so that figures and quantiles are of what people send.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from .. import data
from ..config import Config, default_data_dir
from ..data.digits import NOT_A_DIGIT, SIDE
from ..service_picture import read
from . import ink, legible, not_digits, strokes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .strokes import Segments

HELP: Final = "draw the rendered pictures again (minutes)"
MOSAIC: Final = Path(__file__).with_name("rendered.png")
FACTS: Final = Path(__file__).with_name("held_out.csv")
COLUMNS: Final = 112  # pictures in a row of the mosaic
ROWS: Final = 260
HELD_OUT_ROWS: Final = 60  # the last rows; nothing trains on them
CYCLE: Final = 14  # a column's label is its number modulo this; from 10 on, the picture shows no digit
_LABELS: Final = np.minimum(np.arange(COLUMNS) % CYCLE, NOT_A_DIGIT)
MAX_PIXELS: Final = 10**6
BLANK: Final = "blank"  # without preparation, which finds no ink in most of them; so it does in most empty cells
KINDS: Final = ("letter", "letter", *not_digits.KINDS, "empty", "empty", "empty", BLANK)
IN_STYLE: Final = 0.6  # share of the digits that are written in a style; the others follow MNIST's
IN_HELD_OUT_STYLE: Final = 0.25  # share of those in the held-out rows that are written in a held-out style


class Facts(NamedTuple):
    """A rendered digit, and what the service's picture preparation found out about the picture that was sent."""

    label: int
    family: str  # of `ink.FAMILIES`
    polarity: str  # "light_on_dark" | "dark_on_light"
    ink_ratio: float  # share of the picture's pixels that are ink, 0..1, to four digits
    warnings: tuple[str, ...]  # of the picture preparation, not of the network


class Row(NamedTuple):
    """A row of the mosaic, uint8[28,28 · COLUMNS], and the facts of its digits from left to right."""

    pixels: NDArray[np.uint8]
    facts: list[Facts]


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


def load_held_out_facts() -> list[Facts]:
    """Return the facts of the held-out pictures that show a digit, in their order."""
    with FACTS.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [
        Facts(int(label), family, polarity, float(ink_ratio), tuple(warnings.split()))
        for label, family, polarity, ink_ratio, warnings in rows
    ]


def make_row(number: int, digits: data.Digits, fonts: Sequence[Path]) -> Row:
    """Return one row of the mosaic; its number determines the pictures."""
    rng = np.random.default_rng(number)
    held_out = number >= ROWS - HELD_OUT_ROWS
    kinds = [KINDS[i] for i in rng.permutation(len(KINDS))] * COLUMNS
    pictures: list[NDArray[np.uint8]] = []
    facts: list[Facts] = []
    while len(pictures) < COLUMNS:
        label = int(_LABELS[len(pictures)])
        if label == NOT_A_DIGIT:
            pixels = _no_digit(kinds.pop(), fonts, rng)
        else:
            pixels = None
            family = not_digits.DRAWN[rng.integers(len(not_digits.DRAWN))]
            drawn = _draw(label, digits, rng, held_out=held_out)
            prepared = read(ink.FAMILIES[family](drawn, rng), max_pixels=MAX_PIXELS)
            if prepared.box is not None and (held_out or legible.shows(prepared.pixels, drawn)):
                pixels = prepared.pixels
                facts.append(Facts(label, family, prepared.polarity, round(prepared.ink_ratio, 4), prepared.warnings))
        if pixels is not None:
            pictures.append(pixels)
    return Row(np.concatenate(pictures, axis=1), facts)


def _draw(label: int, digits: data.Digits, rng: np.random.Generator, *, held_out: bool) -> Segments:
    """Draw a digit in a style of writing or along an MNIST digit; in a held-out style only for held-out rows."""
    if rng.random() < IN_STYLE:
        return strokes.draw(label, rng, held_out=held_out and rng.random() < IN_HELD_OUT_STYLE)
    same = np.flatnonzero(digits.labels.numpy() == label)
    return strokes.trace(digits.images[same[rng.integers(len(same))], 0].numpy(), rng)


def _no_digit(kind: str, fonts: Sequence[Path], rng: np.random.Generator) -> NDArray[np.uint8] | None:
    """Draw a picture of no digit; None where the service itself finds no ink, or nothing but a plain 1."""
    if kind == BLANK:
        return not_digits.draw_blank(rng)
    prepared = read(not_digits.render(kind, rng, fonts), max_pixels=MAX_PIXELS)
    return None if prepared.box is None or legible.is_plain_one(prepared.pixels) else prepared.pixels


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the mosaic has no options."""


def run(_: dict[str, Any]) -> None:
    """Make the mosaic, and the facts of its held-out digits."""
    digits, _held_out = data.split(data.load(default_data_dir()).train, Config().validation_share)
    fonts = not_digits.find_fonts(held_out=False)
    print(f"{ROWS} rows of {COLUMNS} pictures, letters in {len(fonts)} fonts", file=sys.stderr)
    with ProcessPoolExecutor() as processes:
        rows = list(processes.map(make_row, range(ROWS), [digits] * ROWS, [fonts] * ROWS))
    Image.fromarray(np.concatenate([row.pixels for row in rows])).save(MOSAIC, optimize=True)
    save_facts([facts for row in rows[-HELD_OUT_ROWS:] for facts in row.facts])


def save_facts(facts: Sequence[Facts]) -> None:
    """Write the facts of the held-out digits for `load_held_out_facts`."""
    with FACTS.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Facts._fields)
        writer.writerows((*each[:-1], " ".join(each.warnings)) for each in facts)
