"""Never a step lost: a run that is killed, stopped or starved of disk goes on to the bits of one that never was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.training import RARELY, SMALL
from tests.support.training_crash import CALLS
from training import files
from training.config import RECIPES, parse
from training.errors import CheckpointError, Diverged, Stopped, UsageError
from training.loop.checkpoint import NAME, Checkpoint, Checkpointer, Position, remove_checkpoints
from training.loop.fit import fit
from training.network.mlp import Network
from training.reporting.run import Run, read_epochs
from training.reporting.screen import Output
from training.reporting.trackers import Tracking
from training.train import fit_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from training.config import Config
    from training.data.mnist import Dataset
    from training.loop.fit import Epoch, Step

JOB = (sys.executable, "-m", "training")
KNOBS = "--hidden 48,32 --epochs 3 --batch-size 1024 --seen 140 --checkpoint-seconds 0".split()
HALF = Checkpoint(Position(2, 7, 1.5), {"a": torch.arange(5.0), "b": torch.tensor(3)})


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*JOB, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _sha256(run: Path) -> str:
    """Of the model that a run has published."""
    version = Path(json.loads((run / "published.json").read_text())["path"])
    return str(json.loads((version / "model.json").read_text())["sha256"])


def _position(run: Path) -> Position | None:
    """Of a run's last checkpoint, read in one go: another may take its place meanwhile."""
    try:
        content = (run / NAME).read_bytes()
    except FileNotFoundError:
        return None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return Position(**json.loads(header["__metadata__"]["position"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> str:
    """The sha256 of the model of a run that nothing interrupts."""
    assert not dataset.warnings
    folder = tmp_path_factory.mktemp("whole")
    words = [*KNOBS, f"--run-dir={folder}/run", f"--models-dir={folder}/models"]
    subprocess.run([*JOB, *words], check=True, capture_output=True)
    assert not (folder / "run" / NAME).exists()  # it has come to its end
    return _sha256(folder / "run")


def test_killed_at_random_moments_it_ends_with_the_same_model(tmp_path: Path, whole: str) -> None:
    """SIGKILL again and again, in the middle of steps and of saves (there is one after every step); each time the run
    goes on, and the published model is bit for bit that of an uninterrupted run."""
    run, models = tmp_path / "run", f"--models-dir={tmp_path}/models"
    chance = random.Random(5)  # noqa: S311
    words, places = [*KNOBS, f"--run-dir={run}", models], set()
    for step in sorted(chance.sample(range(1, 140), 4)):  # of 162
        due = (step // 50 + 1, step % 50)
        with _start(*words) as process:
            before = _position(run)
            while (now := _position(run)) is None or now == before or (now.epoch, now.batch) < due:
                assert process.poll() is None, process.stderr
            time.sleep(chance.uniform(0, 0.02))
            process.kill()
        places.add(_position(run))
        words = [f"--resume={run}", models, "--checkpoint-seconds=0"]
    subprocess.run([*JOB, *words], check=True, capture_output=True)
    assert len(places) == 4
    assert _sha256(run) == whole
    epochs = [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]


def _crash(folder: Path, function: str, last: int) -> list[str]:
    """What a run says whose process is killed before each system call of a function, up to the last, and goes on."""
    words = [*KNOBS, f"--run-dir={folder}/run", f"--models-dir={folder}/models"]
    command = [sys.executable, "-m", "tests.support.training_crash", function, str(last), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def test_killed_at_each_system_call_of_a_save_it_ends_with_the_same_model(tmp_path: Path, whole: str) -> None:
    """SIGKILL at each call with which a checkpoint takes the place of the one before, halfway through its bytes too."""
    said = _crash(tmp_path, "training.loop.checkpoint:_write", 99)
    calls = [line for line in said if line in CALLS]
    assert calls == "open write flush fsync __exit__ replace open fsync close".split()
    assert said.count(f"resuming {tmp_path}/run") == len(calls)
    assert _sha256(tmp_path / "run") == whole
    assert not list((tmp_path / "run").glob(".*.unfinished"))


def test_killed_once_it_has_published_it_does_not_publish_again(tmp_path: Path, whole: str) -> None:
    """SIGKILL after the version is there and before the run has noted it: the run goes on, and finds its version."""
    assert "open" in _crash(tmp_path, "training.reporting.run:Run.save_published", 1)
    assert [path.name for path in (tmp_path / "models" / "mnist-mlp").iterdir()] == ["101"]
    assert _sha256(tmp_path / "run") == whole


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_keeps_a_checkpoint_and_ends_with_130(tmp_path: Path, whole: str, name: signal.Signals) -> None:
    """SIGTERM and Ctrl-C in the middle of an epoch: a checkpoint, one line that says how to go on, code 130."""
    run, models = tmp_path / "run", f"--models-dir={tmp_path}/models"
    with _start(*KNOBS[:-1], str(RARELY), f"--run-dir={run}", models) as process:
        assert process.stdout
        assert process.stderr
        while "epoch   1" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(name)
        assert process.wait() == 130
        assert process.stderr.read() == f"error: stopped, and nothing is lost: go on with --resume {run}\n"
    last = Checkpointer(run, RARELY).load()
    assert last
    assert last.position.epoch == 2
    subprocess.run([*JOB, f"--resume={run}", models], check=True, capture_output=True)
    assert _sha256(run) == whole


@pytest.mark.parametrize("seconds", [0, RARELY])
def test_stopped_with_its_teacher_and_after_it_ends_with_the_same_network(
    tmp_path: Path, dataset: Dataset, seconds: float
) -> None:
    """SIGTERM in the teacher's third step, while the teacher is judged, and once the network learns from it: each time
    the run goes on where it was, and the network is bit for bit that of an uninterrupted run. The checkpoints of a run
    that has ended go."""
    config = replace(RECIPES["best"], hidden=(32,), teacher_epochs=1, epochs=2, checkpoint_seconds=seconds)
    digits = dataset.train.take(torch.arange(2048)), dataset.train.take(torch.arange(2048, 2304))
    tracking, models = Tracking(config, None), tmp_path / "models"
    whole, network = Network.of(config), Network.of(config)
    whole_run = Run(replace(config, run_dir=tmp_path / "whole", models_dir=models), Output(quiet=True))
    fit_network(config, whole_run, tracking, whole, digits)
    run = Run(replace(config, run_dir=tmp_path / "run", models_dir=models), Output(quiet=True))
    follow, steps = run.follow_teacher, []

    def stop_at_its_third_step(step: Step) -> None:
        steps.append(step.steps)
        if step.step == 3:
            signal.raise_signal(signal.SIGTERM)

    def stop_once_it_is_judged(epochs: Iterable[Epoch], teacher: Config) -> list[Epoch]:
        done = follow(epochs, teacher)
        signal.raise_signal(signal.SIGTERM)
        return done

    for name, stop in [
        ("on_step", stop_at_its_third_step),
        ("follow_teacher", stop_once_it_is_judged),
        ("on_step", stop_at_its_third_step),
    ]:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped, match=f"--resume {run.folder}"):
            patch.setattr(run, name, stop)
            fit_network(config, run, tracking, Network.of(config), digits)
    assert steps == [16] * 3 + [8] * 2  # the teacher's, and the network's after its first; the teacher makes none again
    assert len(fit_network(config, run, tracking, network, digits)) == 2
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in whole.state_dict().items())
    assert len(read_epochs(run.folder, "teacher.jsonl")) == 1
    remove_checkpoints(run.folder)
    assert not list(run.folder.glob("*.safetensors"))


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Position and tensors of a checkpoint are read back equal; the next one takes its place."""
    checkpointer = Checkpointer(tmp_path, RARELY)
    assert checkpointer.load() is None
    checkpointer.save(HALF._replace(position=Position()))
    checkpointer.save(HALF)
    last = checkpointer.load()
    assert last
    assert last.position == HALF.position
    assert all(torch.equal(last.tensors[name], tensor) for name, tensor in HALF.tensors.items())
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_checkpoints_are_due_when_their_time_has_come(tmp_path: Path) -> None:
    """At 0 seconds after every step; else only when so much time has passed."""
    assert Checkpointer(tmp_path, 0).is_due(at_end=False)
    assert not Checkpointer(tmp_path, RARELY).is_due(at_end=False)


def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes no more (here /dev/full, which is always full): one sentence, and the last one is whole."""
    checkpointer = Checkpointer(tmp_path, RARELY)
    checkpointer.save(HALF)
    (tmp_path / f".{NAME}.unfinished").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"No space left on device; go on with --resume"):
        checkpointer.save(HALF._replace(position=Position(9, 9, 9)))
    last = checkpointer.load()
    assert last
    assert last.position == HALF.position


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    """An empty file, noise, or a safetensors file of somebody else: one sentence that names the file."""
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UsageError, match=NAME):
        Checkpointer(tmp_path, RARELY).load()


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    """A checkpoint that does not fit the run's network, as an older program has left it: one sentence."""
    checkpointer, network = Checkpointer(tmp_path, RARELY), Network((8,), "relu", batch_norm=True, deslant=True, seed=0)
    checkpointer.save(HALF)
    with pytest.raises(UsageError, match=r"checkpoint's network does not fit this program's: .*Missing key"):
        list(fit(network, dataset.test, dataset.test, replace(SMALL, epochs=2), checkpointer))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, dataset: Dataset) -> None:
    """At an absurd learning rate the run ends by naming the epoch and the flag, and the checkpoints hold numbers."""
    network = Network(SMALL.hidden, SMALL.activation, batch_norm=False, deslant=SMALL.deslant, seed=0)
    wild = parse("--optimizer sgd --learning-rate 100 --no-batch-norm --epochs 3".split())
    checkpointer = Checkpointer(tmp_path, 0)
    with pytest.raises(Diverged, match=r"epoch \d: a lower --learning-rate"):
        list(fit(network, dataset.train.take(torch.arange(4096)), dataset.test, wild, checkpointer))
    last = checkpointer.load()
    assert last
    assert torch.isfinite(last.tensors["sums"][0])


def test_a_run_that_is_no_run_or_is_over_is_not_resumed(tmp_path: Path) -> None:
    """A folder without a run, knobs beside --resume, and a published run: each is refused with its reason."""
    with pytest.raises(UsageError, match=r"is not a run's folder"):
        parse([f"--resume={tmp_path}"])
    with pytest.raises(UsageError, match=r"leave out --epochs"):
        parse([f"--resume={tmp_path}", "--epochs=3"])
    (tmp_path / "config.json").write_text('{"hidden": [3], "colour": "red"}')
    with pytest.raises(UsageError, match=r"hyperparameters of another version"):
        parse([f"--resume={tmp_path}"])
    (tmp_path / "config.json").write_text('{"hidden": [3]}')
    (tmp_path / "published.json").write_text("{}")
    over = subprocess.run([*JOB, f"--resume={tmp_path}"], capture_output=True, text=True, check=False)
    assert over.returncode == 2
    assert over.stderr.startswith(f"error: --resume {tmp_path}: this run has ended")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """What cannot be written leaves the old content and nothing beside it."""
    path = tmp_path / "file"
    files.replace(path, b"old")
    (tmp_path / ".file.unfinished").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*/\.file\.unfinished'"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
