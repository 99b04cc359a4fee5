"""The card of a model version: all its facts, as JSON values.

In: what a run decided, used and measured. Out: the card without the version and the checksums, which `publish` adds.
A card of schema "mnist-mlp/1" has all of these keys:

    schema       "mnist-mlp/1"; a reader refuses any other
    name         of the model, and of the folder that holds its versions
    version      the number that is the name of the folder
    run          a random identifier of the run, by which an interrupted run finds the version that it has published
    created      UTC, ISO 8601 to the second
    sha256       of model.onnx; golden_sha256: of golden.npz
    opset        of ONNX's own operators, the only ones used
    inputs       [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    outputs      [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
    pixels       what the numbers of an image mean, in words
    labels       the meaning of each column of the probabilities
    metrics      by data set ("validation" and "test" of MNIST, "rendered" of digits as the service sees them):
                 count, accuracy, nll, ece, recall, confusion[true][predicted]
    reference    what the service measures drift against, on validation digits ("mnist") and each family of held-out
                 rendered digits: {"bins": {signal: bins}, "sources": {name: {"pictures": n, signal: counts by bin}}};
                 versions 1 and 2 have none
    conformal    {"score": of a digit, in words, "counts": digits by data set, "levels": shares of the right digits,
                 "quantiles": the score within which so many are, null for infinity}, for sets of digits; versions 1 and
                 2 have none
    parity       {"images": compared, "max_difference": of a probability, PyTorch against ONNX Runtime}
    exports      {"fp32", "int8", "int8_dynamic": each {"bytes", "accuracy", "nll", "microseconds"}} on the test digits,
                 one image at a time on one thread; training.knobs.precision says which of them this version is
    temperature  by which the graph divides the logits
    training     {"seconds": those of a teacher too, "seed", "processes", "knobs": the hyperparameters, "epochs": the
                 facts of each}
    data         {"source", "warnings", "sha256": of each file uncompressed, "train", "validation", "test": counts,
                 "rendered_sha256": of the mosaic of rendered pictures}
    git          {"commit": or "unknown", "dirty": or null} of the training code
    libraries    versions of Python and of the libraries that took part
    environment  {"platform", "processor", "cores"} of the machine
"""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..loop import distributed
from .publish import SCHEMA
from .to_onnx import OPSET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..config import Config
    from ..data import Dataset
    from ..evaluation.metrics import Metrics
    from ..loop.fit import Epoch
    from .quantise import Export
    from .to_onnx import Parity

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "torch")


def describe(
    config: Config,
    dataset: Dataset,
    *,
    run: str,
    epochs: Sequence[Epoch],
    metrics: Mapping[str, Metrics],
    reference: Mapping[str, Any],
    conformal: Mapping[str, Any],
    rendered_sha256: str,
    parity: Parity,
    exports: Mapping[str, Export],
    temperature: float,
) -> dict[str, Any]:
    """Return the card without version and checksums."""
    return {
        "schema": SCHEMA,
        "name": config.name,
        "run": run,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **_interface(),
        "metrics": {name: dataclasses.asdict(values) for name, values in metrics.items()},
        "reference": reference,
        "conformal": conformal,
        "parity": dataclasses.asdict(parity),
        "exports": {name: dataclasses.asdict(export) for name, export in exports.items()},
        "temperature": temperature,
        "training": _training(config, epochs),
        "data": _data(dataset, metrics) | {"rendered_sha256": rendered_sha256},
        **describe_environment(),
    }


def describe_environment() -> dict[str, Any]:
    """Return what a run depends on besides hyperparameters and data: code, libraries, machine."""
    return {
        "git": _git_state(),
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "environment": {"platform": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
    }


def _processor() -> str:
    """Return the processor's name, where the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _interface() -> dict[str, Any]:
    return {
        "opset": OPSET,
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
        "pixels": "rows of 0 (dark ground) to 255 (light ink), as MNIST stores them; all arithmetic is in the graph",
        "labels": [str(digit) for digit in range(10)],
    }


def _training(config: Config, epochs: Sequence[Epoch]) -> dict[str, Any]:
    return {
        "seconds": round(epochs[-1].seconds, 2),
        "seed": config.seed,
        "processes": distributed.process_count(),
        "knobs": config.hyperparameters(),
        "epochs": [dataclasses.asdict(epoch) for epoch in epochs],
    }


def _data(dataset: Dataset, metrics: Mapping[str, Metrics]) -> dict[str, Any]:
    held_out = metrics["validation"].count
    return {
        "source": dataset.source,
        "warnings": list(dataset.warnings),
        "sha256": dict(dataset.checksums),
        "train": len(dataset.train.labels) - held_out,
        "validation": held_out,
        "test": metrics["test"].count,
    }


def _git_state() -> dict[str, Any]:
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {"commit": commit or "unknown", "dirty": None if status is None else bool(status)}


def _git(*words: str) -> str | None:
    """Return git's output for the folder of this code; None where there is no git, or no repository."""
    command = ("git", "-C", str(Path(__file__).parent), *words)
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
