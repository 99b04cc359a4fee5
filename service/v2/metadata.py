"""Metadata, configuration and statistics of the Open Inference Protocol, version 2, and of Triton's extensions.

In: the serving classifier, the settings, and totals of the metrics. Out: dictionaries, which REST encodes as JSON, and
gRPC as messages with the same fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import __version__
from ..codec.v2_tensors import CLASSES, INPUT, OUTPUT

if TYPE_CHECKING:
    from ..model.classifier import Classifier
    from ..settings import Settings

EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]


def server() -> dict[str, Any]:
    """Return the server's metadata, with its extensions."""
    return {"name": "mnist-mlp", "version": __version__, "extensions": EXTENSIONS}


def metadata(classifier: Classifier) -> dict[str, Any]:
    """Return the model's metadata: its versions and tensors."""
    return {
        "name": classifier.name,
        "versions": [classifier.version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, 1, 28, 28]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, CLASSES]}],
    }


def configuration(classifier: Classifier, settings: Settings) -> dict[str, Any]:
    """Return the model's configuration, in Triton's format."""
    pixels = {"name": INPUT, "data_type": "TYPE_UINT8", "format": "FORMAT_NCHW", "dims": [1, 28, 28]}
    output = {"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [CLASSES], "label_filename": ""}
    return {
        "name": classifier.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": settings.max_images,
        "input": [pixels],
        "output": [output],
    }


def statistics(classifier: Classifier, numbers: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return a model's statistics: counts and nanoseconds over all workers and all routes of inference.

    As in Triton, the count of every part is the number of successful requests. Triton's `perf_analyzer` divides by
    these counts, reports the time outside the parts as overhead, and stops if the counts differ.
    """
    nothing = (0, 0)
    succeeded, spent = numbers.get("success", nothing)
    failed = numbers.get("failure", nothing)

    def part(stage: str) -> dict[str, int]:
        return {"count": succeeded, "ns": numbers.get(stage, nothing)[1]}

    return {
        "name": classifier.name,
        "version": classifier.version,
        "last_inference": numbers.get("last", nothing)[1] // 1_000_000,
        "inference_count": numbers.get("batch", nothing)[1],
        "execution_count": numbers.get("batch", nothing)[0],
        "inference_stats": {
            "success": {"count": succeeded, "ns": spent},
            "fail": {"count": failed[0], "ns": failed[1]},
            "queue": part("queue"),
            "compute_input": part("decode"),
            "compute_infer": part("inference"),
            "compute_output": part("encode"),
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [],
    }
