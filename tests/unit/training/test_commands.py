"""Every command line of training, the older forms too, runs as far as its help or a cheap result."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import service
import training
from tests.support.service import MODELS, ROOT, VERSION
from training import sweep, train
from training.__main__ import COMMANDS, main, parse
from training.export import model_readme

if TYPE_CHECKING:
    from pathlib import Path


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` names the command and ends with code 0."""
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m training {command}")


def test_the_help_lists_the_commands() -> None:
    """`python -m training --help` has a line for each command, and the flags of `train`."""
    shown = _run("training", "--help")
    assert shown.returncode == 0
    assert "--learning-rate" in shown.stdout
    for name, module in COMMANDS.items():
        assert f"{name} {module.HELP}" in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("words", "module"),
    [
        ("", train),
        ("--recipe good", train),
        ("train --recipe good --seed 3", train),
        ("--models-dir /models --epochs 1", train),
        ("sweep --search learning_rate,hidden --trials 20 --recipe quick --epochs 5", sweep),
        ("card models/mnist-mlp/1", model_readme),
    ],
)
def test_without_a_command_it_trains(words: str, module: object) -> None:
    """Flags alone are those of `train`, as in `python -m training --recipe good`."""
    assert parse(words.split())[0] is module


def test_a_sweep_passes_other_flags_to_its_trainings() -> None:
    """What is not a flag of the sweep is one of the training jobs."""
    _, given = parse("sweep --recipe quick --trials 3 --epochs 5".split())
    assert given["flags"] == "--recipe quick --epochs 5".split()


@pytest.mark.parametrize("words", ["--wrong 1", "train --wrong 1", "compare --wrong 1 runs", "card", "evaluate"])
def test_words_that_cannot_be_read_end_with_code_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown flag or a missing word ends with code 2 and a line that says so, before a short usage."""
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    first, *usage = capsys.readouterr().err.splitlines()
    assert ": error: " in first
    assert usage[0].startswith("usage: python -m training ")
    assert len(usage) <= 4


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--learnig-rate 3", "--learning-rate"),
        ("train --learning 3", "--learning-rate"),
        ("--recipe god", "good"),
        ("tran", "train"),
        ("compare --htm page.html", "--html"),
        ("sweep --trails 3", "--trials"),
        ("sweep --trials 3 --learnig-rate=3", "--learning-rate"),
    ],
)
def test_the_nearest_word_that_is_known_is_named(words: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of flags, commands and values; a sweep knows the flags of its trainings too."""
    with pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code == 2
    assert capsys.readouterr().err.splitlines()[0].endswith(f"; did you mean {meant}?")


def test_the_version_is_the_projects() -> None:
    """`--version` prints the version that the service has too."""
    assert training.__version__ == service.__version__
    assert _run("training", "--version").stdout == f"mnist-mlp {service.__version__}\n"


@pytest.mark.parametrize("words", [("training.readme",), ("training", "card")])
def test_both_forms_write_the_card(words: tuple[str, ...], tmp_path: Path) -> None:
    """`python -m training card` and `python -m training.readme` write a version's README.md from its model.json."""
    (tmp_path / "model.json").write_bytes((MODELS / VERSION / "model.json").read_bytes())
    assert _run(*words, str(tmp_path)).returncode == 0
    assert (tmp_path / "README.md").read_text() == (MODELS / VERSION / "README.md").read_text()


def test_the_older_form_of_render_has_help() -> None:
    """`python -m training.seen` is `python -m training render`."""
    assert _run("training.seen", "--help").stdout.startswith("usage: python -m training render")
