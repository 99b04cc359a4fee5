"""The limit of every server: the model alone, one call of ONNX Runtime after another, in this process.

In: a model version, digits. Out: a `Visit`. Nothing is received, decoded, batched or told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.serving.contestants import MANY_BYTES
from benchmarks.serving.load import Load, Round
from benchmarks.serving.peers.model import Model
from benchmarks.serving.visit import Visit

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.serving.bodies import Pixels
    from benchmarks.serving.visit import Digits


def visit(folder: Path, digits: Digits, seconds: int) -> Visit:
    """Batches of one image and of all."""
    started = time.perf_counter()
    model = Model(str(folder / "model.onnx"))
    images = digits.images[:, None]
    found = model.predict(images).argmax(1).tolist()
    assert found == digits.labels
    told = Visit(time.perf_counter() - started)
    told.rounds["bytes", Load(1)] = _round(model, images[:1], seconds)
    told.rounds[MANY_BYTES, Load(1)] = _round(model, images, seconds)
    return told


def _round(model: Model, images: Pixels, seconds: int) -> Round:
    times = [time.perf_counter()]
    while times[-1] < times[0] + seconds:
        model.predict(images)
        times.append(time.perf_counter())
    p50, p99 = np.percentile(np.diff(times), (50, 99)) * 1000
    return Round((len(times) - 1) / (times[-1] - times[0]), float(p50), float(p99), 0)
