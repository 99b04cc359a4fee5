"""A run's folder: new, or that of the same run cut off, of one process at a time, and with room."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tests.support.training import SMALL
from training.errors import Busy, DataError, UsageError
from training.reporting import run
from training.reporting.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from training.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(SMALL, run_dir=tmp_path / "run", models_dir=tmp_path / "models")


@pytest.fixture
def cut_off(config: Config) -> Config:
    """Of a run that has begun and is no more."""
    folder = config.run_dir
    assert folder
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.hyperparameters(), indent=2) + "\n")
    return config


def _run(config: Config) -> tuple[Run, str]:
    """A run, and what it said when it was made."""
    console = Console(file=None, record=True, quiet=False, width=200)
    return Run(config, console), console.export_text()


def test_a_run_that_was_cut_off_goes_on_in_its_folder(cut_off: Config) -> None:
    """The same knobs and --run-dir again: the run goes on, and says so; its identifier stays."""
    first, said = _run(cut_off)
    assert said == f"resuming {cut_off.run_dir}\n"
    assert first.identify() == first.identify()


def test_a_folder_of_other_knobs_is_refused(cut_off: Config) -> None:
    """Other knobs than those of the run that was cut off: it is neither gone on with nor touched."""
    with pytest.raises(UsageError, match="is not empty"):
        _run(replace(cut_off, seed=1))


def test_what_was_cut_off_before_it_began_is_no_run(config: Config) -> None:
    """A folder that holds nothing but an unfinished file is as good as empty."""
    folder = config.run_dir
    assert folder
    folder.mkdir()
    (folder / ".config.json.unfinished").touch()
    _, said = _run(config)
    assert said == ""


def test_after_a_restart_the_newest_run_goes_on(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --run-dir a process that torchrun has started anew finds the run that it belongs to."""
    monkeypatch.chdir(tmp_path)
    config = replace(config, run_dir=None)
    first, _ = _run(config)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(Busy):  # this process still has it
        _run(config)
    assert _run(replace(config, seed=1))[0].folder != first.folder


def test_two_processes_do_not_train_in_one_folder(config: Config) -> None:
    """Whoever comes second is told, and touches nothing."""
    _run(config)
    with pytest.raises(Busy, match="another process trains in this folder"):
        _run(config)


def test_a_disk_without_room_is_told_before_the_training(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few free bytes, here because a run is said to need more than any disk has: one line names both numbers."""
    monkeypatch.setattr(run, "FREE_BYTES", 2**62)
    with pytest.raises(DataError, match=r"bytes are free on the disk, and a run needs 4,611,686,018,427,387,904"):
        _run(config)


def test_a_place_that_cannot_be_made_is_told_before_the_training(config: Config, tmp_path: Path) -> None:
    """Where the versions cannot be, the run ends before it has begun."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        _run(replace(config, models_dir=tmp_path / "file"))
