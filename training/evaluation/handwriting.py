"""A published version measured on handwriting: accuracy, calibration and warnings.

In: a version's folder, and folders of pictures. Out: a table, one row for each set of pictures; and one of the sets of
digits for some coverages, if the version's card has quantiles. Every picture goes through the service's picture
preparation, as an upload does. The family `board` and the letters' fonts are held out:
nothing is trained or tuned on them.

    python -m training evaluate models/mnist-mlp/50 --ink DIR --rendered 300
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image

from .. import data
from ..config import default_data_dir
from ..data.digits import CLASSES, NOT_A_DIGIT
from ..errors import DataError
from ..service_picture import WARNINGS, Quantiles, make_sets, prepare, read, read_quantiles, warnings_for
from ..synthesis import ink, not_digits
from .metrics import evaluate
from .onnx_runtime import run_onnx

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

HELP: Final = "measure a published version on MNIST, handwriting and pictures of no digit"
MAX_PIXELS: Final = 50_000_000
HEADINGS: Final = ("right %", "NLL", "ECE %", "warned %", *WARNINGS)  # the warnings in % too
WIDTHS: Final = [max(10, len(heading) + 2) for heading in HEADINGS]
ENLARGED: Final = 10  # times: MNIST's digits as screenshots
COVERAGES: Final = (0.99, 0.995, 0.999)  # of the sets of digits
SET_HEADINGS: Final = ("covered %", "mean size", "single %")  # for each of them


class Sent(NamedTuple):
    """A picture as people send it: PNG or JPEG bytes, or grey pixels uint8[H,W]; label 0 to 9 or `NOT_A_DIGIT`."""

    picture: bytes | NDArray[np.uint8]
    label: int


class Measured(NamedTuple):
    """One row of the table: probabilities float32[N,10] of digits, their labels int64[N], and which have no ink."""

    name: str
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    blank: NDArray[np.bool_]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the version and the sets of pictures."""
    parser.add_argument("version", type=Path, help="folder of a model version")
    parser.add_argument("--ink", type=Path, action="append", default=[], help="folder of pictures with a labels.csv")
    parser.add_argument(
        "--none", type=Path, action="append", default=[], help="folder, or IDX file, of pictures that show no digit"
    )
    parser.add_argument(
        "--rendered", type=int, default=0, help="number of rendered pictures of each family of pens and papers [0]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the rendered pictures [0]")
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's four files; else as for training")


def run(given: dict[str, Any]) -> None:
    """Print the table. Raises `TrainingError`."""
    model = _read(given["version"] / "model.onnx")
    quantiles = _read_quantiles(given["version"] / "model.json")
    test = data.load(given["data_dir"] or default_data_dir()).test

    print(
        f"{'pictures':<34}{'n':>7}" + "".join(f"{name:>{width}}" for name, width in zip(HEADINGS, WIDTHS, strict=True))
    )
    rows = [_print_row(model, name, pictures) for name, pictures in _sets_of_pictures(given, test)]
    if quantiles is not None:
        _print_sets(quantiles, [row for row in rows if NOT_A_DIGIT not in row.labels])


def _sets_of_pictures(given: dict[str, Any], test: data.Digits) -> Iterator[tuple[str, Iterable[Sent]]]:
    """Yield the name and the pictures of each row."""
    yield "MNIST test", _as_sent(test)
    if given["rendered"]:
        yield "MNIST test, inverted", _as_sent(data.Digits(255 - test.images, test.labels))
        yield "MNIST test, 280 x 280 PNG", _enlarged(test.take(torch.arange(0, len(test.labels), 5)))
        every = []
        for number, family in enumerate(ink.FAMILIES):
            rng = np.random.default_rng([given["seed"], number])
            pictures = _rendered(family, test, given["rendered"], rng)
            yield f"{family} (held out)" if family == ink.HELD_OUT else family, pictures
            every += pictures
        yield "these five families", every
        fonts = not_digits.find_fonts(held_out=True)
        for number, kind in enumerate(not_digits.KINDS):
            rng = np.random.default_rng([given["seed"], 100 + number])
            pictures = [Sent(not_digits.render(kind, rng, fonts), NOT_A_DIGIT) for _ in range(given["rendered"])]
            yield f"no digit: {kind}", pictures
    for folder in given["ink"]:
        yield folder.name, _labelled(folder)
    for path in given["none"]:
        yield f"no digit: {path.name}", _unlabelled(path)


def _print_row(model: bytes, name: str, sent: Iterable[Sent]) -> Measured:
    """Prepare and classify pictures as the service does, and print their row."""
    prepared, labels = [], []
    for picture, label in sent:
        prepared.append(read(picture, max_pixels=MAX_PIXELS) if isinstance(picture, bytes) else prepare(picture))
        labels.append(label)
    probabilities = run_onnx(model, torch.from_numpy(np.stack([image.pixels for image in prepared])[:, None]))
    warnings = [
        image.warnings + more * image.has_ink
        for image, more in zip(prepared, warnings_for(probabilities.numpy()), strict=True)
    ]
    counts = Counter(name for names in warnings for name in names)
    shares = [sum(map(bool, warnings)), *(counts[name] for name in WARNINGS)]
    quality = f"{'':>30}"
    if NOT_A_DIGIT not in labels:
        metrics = evaluate(probabilities, torch.tensor(labels))
        quality = f"{metrics.accuracy * 100:>10.2f}{metrics.nll:>10.4f}{metrics.ece * 100:>10.2f}"
    cells = (f"{share / len(labels) * 100:>{width}.2f}" for share, width in zip(shares, WIDTHS[3:], strict=True))
    print(f"{name:<34}{len(labels):>7}{quality}" + "".join(cells))
    blank = np.array([not image.has_ink for image in prepared])
    return Measured(name, probabilities.numpy(), np.array(labels), blank)


def _read_quantiles(path: Path) -> Quantiles | None:
    """Return the quantiles on a card; None where there are none, or no card."""
    try:
        card = json.loads(_read(path))
    except (DataError, ValueError, RecursionError):
        return None
    return read_quantiles(card) if isinstance(card, dict) else None


def _print_sets(quantiles: Quantiles, rows: Iterable[Measured]) -> None:
    """Print for each row and coverage how many sets hold the right digit, how large they are, and how many have one."""
    print(f"\n{'sets of digits, at a coverage of':<41}" + "".join(f"{f'{share:.1%}':>33}" for share in COVERAGES))
    print(f"{'pictures':<34}{'n':>7}" + (f"{'':>3}" + "".join(f"{name:>10}" for name in SET_HEADINGS)) * len(COVERAGES))
    for name, probabilities, labels, blank in rows:
        cells = ""
        for share in COVERAGES:
            sets = make_sets(probabilities, quantiles.at(share))
            sizes = np.where(blank, CLASSES, [len(each) for each in sets])  # without ink, all digits
            covered = blank | [label in each for label, each in zip(labels.tolist(), sets, strict=True)]
            cells += f"{covered.mean() * 100:>13.2f}{sizes.mean():>10.3f}{(sizes == 1).mean() * 100:>10.2f}"
        print(f"{name:<34}{len(labels):>7}{cells}")


def _as_sent(digits: data.Digits) -> Iterator[Sent]:
    yield from map(Sent, digits.images.numpy()[:, 0], digits.labels.tolist())


def _enlarged(digits: data.Digits) -> Iterator[Sent]:
    side = digits.images.shape[-1] * ENLARGED
    for pixels, label in zip(digits.images.numpy()[:, 0], digits.labels.tolist(), strict=True):
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(stream, "PNG")
        yield Sent(stream.getvalue(), label)


def _rendered(family: str, digits: data.Digits, count: int, rng: np.random.Generator) -> list[Sent]:
    """Render pictures of a family; every third in a style of writing, the others along MNIST's digits."""
    sent = []
    for i in range(count):
        at = rng.integers(len(digits.labels))
        label = int(digits.labels[at])
        sent.append(Sent(ink.render(family, None if i % 3 == 0 else digits.images[at, 0].numpy(), label, rng), label))
    return sent


def _labelled(folder: Path) -> Iterator[Sent]:
    """Yield the pictures that a folder's labels.csv (file, label) names."""
    for row in csv.DictReader(_read(folder / "labels.csv").decode().splitlines()):
        if {"file", "label"} - set(row) or row["label"] not in set("0123456789"):
            raise DataError(f"{folder}/labels.csv must have the columns file and label, 0 to 9, not {row}")
        yield Sent(_read(folder / row["file"]), int(row["label"]))


def _unlabelled(path: Path) -> Iterator[Sent]:
    """Yield all pictures of a folder, or of an IDX file of images, which may be compressed with gzip."""
    if path.is_dir():
        yield from (Sent(_read(file), NOT_A_DIGIT) for file in sorted(path.iterdir()) if file.is_file())
        return
    content = gzip.decompress(_read(path)) if path.suffix == ".gz" else _read(path)
    yield from (Sent(pixels, NOT_A_DIGIT) for pixels in data.parse_idx(content))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
