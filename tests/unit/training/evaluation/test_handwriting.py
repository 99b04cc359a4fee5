"""`python -m training evaluate`: the published version on MNIST, on rendered pictures, on folders and on no digits."""

from __future__ import annotations

import csv
import gzip
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.support.pictures import SEVEN_FILE, png
from tests.support.service import MODELS, ROOT, VERSION
from tests.support.training import run_command
from tests.support.versions import publish_with_card
from training.errors import DataError
from training.synthesis import ink, not_digits

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.mnist import Dataset

FOLDER = str(MODELS / VERSION)


def table(text: str) -> dict[str, list[float]]:
    """The numbers of each row: count, and where they are digits: right %, NLL, ECE %; then warned % and by warning."""
    rows = text.partition("\n\n")[0].splitlines()[1:]  # the table of sets follows
    return {row[:34].strip(): [float(word) for word in row[34:].split()] for row in rows}


@pytest.fixture(scope="module")
def rows(dataset: Dataset) -> dict[str, list[float]]:
    assert not dataset.warnings
    words = [sys.executable, "-m", "training", "evaluate", FOLDER, "--rendered", "40"]
    return table(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def test_digits_are_read_right_and_rarely_warned_of(rows: dict[str, list[float]]) -> None:
    """MNIST in every form, and every family of pens and papers, the one held out too: right, and sure of it."""
    count, right, _, calibration, warned = rows["MNIST test"][:5]
    assert (count, right > 99, calibration < 0.5, warned < 1.5) == (10_000, True, True, True)
    assert rows["MNIST test, inverted"][1] > 99
    for name in [name for name in rows if name.startswith(tuple(ink.FAMILIES))]:
        assert rows[name][1] >= 85, name
        assert rows[name][4] <= 15, name


@pytest.mark.parametrize("kind", not_digits.KINDS)
def test_most_of_what_is_no_digit_is_warned_of(rows: dict[str, list[float]], kind: str) -> None:
    """Letters in fonts that nobody trained on, scribbles, things, textures, noise: a warning nearly always."""
    assert rows[f"no digit: {kind}"][1] >= 75


def test_a_folder_is_read_as_its_labels_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures of a folder count as right where labels.csv says so."""
    rng = np.random.default_rng(3)
    names = [(f"{i}.bin", i % 10) for i in range(10)]
    for name, label in names:
        (tmp_path / name).write_bytes(ink.render("brush", None, label, rng))
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label"), *names])
    run_command("evaluate", FOLDER, "--ink", str(tmp_path))
    count, right = table(capsys.readouterr().out)[tmp_path.name][:2]
    assert count == 10
    assert right >= 80


def test_what_is_no_digit_may_be_a_folder_or_an_idx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both hold the same three pictures and get the same warnings."""
    images = np.stack(
        [np.zeros((28, 28), np.uint8), np.full((28, 28), 255, np.uint8), np.eye(28, dtype=np.uint8) * 255]
    )
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images):
        (tmp_path / "folder" / f"{number}.png").write_bytes(png(image))
    idx = tmp_path / "images.gz"
    idx.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 3, 28, 28) + images.tobytes()))
    run_command("evaluate", FOLDER, "--none", str(tmp_path / "folder"), "--none", str(idx))
    rows = table(capsys.readouterr().out)
    assert rows["no digit: folder"] == rows["no digit: images.gz"]
    assert rows["no digit: folder"][2] == pytest.approx(200 / 3, abs=0.1)  # two of three are blank


def test_sets_of_digits_are_measured_where_the_card_has_quantiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a quantile of 0 each set has the answered digit alone, with an infinite one all ten, as without ink."""
    quantiles = {"levels": [0.99, 0.995], "quantiles": [0, None]}
    version = publish_with_card(tmp_path, 3, conformal=quantiles)
    (tmp_path / "ink").mkdir()
    for number, pixels in enumerate((np.zeros((40, 40), np.uint8), np.asarray(Image.open(SEVEN_FILE)))):
        (tmp_path / "ink" / f"{number}.png").write_bytes(png(pixels))
    (tmp_path / "ink" / "labels.csv").write_text("file,label\n0.png,3\n1.png,7\n1.png,8\n")
    run_command("evaluate", str(version), "--ink", str(tmp_path / "ink"))
    warnings, _, sets = capsys.readouterr().out.partition("\n\n")
    right = table(warnings)["MNIST test"][1]
    rows = table(sets.partition("\n")[2])  # the first of two lines of headings has the coverages
    assert rows["MNIST test"] == [10_000, right, 1, 100, 100, 10, 0, 100, 10, 0]
    assert rows["ink"] == [3, 66.67, 4, 66.67, 100, 10, 0, 100, 10, 0]
    assert list(rows) == ["MNIST test", "ink"]


@pytest.mark.parametrize("labels", ["file,label\n1.png,x\n", "name,digit\n1.png,1\n"])
def test_a_labels_file_that_says_no_digit_is_refused(tmp_path: Path, labels: str) -> None:
    """A label that is no digit, or other columns: one sentence with the row."""
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(DataError, match="file and label"):
        run_command("evaluate", FOLDER, "--ink", str(tmp_path))


def test_a_missing_version_ends_with_code_1(tmp_path: Path) -> None:
    """A folder without a model ends the command with code 1 and one line that names the file."""
    words = [sys.executable, "-m", "training", "evaluate", str(tmp_path)]
    refused = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: ")
    assert "model.onnx" in refused.stderr
