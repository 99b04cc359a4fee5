"""Several processes train as one does: the same steps, one version, and nothing lost when one of them is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from training.choices import LOSSES
from training.config import parse
from training.data.augment import Augment
from training.errors import UsageError
from training.evaluation.onnx_runtime import run_onnx
from training.loop import distributed
from training.loop.distillation import distillation
from training.network.mlp import Network
from training.network.teacher import Teacher

if TYPE_CHECKING:
    from training.data.mnist import Dataset

ALONE = (sys.executable, "-m", "training")
TOGETHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
KNOBS = (
    "--hidden 32,16 --epochs 3 --batch-size 2047 --optimizer sgd --learning-rate 0.1 --seen 140 --threads 1 "
    "--checkpoint-seconds 0 --min-accuracy 0.5 --device cpu"
).split()
WARPS = Augment(8, 0.1, 0.1, 1, 0.8, 0.5, 0.5)


def _places(folder: Path) -> list[str]:
    return [f"--run-dir={folder}/run", f"--models-dir={folder}/models"]


def _model(folder: Path) -> bytes:
    """The one model that was published."""
    (version,) = (folder / "models" / "mnist-mlp").iterdir()
    return (version / "model.onnx").read_bytes()


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TOGETHER, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _until(process: subprocess.Popen[str], words: str) -> None:
    """Wait until the run has said so."""
    assert process.stdout
    assert any(words in line for line in process.stdout), process.communicate()[1]


def _second(parent: int) -> int:
    """The process of rank 1 below torchrun."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = [child for child in children if "RANK=1" in Path(f"/proc/{child}/environ").read_text().split("\0")]
    return int(found)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """The folder of a run of two processes that nothing interrupts."""
    assert not dataset.warnings
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run(
        [*TOGETHER, "-m", "training", *KNOBS, *_places(folder)], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 7  # one process speaks
    assert "digits to train on" in lines[0]
    return folder


def test_two_processes_make_the_steps_of_one(tmp_path: Path) -> None:
    """In float64, weights and statistics after 32 steps (4 of a teacher and of its network) are those of one process to
    13 digits: the batches, the warps, batch norm and gradients are the same."""
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run([sys.executable, "-m", "tests.support.training_exact", str(one)], check=True)
    subprocess.run([*TOGETHER, "-m", "tests.support.training_exact", str(two)], check=True, capture_output=True)
    torch.testing.assert_close(load_file(one), load_file(two), atol=1e-13, rtol=1e-13)


def test_two_processes_publish_what_one_does(tmp_path: Path, together: Path, dataset: Dataset) -> None:
    """In float32 the roundings of 80 steps add up, and the published models still give nearly the same answers."""
    subprocess.run([*ALONE, *KNOBS, *_places(tmp_path)], check=True, capture_output=True)
    one, two = (run_onnx(_model(folder), dataset.test.images).numpy() for folder in (tmp_path, together))
    np.testing.assert_allclose(one, two, atol=0.02)
    card = json.loads((together / "models" / "mnist-mlp" / "101" / "model.json").read_text())
    assert card["training"]["processes"] == 2


def test_killed_or_asked_to_end_they_go_on_to_the_same_model(tmp_path: Path, together: Path) -> None:
    """SIGTERM to torchrun: a checkpoint, and one line. The same command goes on; one process is killed by SIGKILL, and
    torchrun starts all of them anew. In the end there is one version, bit for bit that of an uninterrupted run."""
    run, words = tmp_path / "run", ["--max-restarts=1", "-m", "training", *KNOBS, *_places(tmp_path)]
    with _start(*words) as process:
        _until(process, "epoch   1/3")
        process.terminate()
        said = process.communicate()[1]
    assert said.count("error: ") == 1
    assert f"error: stopped, and nothing is lost: go on with --resume {run}" in said
    with _start(*words) as process:
        _until(process, "epoch   2/3")
        os.kill(_second(process.pid), signal.SIGKILL)
        said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert errors.count("error: ") == 1
    assert "error: another process of the run has ended: " in errors
    assert f"resuming {run}" in said  # a second time
    assert said.count("published") == 1
    assert _model(tmp_path) == _model(together)


def test_the_parts_of_a_batch_are_the_batch(monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    """Alone a process has all of a batch; three have parts that make it up, with the warps that they have in it."""
    images = dataset.test.images[:100]
    assert distributed.part_of(100) == slice(0, 100)
    monkeypatch.setenv("WORLD_SIZE", "3")
    drawn = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        drawn.append(WARPS(images, torch.Generator().manual_seed(0), part=distributed.part_of(100)))
    torch.testing.assert_close(torch.cat(drawn), WARPS(images, torch.Generator().manual_seed(0)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_cpu_is_chosen_unless_a_gpu_is_asked_for(tmp_path: Path) -> None:
    """auto finds the CPU; --device cuda ends with code 2 and one line, before anything is made."""
    assert distributed.choose_device("auto").type == "cpu"
    refused = subprocess.run(
        [*ALONE, "--device", "cuda", *_places(tmp_path)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr == "error: --device cuda: PyTorch finds 0 GPUs on this machine, for 1 processes\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cross_entropy", "mse"])
def test_a_step_leaves_nothing_on_the_cpu(name: str) -> None:
    """Warps, network, loss and gradients of digits on another device (PyTorch's "meta", which refuses to mix) are
    there."""
    device = torch.device("meta")
    network = Network((8,), "relu", batch_norm=True, deslant=True, seed=0).to(device)
    images = torch.zeros(6, 1, 28, 28, dtype=torch.uint8, device=device)
    images = network.prepare(images)
    logits = network.logits(WARPS(images, torch.Generator(), network.frame, slice(0, 3)))
    loss = LOSSES[name](logits, torch.zeros(3, dtype=torch.int64, device=device))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.device == logits.device == device
    teacher = Teacher(deslant=True, seed=0).to(device)
    assert distillation(teacher, teacher.see_all(images), logits.detach().repeat(2, 1)).device == device
    assert all(weight.grad is not None and weight.grad.device == device for weight in network.parameters())


def test_a_device_that_is_none_is_a_usage_error() -> None:
    """--device takes auto, cpu and cuda."""
    with pytest.raises(SystemExit):
        parse(["--device", "tpu"])
    with pytest.raises(UsageError, match="cuda"):
        distributed.choose_device("cuda")
