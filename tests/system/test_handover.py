"""The main job, end to end, with the programs that users run: train → export → serve → ask → scrape."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import numpy as np
import onnxruntime as ort

from service.commands.cli import main
from tests.support.pictures import Digits, png
from tests.support.service import ROOT, publish, running_service, until
from tests.support.versions import wait_for_version

if TYPE_CHECKING:
    from pathlib import Path


def test_an_experiment_does_not_go_live_by_itself(tmp_path: Path, digits: Digits) -> None:
    """While a service runs, a worse version is trained: it answers nothing until it is promoted."""
    folder = tmp_path / "models" / "mnist-mlp"
    folder.mkdir(parents=True)
    publish(folder, 2)
    command = ["--epochs=1", "--hidden=32", f"--models-dir={tmp_path}/models", f"--run-dir={tmp_path}/run"]
    with running_service(model_dir=folder, model_version="latest", workers=2) as service:
        subprocess.run([sys.executable, "-m", "training", *command], cwd=ROOT, check=True, timeout=120)
        index = f"{service.url}/v2/repository/index"
        until(lambda: len(httpx.post(index).json()) == 2, "the version is not seen")
        time.sleep(1.2)  # two looks
        wait_for_version(service, "2")
        assert main(["promote", "101", "--model-dir", str(folder)]) == 0
        wait_for_version(service, "101")
        answer = httpx.post(f"{service.url}/predict", content=png(digits.images[0])).json()
        assert answer["model"]["version"] == "101"


def test_what_is_trained_is_what_is_served(tmp_path: Path, digits: Digits) -> None:
    """A version that the training job publishes is loaded by the service and by plain ONNX Runtime alike, and all
    three give the same probabilities."""
    command = ["--epochs=1", "--hidden=32", f"--models-dir={tmp_path}/models", f"--run-dir={tmp_path}/run"]
    subprocess.run([sys.executable, "-m", "training", *command], cwd=ROOT, check=True, timeout=120)
    published = json.loads((tmp_path / "run" / "published.json").read_text())
    folder = tmp_path / "models" / published["name"] / str(published["version"])
    card = json.loads((folder / "model.json").read_text())
    session = ort.InferenceSession((folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    (offline,) = session.run(None, {"images": digits.images[:64, None]})
    golden = np.load(folder / "golden.npz", allow_pickle=False)
    (again,) = session.run(None, {"images": golden["images"]})
    assert np.abs(again - golden["probabilities"]).max() < 1e-5

    with running_service(model_dir=folder.parent, model_version="latest") as service:
        assert httpx.get(f"{service.url}/model").json() == card
        files = [("digit", png(image)) for image in digits.images[:64]]
        answer = httpx.post(f"{service.url}/predict", files=files).json()
        served = np.array([prediction["probabilities"] for prediction in answer["predictions"]])
        assert np.abs(served - offline).max() < 1e-6
        assert (served.argmax(1) == digits.labels[:64]).mean() > 0.8
        metrics = httpx.get(f"{service.url}/metrics").text
    assert f'model_sha256="{card["sha256"]}"' in metrics
    assert "mnist_batch_size_sum 64.0" in metrics
