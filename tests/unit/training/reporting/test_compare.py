"""`python -m training compare`: the runs' facts side by side."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.training import run_command, visible_text
from training.config import Config
from training.errors import UsageError
from training.loop.fit import Epoch
from training.reporting import compare

if TYPE_CHECKING:
    from pathlib import Path


def _run(folder: Path, config: Config, error: float) -> Path:
    """The folder of a run of three epochs that has published nothing."""
    folder.mkdir()
    epochs = [Epoch(n, 0.5 / n, 0.3 / n, 1 - error / n, 2.0 * n, 0.001, [0.3, 0.2, 0.1]) for n in (1, 2, 3)]
    (folder / "config.json").write_text(json.dumps(config.hyperparameters()))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(dataclasses.asdict(epoch)) + "\n" for epoch in epochs))
    return folder


def test_the_knobs_that_differ_stand_beside_what_came_of_them(tmp_path: Path) -> None:
    """Two runs that differ in activation and seed: these two knobs and no others, and each run's last epoch."""
    one = _run(tmp_path / "one", Config(), 0.3)
    other = _run(tmp_path / "other", Config(activation="tanh", seed=3), 0.6)
    assert compare.tabulate([compare.read(one), compare.read(other)]) == [
        ["run", "activation", "seed", "epochs", "seconds", "validation NLL", "validation %", "test %"],
        ["one", "relu", "0", "3", "6.0", "0.1000", "90.00", ""],
        ["other", "tanh", "3", "3", "6.0", "0.1000", "80.00", ""],
    ]


def test_curves_are_written_to_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the table, and writes all curves with the runs' names to one file."""
    runs = [str(_run(tmp_path / name, Config(), 0.3)) for name in ("a-run", "b-run")]
    run_command("compare", *runs, "--html", str(tmp_path / "compare.html"))
    page = visible_text((tmp_path / "compare.html").read_text())
    assert "a-run" in capsys.readouterr().out
    assert all(
        words in page for words in ("a-run", "b-run", "Validation error, %", "Gradient norm, first layer over last")
    )


def test_a_run_of_an_earlier_release_had_no_teacher(tmp_path: Path) -> None:
    """A hyperparameter that its file does not name has the default there, and is compared."""
    earlier = _run(tmp_path / "earlier", Config(components=0), 0.3)
    values = json.loads((earlier / "config.json").read_text())
    del values["teacher_epochs"]
    (earlier / "config.json").write_text(json.dumps(values))
    taught = _run(tmp_path / "taught", Config(components=0, teacher_epochs=3), 0.3)
    heads, one, other = compare.tabulate([compare.read(earlier), compare.read(taught)])
    assert [row[:2] for row in (heads, one, other)] == [["run", "teacher_epochs"], ["earlier", "0"], ["taught", "3"]]


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    """A folder without a run, or of a run that has no epoch yet: one sentence that names it."""
    with pytest.raises(UsageError, match=str(tmp_path)):
        run_command("compare", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no epoch yet"):
        run_command("compare", str(tmp_path))


def test_runs_without_an_epoch_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The others are compared, and a line names those that have not ended an epoch, on the screen and on the page."""
    one = _run(tmp_path / "one", Config(), 0.3)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.json").write_text(json.dumps(Config().hyperparameters()))
    run_command("compare", str(begun), str(one), "--html", str(tmp_path / "compare.html"))
    assert capsys.readouterr().out.splitlines()[-1] == "left out, since no epoch has ended: begun"
    seen = visible_text((tmp_path / "compare.html").read_text())
    assert "left out, since no epoch has ended: begun" in seen


def test_each_loss_has_axes_of_its_own(tmp_path: Path) -> None:
    """Cross-entropy, the Brier score and the divergence from a teacher are in charts of their own; a run has one colour
    in all of them."""
    folders = [_run(tmp_path / loss, Config(loss=loss), 0.3) for loss in ("cross_entropy", "mse")]
    folders.append(_run(tmp_path / "taught", Config(components=0, teacher_epochs=3), 0.3))
    page = compare.render_page([compare.read(folder) for folder in folders])
    charts = {
        visible_text(f"<body>{figure.split('</figcaption>')[0]}"): set(re.findall(r"var\(--(c\d)\)", figure))
        for figure in re.findall(r"<figure>(.*?)</figure>", page, re.DOTALL)
    }
    assert charts["Training loss: cross-entropy"] == {"c0"}
    assert charts["Training loss: Brier score"] == {"c1"}
    assert charts["Training loss: divergence from the teacher"] == {"c2"}
    assert charts["Validation error, %"] == {"c0", "c1", "c2"}


def test_epochs_that_were_planned_are_told_from_those_that_ended(tmp_path: Path) -> None:
    """Where runs differ in --epochs, that column is named apart from the epochs that have ended."""
    runs = [compare.read(_run(tmp_path / str(n), Config(epochs=n), 0.3)) for n in (3, 5)]
    head, one, other = compare.tabulate(runs)
    assert head[:3] == ["run", "planned epochs", "epochs"]
    assert (one[1:3], other[1:3]) == (["3", "3"], ["5", "3"])
