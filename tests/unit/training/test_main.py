from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from service.model import artefact
from tests.support.service import MODELS
from tests.support.signing import make_keys
from tests.support.training import visible_text
from training.service_picture import read_quantiles

if TYPE_CHECKING:
    from training.data.mnist import Dataset

JOB = (sys.executable, "-m", "training")
PYTHON = os.path.relpath(sys.executable) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
FAST = "--hidden 32 --epochs 1 --batch-size 512 --rotation 0 --elastic 0 --seen 140".split()

KEYS = set(
    "schema name version run created sha256 golden_sha256 opset inputs outputs pixels labels metrics conformal parity "
    "exports temperature reference training data git libraries environment".split()
)


class Job(NamedTuple):
    """The same job, twice: its folder, and how both ended."""

    folder: Path
    ends: list[subprocess.CompletedProcess[str]]


def _run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The training job as a user starts it, publishing below `folder`."""
    places = ("--models-dir", str(folder / "models"))
    return subprocess.run([*JOB, *places, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Job:
    assert not dataset.warnings  # so the cache is filled before the job looks for it
    folder = tmp_path_factory.mktemp("job")
    return Job(folder, [_run(folder, *FAST, "--run-dir", str(folder / "runs" / name)) for name in "ab"])


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_job_publishes_a_version_and_tells_its_facts(job: Job) -> None:
    """One command trains, publishes version 101, and leaves config, metrics and the version's path in its folder."""
    folder, (first, _) = job
    assert first.returncode == 0, first.stderr
    assert "test accuracy" in first.stdout
    assert f"report: {folder}/runs/a/report.html\n" in first.stdout
    assert "\x1b" not in first.stdout  # no terminal, no bar
    run = folder / "runs" / "a"
    version = folder / "models" / "mnist-mlp" / "101"
    assert _json(run / "published.json") == {"name": "mnist-mlp", "version": 101, "path": str(version)}
    assert _json(run / "config.json")["hidden"] == [32]
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1]
    assert sorted(path.name for path in version.iterdir()) == ["README.md", "golden.npz", "model.json", "model.onnx"]


def test_the_card_has_all_that_its_schema_lists(job: Job) -> None:
    """Every key of schema mnist-mlp/1 is there with true values, and no path of this machine."""
    folder, _ = job
    path = folder / "models" / "mnist-mlp" / "101" / "model.json"
    card = _json(path)
    assert set(card) == KEYS
    assert card["schema"] == "mnist-mlp/1"
    assert card["metrics"]["test"]["count"] == card["parity"]["images"] == 10_000
    assert card["metrics"]["test"]["accuracy"] > 0.9
    assert card["parity"]["max_difference"] < 1e-5
    counts = {name: card["metrics"][name]["count"] for name in ("validation", "rendered")}
    assert card["conformal"]["counts"] == counts
    assert read_quantiles(card) is not None
    assert (card["data"]["train"], card["data"]["validation"], card["data"]["test"]) == (55_000, 5_000, 10_000)
    assert card["training"]["knobs"]["batch_size"] == 512
    assert str(folder) not in path.read_text()
    assert os.getcwd() not in path.read_text()  # noqa: PTH109


def test_the_same_command_gives_the_same_model(job: Job) -> None:
    """Run again, the command publishes version 102 with the same model bit for bit."""
    folder, (_, second) = job
    assert second.returncode == 0, second.stderr
    one, two = (_json(folder / "models" / "mnist-mlp" / n / "model.json") for n in ("101", "102"))
    assert (one["sha256"], one["golden_sha256"]) == (two["sha256"], two["golden_sha256"])


def test_a_run_folder_is_not_used_twice(job: Job) -> None:
    """A run folder that holds a run is refused with code 2 and one line, before any training."""
    folder, _ = job
    again = _run(folder, *FAST, "--run-dir", str(folder / "runs" / "a"))
    assert again.returncode == 2
    assert again.stderr.startswith("error: --run-dir")
    assert len(again.stderr.splitlines()) == 1


@pytest.mark.parametrize(("recipe", "at_least"), [("softmax", 0.9), ("article", 0.92)])
def test_one_word_trains_the_networks_of_textbooks(tmp_path: Path, recipe: str, at_least: float) -> None:
    """An epoch of each gives a version whose graph has no fixed geometry, and no pictures but MNIST's."""
    done = _run(tmp_path, "--recipe", recipe, "--epochs", "1", "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    card = _json(tmp_path / "models" / "mnist-mlp" / "101" / "model.json")
    assert card["metrics"]["test"]["accuracy"] > at_least
    assert (card["training"]["knobs"]["deslant"], card["training"]["knobs"]["seen"]) == (False, 0)


def test_a_gate_ends_the_job_with_code_3_and_no_version(tmp_path: Path) -> None:
    """A model below its accuracy gate is not published: code 3, one line, and no version."""
    refused = _run(tmp_path, *FAST, "--min-accuracy", "1", "--run-dir", str(tmp_path / "run"))
    assert refused.returncode == 3
    assert refused.stderr.startswith("error: not published: test accuracy")
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "published.json").exists()
    assert list(tmp_path.glob("models/*/*")) == []
    seen = visible_text((tmp_path / "run" / "report.html").read_text())
    assert "This run ended early. not published: test accuracy" in seen
    assert "Confusion" in seen


def test_a_version_that_is_worse_than_the_one_that_serves_is_held(tmp_path: Path) -> None:
    """Beside version 2 of the repository: code 0, the last lines say what is worse, and `--promote` overrules."""
    folder = tmp_path / "models" / "mnist-mlp"
    shutil.copytree(MODELS / "2", folder / "2")
    worse = _run(tmp_path, *FAST, "--run-dir", str(tmp_path / "a"))
    assert worse.returncode == 0, worse.stderr
    lines = worse.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("version 101 is held"))
    assert lines[first].endswith("Compared with version 2, which serves:")
    assert lines[-1] == f"{PYTHON} -m service promote 101 --model-dir {folder} makes it serve"
    assert [line.partition(":")[0] for line in lines[first + 1 : first + 3]] == ["  MNIST", "  rendered pictures"]
    assert (folder / "HELD").read_text() == "101\n"
    assert _json(tmp_path / "a" / "published.json")["version"] == 101
    promoted = _run(tmp_path, *FAST, "--promote", "--run-dir", str(tmp_path / "b"))
    assert promoted.returncode == 0, promoted.stderr
    assert (
        promoted.stdout.splitlines()[-1] == f"{PYTHON} -m service promote 2 --model-dir {folder} makes that one serve"
    )
    assert (folder / "HELD").read_text() == "101\n"
    assert (folder / "102").is_dir()


def test_without_a_publication_there_is_all_but_a_version(tmp_path: Path, job: Job) -> None:
    """`--no-publish` passes the gates and writes the report; resumed, the run publishes the same model, signed."""
    run, folder = tmp_path / "run", tmp_path / "models" / "mnist-mlp"
    ended = _run(tmp_path, *FAST, "--no-publish", "--run-dir", str(run))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"--resume {run} publishes this version"
    assert (run / "report.html").exists()
    assert not (run / "published.json").exists()
    assert list(folder.iterdir()) == []
    keys = make_keys(tmp_path)
    resumed = _run(tmp_path, "--resume", str(run), "--sign-key", str(keys.private))
    assert resumed.returncode == 0, resumed.stderr
    assert artefact.read(folder, "101", keys.public.read_bytes()).version == "101"
    assert str(keys.private) not in (folder / "101" / "model.json").read_text()
    same = [
        _json(each / "mnist-mlp" / "101" / "model.json")["sha256"]
        for each in (tmp_path / "models", job.folder / "models")
    ]
    assert same[0] == same[1]
    refused = _run(tmp_path, *FAST, "--no-publish", "--promote")
    assert refused.returncode == 2
    assert refused.stderr == "error: --promote needs a version to promote: leave out --no-publish\n"


def test_a_key_that_cannot_sign_ends_the_job_before_it_trains(tmp_path: Path) -> None:
    """Code 2, one line that names the file, and no run."""
    key = tmp_path / "key.pem"
    refused = _run(tmp_path, *FAST, "--sign-key", str(key), "--run-dir", str(tmp_path / "run"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {key}: expected a private key")
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["PINNED", "CANARY", "HELD"])
def test_words_that_cannot_be_read_end_the_job_before_it_trains(tmp_path: Path, name: str) -> None:
    """It would be unknown what serves: code 1, one line that names the file, and no run."""
    folder = tmp_path / "models" / "mnist-mlp"
    folder.mkdir(parents=True)
    (folder / name).write_text("something else")
    refused = _run(tmp_path, *FAST, "--run-dir", str(tmp_path / "run"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"error: {folder}/{name}: expected ")
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_missing_data_end_the_job_with_code_1(tmp_path: Path) -> None:
    """A data folder without the files ends the job with code 1 and one line that names what was looked for.

    The run leaves no folder.
    """
    refused = _run(tmp_path, "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run"))
    assert refused.returncode == 1
    assert "train-images-idx3-ubyte" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_job_quietly(tmp_path: Path) -> None:
    """Ctrl-C in the middle of training ends with code 130, without a traceback or a version."""
    command = [*JOB, "--models-dir", str(tmp_path / "models"), "--run-dir", str(tmp_path / "run"), "--epochs", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stderr
        assert "digits to train on" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130
        assert "Traceback" not in running.stderr.read()
    assert not (tmp_path / "models" / "mnist-mlp" / "101").exists()


def test_a_run_that_is_cut_off_has_a_report(tmp_path: Path) -> None:
    """Ended by SIGTERM after its first epoch, a run has a report of it, which says why it ended and how to go on."""
    places = ["--models-dir", str(tmp_path / "models"), "--run-dir", str(tmp_path / "run")]
    with subprocess.Popen([*JOB, *places, *FAST, "--epochs", "1000"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        while "epoch   1/1000" not in running.stdout.readline():
            assert running.poll() is None
        running.terminate()
        assert running.wait() == 130
        assert running.stdout.read().splitlines()[-1] == f"report: {tmp_path}/run/report.html"
    seen = visible_text((tmp_path / "run" / "report.html").read_text())
    assert f"This run ended early. stopped, and nothing is lost: go on with --resume {tmp_path}/run" in seen
    assert "validation accuracy" in seen
    assert "The network was not measured on them." in seen
