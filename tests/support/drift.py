"""A version with a reference, and the drift that a service measures by it."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from tests.support.metrics import samples
from tests.support.service import MODELS, VERSION, until
from training import data
from training.config import Config
from training.data.digits import NOT_A_DIGIT
from training.evaluation.reference import describe_reference
from training.synthesis import rendered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.service import Service
    from training.data.mnist import Dataset

IN_REQUEST = 25  # pictures


def publish_with_reference(models: Path, dataset: Dataset) -> None:
    """The served version, with a reference on its card, which older versions have not."""
    folder = models / VERSION
    shutil.copytree(MODELS / VERSION, folder)
    card = json.loads((folder / "model.json").read_text())
    if "reference" not in card:
        _, validation = data.split(dataset.train, Config().validation_share)
        _, held_out = rendered.load()
        digits = held_out.take(held_out.labels < NOT_A_DIGIT)
        model = (folder / "model.onnx").read_bytes()
        card["reference"] = describe_reference(model, validation, digits, rendered.load_held_out_facts())
    (folder / "model.json").write_text(json.dumps(card))


def send(service: Service, pictures: Sequence[bytes]) -> None:
    """Ask for all pictures, some in each request, on connections of their own: so each worker gets some."""
    before = counted(service)

    def ask(start: int) -> None:
        files = [("images", ("picture", picture)) for picture in pictures[start : start + IN_REQUEST]]
        predictions = httpx.post(f"{service.url}/predict", files=files).raise_for_status().json()["predictions"]
        assert not [prediction["error"] for prediction in predictions if "error" in prediction]

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(ask, range(0, len(pictures), IN_REQUEST)))
    until(lambda: counted(service) == before + len(pictures), "the pictures are not counted")


def counted(service: Service) -> int:
    """How many pictures have been answered."""
    found = samples(service.metrics)
    return round(sum(value for (name, _), value in found.items() if name == "mnist_input_polarity_total"))


def drift(service: Service) -> dict[str, float]:
    """The index of each signal."""
    found = samples(service.metrics)
    return {dict(labels)["signal"]: value for (name, labels), value in found.items() if name == "mnist_drift"}
