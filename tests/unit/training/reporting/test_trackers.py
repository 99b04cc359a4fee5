"""`--tensorboard` and `--mlflow`: what a run leaves for the tools, read back by the tools themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.support.training import RARELY

if TYPE_CHECKING:
    from training.data.mnist import Dataset

JOB = (sys.executable, "-m", "training")
KNOBS = "--hidden 16,8 --epochs 3 --batch-size 1024 --seen 140 --elastic 0 --rotation 0 --tensorboard --mlflow".split()
CURVES = set("loss validation_nll validation_accuracy learning_rate gradient_norm/layer_1".split())
CURVES |= {"gradient_norm/layer_2", "gradient_norm/layer_3"}


class Left(NamedTuple):
    """What a run has left: its folder, its epochs, and the card of its version."""

    folder: Path
    epochs: list[dict[str, Any]]
    card: dict[str, Any]

    def scores(self) -> dict[str, float]:
        """What the card says of the digits, as the tools name it."""
        metrics = self.card["metrics"]
        return {f"{on}/{name}": metrics[on][name] for on in metrics for name in ("accuracy", "nll", "ece")}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Left:
    """A run that was killed in its second epoch, before any checkpoint, and resumed: it ran the first one twice."""
    assert not dataset.warnings
    folder = tmp_path_factory.mktemp("tracked")
    run, models = folder / "run", f"--models-dir={folder}/models"
    command = [*JOB, *KNOBS, f"--run-dir={run}", models, f"--checkpoint-seconds={RARELY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while "epoch   1" not in process.stdout.readline():
            assert process.poll() is None
        process.kill()
    subprocess.run([*JOB, f"--resume={run}", models], check=True, capture_output=True)
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    version = Path(json.loads((run / "published.json").read_text())["path"])
    return Left(run, epochs, json.loads((version / "model.json").read_text()))


def test_tensorboard_shows_each_point_of_a_resumed_run_once(left: Left) -> None:
    """Loss, validation, rate and each layer's gradient norm at every epoch, once; scores and version at the end."""
    events = EventAccumulator(str(left.folder))
    events.Reload()
    scores = left.scores()
    assert set(events.Tags()["scalars"]) == CURVES | set(scores)
    for name in ("loss", "validation_nll", "validation_accuracy", "learning_rate"):
        points = [(point.step, point.value) for point in events.Scalars(name)]
        assert points == [(epoch["epoch"], pytest.approx(epoch[name])) for epoch in left.epochs]
    norms = [point.value for point in events.Scalars("gradient_norm/layer_2")]
    assert norms == pytest.approx([epoch["gradient_norms"][1] for epoch in left.epochs])
    assert {name: events.Scalars(name)[0].value for name in scores} == pytest.approx(scores)
    assert [len(events.Scalars(name)) for name in scores] == [1] * len(scores)
    (version,) = events.Tensors("version/text_summary")
    assert version.tensor_proto.string_val == [b"mnist-mlp 101"]
    assert "_hparams_/session_start_info" in events.summary_metadata


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow asks SQLAlchemy in words that 2.1 deprecates
def test_mlflow_has_each_point_of_a_resumed_run_once(left: Left) -> None:
    """One finished run with the knobs, each curve's points once, the scores, the version and the report."""
    client = MlflowClient(f"sqlite:///{left.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("mnist-mlp")
    assert experiment
    (run,) = client.search_runs([experiment.experiment_id])
    scores = left.scores()
    assert run.info.status == "FINISHED"
    assert set(run.data.metrics) == CURVES | set(scores)
    for name in ("loss", "validation_nll", "validation_accuracy", "learning_rate"):
        points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        assert points == [(epoch["epoch"], epoch[name]) for epoch in left.epochs]
    assert {name: run.data.metrics[name] for name in scores} == scores
    assert set(run.data.params) == set(left.card["training"]["knobs"])
    assert run.data.params["hidden"] == "16,8"
    assert run.data.tags["version"] == "mnist-mlp 101"
    report = Path(client.download_artifacts(run.info.run_id, "report.html"))
    assert report.read_bytes() == (left.folder / "report.html").read_bytes()


def test_the_report_of_a_resumed_run_is_whole(left: Left) -> None:
    """Its curves begin with the first epoch, which ended before the run was killed, and no line says that it ended."""
    page = (left.folder / "report.html").read_text()
    first, last = (100 * (1 - epoch["validation_accuracy"]) for epoch in (left.epochs[0], left.epochs[-1]))
    assert f'aria-label="Validation error, %: validation from {first:.3g} to {last:.3g}"' in page
    assert "This run ended early" not in page


@pytest.mark.parametrize(("flag", "library"), [("tensorboard", "tensorboard"), ("mlflow", "alembic")])
def test_a_library_that_is_missing_is_named_at_the_start(tmp_path: Path, flag: str, library: str) -> None:
    """Where the extra is not installed: code 2 and one line that names it, before the run has a folder."""
    program = (
        f"import sys; sys.modules['{library}'] = None\nfrom training.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    words = [f"--{flag}", f"--run-dir={tmp_path}/run"]
    refused = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"error: --{flag} needs a library that is not here: pip install '.[{flag}]'")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
