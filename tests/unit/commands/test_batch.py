"""`python -m service batch`, as far as its command line goes; tests/system/test_batch.py runs batches."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import batch as support
from tests.support.pictures import SEVEN
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("library", ["pyarrow", "fsspec"])
def test_without_the_extra_one_line_names_it(tmp_path: Path, library: str) -> None:
    main = "from service.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    program = f"import sys; sys.modules['{library}'] = None; {main}"
    words = ["batch", str(tmp_path), "--out", str(tmp_path / "out")]
    run = subprocess.run([sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, "batch: it needs the extra `batch`: pip install '.[batch]'\n")
    assert not (tmp_path / "out").exists()


def test_the_other_commands_import_nothing_of_the_extra() -> None:
    program = (
        "import sys, service.commands.cli, service.app\n"
        "print(sorted({'pyarrow', 'fsspec', 'service.batch'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{0}/none", "--out", "{0}/out"], "{0}/none: there is no such file or folder"),
        (["{0}/empty", "--out", "{0}/out"], "there is no picture in {0}/empty"),
        (["{0}/in", "--out", "{0}/out", "--merge", "{0}/none/all.parquet"], "--merge: expected a file in a folder"),
        (["{0}/in", "--out", "{0}/out", "--merge", "{0}/out/all.parquet"], "--merge: expected a file"),
        (["{0}/in", "--out", "{0}/out", "--merge", "{0}/pipe"], "--merge: expected a file in a folder"),
        (["{0}/in", "--out", "{0}/out", "--max-pixels", "1"], "MNIST_MAX_PIXELS: Input should be greater than"),
        (["s3x://bucket/", "--out", "{0}/out"], "s3x://bucket/: expected a path, or a URL that begins with s3://"),
        (["http://127.0.0.1:9/a.png", "--out", "{0}/out"], "http://127.0.0.1:9/a.png: "),
    ],
)
def test_bad_words_end_with_one_line(tmp_path: Path, words: list[str], sentence: str) -> None:
    """Exit code 2, or 4 for a server that does not answer."""
    support.write(tmp_path / "in", {"a.png": SEVEN})
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    run = support.batch(*(word.format(tmp_path) for word in words))
    assert run.returncode == (4 if words[0].startswith("http") else 2)
    assert sentence.format(tmp_path) in run.stderr
    assert run.stderr.count("\n") == 1
