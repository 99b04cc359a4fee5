"""The linear layers in whole numbers: int8 weights and uint8 activations, a quarter of the bytes.

In: the bytes of an fp32 model.onnx, and digits. Out: the bytes of its int8 twins, and how right, large and fast each
is. It knows nothing of networks, folders or cards.
"""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

from ..errors import GateError
from ..evaluation.metrics import evaluate
from .to_onnx import session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from ..config import Precision
    from ..data.mnist import Digits

CALIBRATION: Final = 2000  # digits; more change no range
# Weights of 7 bits: with 8, AVX2 without VNNI overflows when it adds two products (onnxruntime.ai, "Quantize ONNX
# models"), so the answers would depend on the processor.
_WEIGHTS: Final = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
ROUNDS: Final = 9
CALLS: Final = 200
LOSS: Final = 5e-4  # of accuracy, for which int8 may be had at most


@dataclass(frozen=True)
class Export:
    """One way to ship a network: its file, and what it does on the test digits; `microseconds` for one image."""

    bytes: int
    accuracy: float
    nll: float
    microseconds: float


def twins(model: bytes, images: Tensor) -> dict[str, bytes]:
    """All the ways to ship an fp32 model, that one first, calibrated on images uint8[N,1,28,28]."""
    return {"fp32": model, "int8": static(model, images), "int8_dynamic": dynamic(model)}


def compare(models: Mapping[str, bytes], answers: Mapping[str, Tensor], test: Digits) -> dict[str, Export]:
    """What each model is worth, from its probabilities float32[N,10] of the test digits."""
    times = latencies(models, test.images)
    judged = {name: evaluate(probabilities, test.labels) for name, probabilities in answers.items()}
    return {
        name: Export(len(model), judged[name].accuracy, judged[name].nll, times[name]) for name, model in models.items()
    }


def require_harmless(exports: Mapping[str, Export], precision: Precision) -> None:
    """Raise `GateError` if what is to ship is less right than fp32. Its time is no gate: clocks would make two files
    of one run.
    """
    loss = exports["fp32"].accuracy - exports[precision].accuracy
    if loss > LOSS + 1e-9:
        raise GateError(
            f"not published: {precision} costs {loss:.2%} of test accuracy, and the limit is {LOSS:.2%}; "
            "--precision fp32 ships"
        )


def static(model: bytes, images: Tensor) -> bytes:
    """The twin whose activations have fixed ranges, those found on images uint8[N,1,28,28]: what may be published."""
    return _quantised(
        lambda source, path: quantize_static(
            source, path, _Reader(images[:CALIBRATION]), op_types_to_quantize=["Gemm"], **_WEIGHTS
        ),
        model,
    )


def dynamic(model: bytes) -> bytes:
    """The twin whose activations' ranges are found anew in each call.

    For comparison alone: the ranges are those of a whole batch, so an answer would depend on its neighbours.
    """
    return _quantised(lambda source, path: quantize_dynamic(source, path, **_WEIGHTS), model)


def latencies(models: Mapping[str, bytes], images: Tensor) -> dict[str, float]:
    """Microseconds that each model takes for one image on one thread: medians of rounds that take turns."""
    sessions = {name: session(model) for name, model in models.items()}
    feeds = [{"images": image.numpy()} for image in torch.split(images[:CALLS], 1)]
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, runner in sessions.items():
            started = time.perf_counter()
            for feed in feeds:
                runner.run(None, feed)
            times[name].append((time.perf_counter() - started) / len(feeds) * 1e6)
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no annotations
    """Hands images out, one batch after the other."""

    def __init__(self, images: Tensor) -> None:
        self._batches: Iterator[Tensor] = iter(torch.split(images, 250))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"images": batch.numpy()}


def _quantised(quantise: Callable[[onnx.ModelProto, Path], None], model: bytes) -> bytes:
    logger, before = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)  # it recommends shape inference, which these graphs do not need
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantise(onnx.load_model_from_string(model), path)
            content: bytes = onnx.load_model(path).SerializeToString(deterministic=True)
            return content
    finally:
        logger.setLevel(before)
