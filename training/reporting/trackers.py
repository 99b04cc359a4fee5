"""A run in the tools that people watch runs with: TensorBoard's event files, MLflow's SQLite store.

In: a run's knobs, its epochs as they end, its card and its report. Out: files in the run's folder; there is no server.
A run that goes on after it was cut off is kept on where it was, no point twice. It knows nothing of training.
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
    """Raise `UsageError` where a tracker is asked for whose libraries are not installed."""
    if config.tensorboard:
        require("--tensorboard", "tensorboard", "torch.utils.tensorboard")
    if config.mlflow:
        require("--mlflow", "mlflow", "mlflow", "sqlalchemy", "alembic")


class Tracker(Protocol):
    """How one tool keeps a run."""

    def note(self, values: Values, epoch: int) -> None:
        """Keep the values of an epoch; those that a run noted before it was cut off are not there twice."""

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Keep the scores after the last epoch and the name of the version, and close."""


class Tracking:
    """The trackers that a run has asked for; none in a process that has no folder, since another one keeps the run."""

    def __init__(self, config: Config, folder: Path | None) -> None:
        knobs = {name: _plain(value) for name, value in config.knobs().items()}
        self._trackers: list[Tracker] = []
        if folder and config.tensorboard:
            self._trackers.append(TensorBoard(folder, knobs))
        if folder and config.mlflow:
            self._trackers.append(MLflow(folder, knobs))

    def follow(self, epochs: Iterable[Epoch]) -> Iterator[Epoch]:
        """Hand on each epoch, noted: no checkpoint lies after it before that, so that a kill leaves none out."""
        for epoch in epochs:
            for tracker in self._trackers:
                tracker.note(_values(epoch), epoch.epoch)
            yield epoch

    def end(self, card: Mapping[str, Any], version: Path) -> None:
        """Keep what the card says of the digits, and which version came of the run."""
        scores = {f"{on}/{name}": facts[name] for on, facts in card["metrics"].items() for name in _SCORES}
        for tracker in self._trackers:
            tracker.end(scores, card["training"]["epochs"][-1]["epoch"], f"{version.parent.name} {version.name}")


_SCORES = ("accuracy", "nll", "ece")  # as `evaluate` names them; after the epochs, so with the temperature


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir runs` shows the runs together."""

    def __init__(self, folder: Path, knobs: Mapping[str, str | float]) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # an extra

        self._goes_on = any(folder.glob("events.out.tfevents.*"))
        self._knobs = dict(knobs)
        self._start = partial(SummaryWriter, str(folder))
        self._writer: SummaryWriter | None = None

    def note(self, values: Values, epoch: int) -> None:
        """Keep the values of an epoch; the first tells TensorBoard to forget what an older file has from it on."""
        if not self._writer:
            self._writer = self._start(purge_step=epoch if self._goes_on else None)
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()  # else a kill costs two minutes of points

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Keep scores beside the knobs, where TensorBoard compares runs, and the version as a text."""
        assert self._writer, "a run has an epoch"
        self._writer.add_text("version", version, epoch)
        self._writer.add_hparams(self._knobs, dict(scores), run_name=".", global_step=epoch)
        self._writer.close()


class MLflow:
    """One MLflow run in mlflow.db in the run's folder. It is RUNNING until its end, however often it was cut off."""

    def __init__(self, folder: Path, knobs: Mapping[str, str | float]) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415  # an extra
        from mlflow.entities import Metric, Param  # noqa: PLC0415

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # each table it makes is a line
        folder = folder.resolve()
        self._folder, self._metric = folder, Metric
        self._client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        name = str(knobs["name"])
        there = self._client.get_experiment_by_name(name)
        artifacts = (folder / "mlflow").as_uri()
        experiment = there.experiment_id if there else self._client.create_experiment(name, artifacts)
        runs = self._client.search_runs([experiment])
        run = runs[0] if runs else self._client.create_run(experiment, run_name=folder.name)
        self._run = run.info.run_id
        self._client.log_batch(self._run, params=[Param(key, str(value)) for key, value in knobs.items()])
        history = [self._client.get_metric_history(self._run, key) for key in run.data.metrics]
        self._noted = {(metric.key, metric.step) for metrics in history for metric in metrics}

    def note(self, values: Values, epoch: int) -> None:
        """Keep the values of an epoch that are not there yet."""
        now = round(time.time() * 1000)
        new = {name: value for name, value in values.items() if (name, epoch) not in self._noted}
        self._client.log_batch(self._run, [self._metric(name, value, now, epoch) for name, value in new.items()])

    def end(self, scores: Values, epoch: int, version: str) -> None:
        """Keep the scores, the version as a tag and the report as an artifact; the run is FINISHED."""
        self.note(scores, epoch)
        self._client.set_tag(self._run, "version", version)
        self._client.log_artifact(self._run, str(self._folder / "report.html"))
        self._client.set_terminated(self._run)


def _values(epoch: Epoch) -> dict[str, float]:
    """The curves of a run at one epoch, named as in metrics.jsonl."""
    curves = {name: getattr(epoch, name) for name in ("loss", "validation_nll", "validation_accuracy", "learning_rate")}
    norms = {f"gradient_norm/layer_{layer}": norm for layer, norm in enumerate(epoch.gradient_norms, start=1)}
    return {**curves, **norms}


def _plain(value: object) -> str | float:
    """A knob as both tools take it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str | float | int) else str(value)
