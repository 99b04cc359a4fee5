"""Measure how long it takes to prepare a picture, and to compute its heat map: medians of several rounds on one core.

In: nothing. Out: a table. It measures `service.picture.prepare` and `service.inference.occlusion` alone;
`benchmarks.serving` measures servers.

    python -m benchmarks.pictures
"""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from service.inference import occlusion
from service.model.classifier import Classifier
from service.picture import prepare
from training.synthesis import ink
from training.synthesis.strokes import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.arrays import Pixels, Probabilities

MODELS = Path("models/mnist-mlp")
ROUNDS = 9


def main() -> None:
    """Print the table."""
    classifier = Classifier.load(MODELS)
    digit = small_digit()

    async def predict(images: Pixels) -> Probabilities:
        return classifier.predict(images)

    loop = asyncio.new_event_loop()
    big = Image.open(io.BytesIO(ink.FAMILIES["phone"](draw(5, np.random.default_rng(1)), np.random.default_rng(1))))
    kinds: dict[str, tuple[int, Callable[[], object]]] = {
        "28 x 28 PNG in MNIST's format": (1000, reader(digit, "PNG")),
        "28 x 28 PNG, dark on light": (1000, reader(255 - digit, "PNG")),
        "28 x 28 PNG, not in the middle": (50, reader(np.roll(digit, 3, 1), "PNG")),
        "280 x 280 PNG": (50, reader(np.kron(255 - digit, np.ones((10, 10), np.uint8)), "PNG")),
        "12-megapixel JPEG": (5, reader(np.asarray(big.convert("RGB").resize((4000, 3000))), "JPEG")),
        "heat map": (20, lambda: loop.run_until_complete(occlusion.heat_map(digit, 5, predict))),
    }
    for name, (count, call) in kinds.items():
        print(f"{name:<30}{timed(call, count) * 1000:>10.3f} ms")


def small_digit() -> Pixels:
    """Return a rendered 5, prepared as the service does."""
    rng = np.random.default_rng(0)
    return prepare.read(ink.render("brush", None, 5, rng), max_pixels=10**6).pixels


def reader(pixels: Pixels, file_format: str) -> Callable[[], object]:
    """Return a function that prepares these pixels from a file of this format."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format)
    return lambda: prepare.read(stream.getvalue(), max_pixels=50_000_000)


def timed(call: Callable[[], object], count: int) -> float:
    """Return the seconds of one call: the median of rounds of `count` calls."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(count):
            call()
        seconds.append((time.perf_counter() - started) / count)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
