"""Quantised variants: linear layers with int8 weights and uint8 activations, in a quarter of the bytes.

In: the bytes of an fp32 model.onnx, and digits. Out: the bytes of its variants, and the accuracy, size and latency of
each.
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
from ..evaluation.onnx_runtime import make_session
from .to_onnx import compact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from ..config import Precision
    from ..data.digits import Digits

CALIBRATION: Final = 2000  # digits; more digits change no range
# Weights of 7 bits: with 8, AVX2 without VNNI overflows when it adds two products (onnxruntime.ai, "Quantize ONNX
# models"), so the probabilities would depend on the processor.
_WEIGHTS: Final = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
ROUNDS: Final = 9
CALLS: Final = 200
LOSS: Final = 5e-4  # of accuracy: int8 may lose no more


@dataclass(frozen=True)
class Export:
    """A variant: the size of its file, and its metrics on the test digits; `microseconds` for one image."""

    bytes: int
    accuracy: float
    nll: float
    microseconds: float


def make_variants(model: bytes, images: Tensor) -> dict[str, bytes]:
    """Return the fp32 model and its quantised variants, calibrated on images uint8[N,1,28,28]."""
    return {"fp32": model, "int8": quantise_fixed(model, images), "int8_dynamic": quantise_dynamic(model)}


def compare(models: Mapping[str, bytes], predictions: Mapping[str, Tensor], test: Digits) -> dict[str, Export]:
    """Measure each model; `predictions` are its probabilities float32[N,10] of the test digits."""
    times = measure_latencies(models, test.images)
    metrics = {name: evaluate(probabilities, test.labels) for name, probabilities in predictions.items()}
    return {
        name: Export(len(model), metrics[name].accuracy, metrics[name].nll, times[name])
        for name, model in models.items()
    }


def require_harmless(exports: Mapping[str, Export], precision: Precision) -> None:
    """Raise `GateError` if the variant that ships is less accurate than fp32.

    Latency is not a gate, because then two runs with the same bits could end differently.
    """
    loss = exports["fp32"].accuracy - exports[precision].accuracy
    if loss > LOSS + 1e-9:
        raise GateError(
            f"not published: {precision} loses {loss:.2%} of test accuracy, and the limit is {LOSS:.2%}; "
            "use --precision fp32"
        )


def quantise_fixed(model: bytes, images: Tensor) -> bytes:
    """Return the variant whose activations have fixed ranges, from images uint8[N,1,28,28]. It may be published."""
    return _quantised(
        lambda source, path: quantize_static(
            source, path, _Reader(images[:CALIBRATION]), op_types_to_quantize=["Gemm"], **_WEIGHTS
        ),
        model,
    )


def quantise_dynamic(model: bytes) -> bytes:
    """Return the variant that computes the ranges of its activations in each call.

    It is for comparison only: the ranges are those of a whole batch, so a prediction depends on the rest of its batch.
    """
    return _quantised(lambda source, path: quantize_dynamic(source, path, **_WEIGHTS), model)


def measure_latencies(models: Mapping[str, bytes], images: Tensor) -> dict[str, float]:
    """Return each model's microseconds for one image on one thread: medians of alternating rounds."""
    sessions = {name: make_session(model) for name, model in models.items()}
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
    """Yields images, one batch after the other."""

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
            return compact(onnx.load_model(path))
    finally:
        logger.setLevel(before)
