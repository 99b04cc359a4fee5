"""The command line, through `service.commands.cli` and as programs: each command, in its newer and older form."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from service import __version__
from service import settings as settings_module
from service.commands import serve
from service.commands.cli import COMMANDS, main, run_alone
from service.versions import choice
from tests.support.service import MODELS, ROOT, publish

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def ended(words: list[str]) -> int:
    """The exit code of a command that ends by itself."""
    with pytest.raises(SystemExit) as end:
        main(words)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("words", [["--port", "8123"], ["serve", "--port", "8123"]])
def test_it_serves_with_the_command_and_without_one(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flags are the settings."""
    ports = []

    def run(options: argparse.Namespace) -> int:
        ports.append(settings_module.of_flags(options).port)
        return 0

    monkeypatch.setattr(serve, "run", run)
    assert (main(words), ports) == (0, [8123])


def test_help_lists_all_commands_and_all_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """With the words of the program itself."""
    assert ended(["--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: python -m service [-h] [--version] COMMAND ...\n")
    assert all(f"\n    {name} " in told for name in COMMANDS)
    flags = [f"\n  --{name.replace('_', '-')} " for name in settings_module.Settings.model_fields]
    assert all(flag in told for flag in flags)
    assert "lambda" not in told


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It begins with how the command is written."""
    assert ended([name, "--help"]) == 0
    command = "[serve]" if name == "serve" else name
    assert capsys.readouterr().out.startswith(f"usage: python -m service {command} ")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line for people."""
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == f"mnist-mlp {__version__}\n"


@pytest.mark.parametrize("words", [["--colour", "red"], ["serve", "--colour", "red"], ["canary"], ["keys"], ["paint"]])
def test_words_that_no_command_knows_are_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong comes first, and how it is used last, in few lines."""
    assert ended(words) == 2
    first, *usage = capsys.readouterr().err.splitlines()
    assert re.match(r"python -m service( \S+)?: error: ", first)
    assert usage[0].startswith("usage: python -m service ")
    assert len(usage) <= 3


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--max-wiat-seconds 3", "--max-wait-seconds"),
        ("--prot=8001", "--port"),
        ("stauts", "status"),
        ("status --model-dri x", "--model-dir"),
        ("canary --pormote", "--promote"),
        ("keys nwe", "new"),
        ("keys new --nmae shop", "--name"),
    ],
)
def test_the_nearest_word_that_is_known_is_named(words: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the flags of this command, or of the commands; before anything that is missing."""
    assert ended(words.split()) == 2
    assert capsys.readouterr().err.splitlines()[0].endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize("words", [["canary", "1"], ["canary", "--off"], ["rollback", "1"], ["rollback", "--undo"]])
def test_both_forms_do_the_same(words: list[str], models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m service.canary 1` is the older form of `python -m service canary 1`."""
    name, *rest = words
    flags = ["--model-dir", str(models)]
    assert main([*words, *flags]) == (newer := run_alone(name, [*rest, *flags]))
    told = capsys.readouterr()
    assert newer == (3 if rest == ["--off"] else 0)
    for text in (told.out, told.err):
        assert text[: len(text) // 2] == text[len(text) // 2 :]


@pytest.mark.parametrize("module", ["service", "service.canary", "service.rollback", "service.keys", "service.client"])
def test_each_form_is_a_program(module: str) -> None:
    """It says how it is used under the name that it was started by."""
    command = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"usage: python -m {module} [-h] ")


def status(models: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The lines of the command after the first, which lists the versions."""
    assert main(["status", "--model-dir", str(models), *words]) == 0
    versions, *lines = capsys.readouterr().out.splitlines()
    assert versions.startswith(f"{models} has version")
    return lines


def test_the_status_names_what_serves_and_the_canary(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the pin file, the setting and the canary file; a version without its files is not the latest."""
    publish(models, 2)
    for name in ("3", "4"):
        shutil.copytree(MODELS / "1", models / name)
    (models / "4" / "model.onnx").unlink()
    latest = "Version 3 serves: it is the latest (MNIST_MODEL_VERSION=latest)."
    assert status(models, capsys) == [latest, "There is no canary."]
    settings = settings_module.load(["--model-dir", str(models)])
    choice.write_canary(settings, 3, 10)
    share = "Version 3 is the canary and answers 10 % of the requests."
    assert status(models, capsys) == [latest.replace("3", "2"), share]
    choice.write_canary(settings, 3, 0)
    assert status(models, capsys)[1] == "Version 3 is the canary and answers no request: it is compared."
    choice.write_canary(settings, 3, None)
    assert status(models, capsys)[1] == "Version 3 is held back from latest."
    assert status(models, capsys, "--model-version", "1")[0] == "Version 1 serves: MNIST_MODEL_VERSION=1."
    choice.pin(settings, "7")
    assert status(models, capsys)[0] == f"Version 7 is chosen, but is not there: {models}/PINNED names it."


def test_the_status_lists_what_is_there(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The highest first."""
    publish(models, 2)
    (models / "2" / "model.onnx").unlink()
    assert main(["status", "--model-dir", str(models)]) == 0
    assert capsys.readouterr().out.startswith(f"{models} has versions 2 (files are missing), 1.\n")
    assert main(["status", "--model-dir", str(models / "1")]) == 3


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of the command, and its one line."""
    code = main(["check", *words])
    told = capsys.readouterr()
    assert (told.out + told.err).count("\n") == 1
    assert (told.out == "") == (code != 0)
    return code, told.out + told.err


def test_a_check_says_what_would_serve(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And which version is refused, as a start would."""
    assert check(capsys, "--model-dir", str(models)) == (0, "check: version 1 would serve\n")
    publish(models, 2)
    (models / "2" / "golden.npz").write_bytes(b"")
    code, line = check(capsys, "--model-dir", str(models))
    assert (code, line[:77]) == (0, f"check: version 1 would serve; version 2 is refused: {models}/2/golden.npz"[:77])


def test_a_check_says_in_one_line_what_is_wrong(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the exit code of a start: 2 a setting, 3 the model, 4 the system."""
    flags = ["--model-dir", str(models)]
    assert check(capsys, *flags, "--port", "x")[0] == 2
    assert check(capsys, *flags, "--api-keys-file", str(tmp_path / "none"))[0] == 2
    assert check(capsys, *flags, "--tls-cert-file", str(tmp_path / "none"))[0] == 2
    nowhere = ["--model-dir", str(tmp_path / "nowhere")]
    code, line = check(capsys, *nowhere)
    assert (code, "expected a folder of model versions" in line) == (3, True)
    assert check(capsys, *nowhere, "--model-wait", "true") == (0, "check: the service would wait for a version\n")
    monkeypatch.setattr("resource.getrlimit", lambda _: (10, 10))
    assert check(capsys, *flags)[0] == 4
