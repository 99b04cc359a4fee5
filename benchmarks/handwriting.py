"""Accuracy on handwriting: one table over rendered families, MNIST sent in other forms, and folders of real ink.

In: a model version's folder and, if wanted, folders with a labels.csv (columns file, label). Out: a table. Everything
goes through `service.image.read`, as an upload does. The family `board` is held out: nothing was tuned on it.

    python -m benchmarks.handwriting --model models/mnist-mlp/1 --ink DIR
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime as ort
from PIL import Image

from service import image
from training import data, ink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_PIXELS = 40_000_000


class Sent(NamedTuple):
    """A picture as somebody sends it."""

    data: bytes
    label: int


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of a model version")
    parser.add_argument("--ink", type=Path, action="append", default=[], help="folder with pictures and labels.csv")
    parser.add_argument("--data-dir", type=Path, help="folder of MNIST's four files")
    parser.add_argument("--count", type=int, default=300, help="pictures of each family")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--write", type=Path, help="write the rendered pictures here as well, to look at them")
    options = parser.parse_args()
    session = ort.InferenceSession((options.model / "model.onnx").read_bytes())
    test = data.load(options.data_dir).test
    images, labels = test.images.numpy()[:, 0], test.labels.numpy().astype(np.uint8)
    if options.write:
        ink.write_folder(options.write, images, labels, per_family=options.count, seed=options.seed)
    print(f"{'pictures':<34}{'n':>7}{'right %':>9}{'mean p':>8}{'ms':>7}  warnings")
    for number, family in enumerate(ink.FAMILIES):
        rng = np.random.default_rng([options.seed, number])
        name = f"{family} (held out)" if family == ink.HELD_OUT else family
        row(session, name, rendered(family, images, labels, options.count, rng))
    row(session, "MNIST test, 28 x 28 PNG", as_sent(images, labels))
    row(session, "MNIST test, inverted 28 x 28", as_sent(255 - images[::5], labels[::5]))
    row(session, "MNIST test, smoothly 280 x 280", as_sent(images[::5], labels[::5], scale=10))
    for folder in options.ink:
        row(session, str(folder.name), from_folder(folder))


def rendered(
    family: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], count: int, rng: np.random.Generator
) -> Iterator[Sent]:
    """Pictures of a family; every third is of the generator's own shapes, the rest follow MNIST's test digits."""
    for i in range(count):
        at = rng.integers(len(labels))
        yield Sent(ink.render(family, None if i % 3 == 0 else images[at], int(labels[at]), rng), int(labels[at]))


def as_sent(images: NDArray[np.uint8], labels: NDArray[np.uint8], *, scale: int = 1) -> Iterator[Sent]:
    """MNIST's digits as PNG, `scale` times as large."""
    for digit, label in zip(images, labels, strict=True):
        stream = io.BytesIO()
        side = 28 * scale
        Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC).save(stream, "PNG")
        yield Sent(stream.getvalue(), int(label))


def from_folder(folder: Path) -> Iterator[Sent]:
    """The pictures that a folder's labels.csv names."""
    with (folder / "labels.csv").open(newline="") as stream:
        for line in csv.DictReader(stream):
            yield Sent((folder / line["file"]).read_bytes(), int(line["label"]))


def row(session: ort.InferenceSession, name: str, pictures: Iterator[Sent]) -> None:
    """Read and classify pictures, and print one line of what came out."""
    seen, labels, spent, warnings = [], [], 0.0, 0
    for picture in pictures:
        start = time.process_time()
        prepared = image.read(picture.data, max_pixels=MAX_PIXELS)
        spent += time.process_time() - start
        seen.append(prepared.pixels)
        labels.append(picture.label)
        warnings += bool(prepared.warnings)
    probabilities = session.run(None, {"images": np.stack(seen)[:, None]})[0]
    right = float((probabilities.argmax(1) == labels).mean()) * 100
    sure = float(probabilities.max(1).mean())
    print(f"{name:<34}{len(labels):>7}{right:>9.2f}{sure:>8.3f}{spent / len(labels) * 1000:>7.2f}  {warnings}")


if __name__ == "__main__":
    main()
