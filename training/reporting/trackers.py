"""Trackers of runs: TensorBoard's event files and MLflow's SQLite store.

In: a run's hyperparameters, its epochs as they end, its card and its report. Out: files in the run's folder; there is
no server. A resumed run continues its curves, without a point twice.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..optional import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ..config import Config
    from ..loop.fit import Epoch

    Values = Mapping[str, float]


def require_libraries(config: Config) -> None:
    """Raise `UsageError` where the libraries of a requested tracker are not installed."""
    if config.tensorboard:
        require("--tensorboard", "tensorboard", "torch.utils.tensorboard")
    if config.mlflow:
        require("--mlflow", "mlflow", "mlflow", "sqlalchemy", "alembic")


class Tracker(Protocol):
    """Records a run for one tool."""

    def log(self, values: Values, epoch: int) -> None:
        """Record the values of an epoch, if an interrupted run has not recorded them before."""

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Record the scores after the last epoch and the name of the version, and close."""


class Tracking:
    """The trackers of a run; none in a process without a folder, because the main process records the run."""

    def __init__(self, config: Config, folder: Path | None) -> None:
        hyperparameters = {name: _plain(value) for name, value in config.hyperparameters().items()}
        self._trackers: list[Tracker] = []
        if folder and config.tensorboard:
            self._trackers.append(TensorBoard(folder, hyperparameters))
        if folder and config.mlflow:
            self._trackers.append(MLflow(folder, hyperparameters))

    def follow(self, epochs: Iterable[Epoch]) -> Iterator[Epoch]:
        """Record each epoch and pass it on. No later checkpoint exists before, so a kill loses no epoch."""
        for epoch in epochs:
            for tracker in self._trackers:
                tracker.log(_values(epoch), epoch.epoch)
            yield epoch

    def end(self, card: Mapping[str, Any], version: Path) -> None:
        """Record the scores of the card, and the version."""
        scores = {f"{on}/{name}": facts[name] for on, facts in card["metrics"].items() for name in _SCORES}
        for tracker in self._trackers:
            tracker.end(scores, card["training"]["epochs"][-1]["epoch"], f"{version.parent.name} {version.name}")


_SCORES = ("accuracy", "nll", "ece")  # as `Metrics` names them; they include the temperature


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs` shows the runs together."""

    def __init__(self, folder: Path, hyperparameters: Mapping[str, str | float]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an optional library

        self._resumed = any(folder.glob("events.out.tfevents.*"))
        self._hyperparameters = dict(hyperparameters)
        self._start = partial(SummaryWriter, str(folder))
        self._writer: SummaryWriter | None = None

    def log(self, values: Values, epoch: int) -> None:
        """Record an epoch; the first one makes TensorBoard drop what an older file has from that epoch on."""
        if not self._writer:
            self._writer = self._start(purge_step=epoch if self._resumed else None)
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()  # without it, a kill loses two minutes of points

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Record scores with the hyperparameters, where TensorBoard compares runs, and the version as a text."""
        assert self._writer, "a run has an epoch"
        self._writer.add_text("version", version, epoch)
        self._writer.add_hparams(self._hyperparameters, dict(scores), run_name=".", global_step=epoch)
        self._writer.close()


class MLflow:
    """One MLflow run in mlflow.db in the run's folder. It stays RUNNING through all interruptions."""

    def __init__(self, folder: Path, hyperparameters: Mapping[str, str | float]) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415  # an optional library
        from mlflow.entities import Metric, Param  # noqa: PLC0415

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # they print a line for each table
        folder = folder.resolve()
        self._folder, self._metric = folder, Metric
        self._client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        name = str(hyperparameters["name"])
        there = self._client.get_experiment_by_name(name)
        artifacts = (folder / "mlflow").as_uri()
        experiment = there.experiment_id if there else self._client.create_experiment(name, artifacts)
        runs = self._client.search_runs([experiment])
        run = runs[0] if runs else self._client.create_run(experiment, run_name=folder.name)
        self._run = run.info.run_id
        self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in hyperparameters.items()])
        history = [self._client.get_metric_history(self._run, key) for key in run.data.metrics]
        self._logged = {(metric.key, metric.step) for metrics in history for metric in metrics}

    def log(self, values: Values, epoch: int) -> None:
        """Record the values of an epoch that are not there yet."""
        now = round(time.time() * 1000)
        new = {name: value for name, value in values.items() if (name, epoch) not in self._logged}
        self._client.log_batch(self._run, [self._metric(name, value, now, epoch) for name, value in new.items()])

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Record the scores, the version as a tag and the report as an artifact; the run is FINISHED."""
        self.log(scores, epoch)
        self._client.set_tag(self._run, "version", version)
        self._client.log_artifact(self._run, str(self._folder / "report.html"))
        self._client.set_terminated(self._run)


def _values(epoch: Epoch) -> dict[str, float]:
    """Return the curves at one epoch, named as in metrics.jsonl."""
    curves = {name: getattr(epoch, name) for name in ("loss", "validation_nll", "validation_accuracy", "learning_rate")}
    norms = {f"gradient_norm/layer_{layer}": norm for layer, norm in enumerate(epoch.gradient_norms, start=1)}
    return {**curves, **norms}


def _plain(value: object) -> str | float:
    """Return a hyperparameter in a form that both tools accept."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str | float | int) else str(value)
