"""The command line, through `service.commands.cli` and as programs: each command, in its newer and older form."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from service import __version__
from service import settings as settings_module
from service.commands import serve
from service.commands.cli import COMMANDS, main, run_alone
from service.versions import choice
from tests.support.graphs import next_digit, publish_edited
from tests.support.service import ROOT, publish
from tests.support.signing import make_keys, sign
from tests.support.versions import spoil

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


def status(models: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, str], dict[int, str]]:
    """The rows of the command about the folder, and those of its versions, without the spaces between columns."""
    assert main(["status", "--model-dir", str(models), *words]) == 0
    folder, versions = capsys.readouterr().out.split("\n\n")
    head, *rows = [" ".join(line.split()) for line in versions.splitlines()]
    assert head == "version state reason"
    about = dict(line.split(maxsplit=1) for line in folder.splitlines())
    assert about.pop("model") == str(models)
    assert list(about) == ["serves", "pin", "canary", "held"]
    return about, {int(number): rest for number, _, rest in (row.partition(" ") for row in rows)}


def test_the_status_names_what_serves_and_the_canary(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the pin file, the setting, the canary file and the list; a version without its files is not the latest."""
    publish(models, 2)
    for name in ("3", "4"):
        publish_edited(models, int(name), next_digit)
    (models / "4" / "model.onnx").unlink()
    no_pin = "none, so MNIST_MODEL_VERSION=latest chooses"
    about, versions = status(models, capsys)
    assert about == {"serves": "version 3", "pin": no_pin, "canary": "none", "held": "none"}
    assert versions == {4: "incomplete files are missing", 3: "serves", 2: "available", 1: "available"}
    settings = settings_module.load(["--model-dir", str(models)])
    choice.write_canary(settings, 3, 10)
    about, versions = status(models, capsys)
    assert about == {
        "serves": "version 2",
        "pin": no_pin,
        "canary": "version 3 answers 10 % of the requests",
        "held": "none",
    }
    assert (versions[3], versions[2]) == ("canary answers 10 % of the requests", "serves")
    choice.write_canary(settings, 3, 0)
    assert status(models, capsys)[1][3] == "canary answers no request: it is compared"
    (models / "CANARY").write_text("3 held\n")
    choice.hold(settings, 2)
    about, versions = status(models, capsys)
    assert (about["serves"], about["canary"], about["held"]) == ("version 1", "none", "2, 3")
    assert versions[2] == "held latest never means it; `python -m service promote 2` makes it serve"
    about, versions = status(models, capsys, "--model-version", "2")
    assert (about["serves"], about["pin"]) == ("version 2", "none, so MNIST_MODEL_VERSION=2 chooses")
    choice.pin(settings, "7")
    about, _ = status(models, capsys)
    assert about["pin"] == f"7, by {models}/PINNED"
    missing = "there is no version 7, which PINNED names; the folder has 4, 3, 2, 1"
    assert about["serves"] == f"none: {models}: {missing}"


def test_the_status_says_why_versions_are_refused(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that a start would refuse, and the canary; the exit code is that of a folder that can be read."""
    for number in (2, 3):
        publish_edited(models, number, next_digit)
        spoil(models, number)
    settings = settings_module.load(["--model-dir", str(models)])
    choice.write_canary(settings, 2, 50)
    about, versions = status(models, capsys)
    assert (about["serves"], versions[1]) == ("version 1", "serves")
    for number in (2, 3):
        assert versions[number].startswith(f"refused {models}/{number}/golden.npz: expected sha256")
    spoil(models, 1)
    about, _ = status(models, capsys)
    assert about["serves"].startswith(f"none: {models}/3/golden.npz: expected sha256")


def test_the_status_is_json_for_programs(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object, with the fields that the documents have."""
    publish(models, 2)
    settings = settings_module.load(["--model-dir", str(models)])
    flags = ["status", "--json", "--model-dir", str(models)]
    choice.write_canary(settings, 1, 12.5)
    choice.hold(settings, 9)
    choice.pin(settings, "2")
    assert main(flags) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model_dir": str(models),
        "model_version": "latest",
        "source": None,
        "pin": "2",
        "canary": {"version": 1, "percent": 12.5},
        "held": [9],
        "serves": 2,
        "problem": "",
        "versions": [
            {"version": 2, "state": "serves", "reason": ""},
            {"version": 1, "state": "canary", "reason": "answers 12.5 % of the requests"},
        ],
    }
    choice.pin(settings, "7")
    choice.remove_canary(settings)
    assert main(flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["serves"], found["pin"], found["canary"]) == (None, "7", None)
    assert found["problem"] == f"{models}: there is no version 7, which PINNED names; the folder has 2, 1"


def test_the_status_names_versions_without_a_signature(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a key is set: also below the one that serves, where nothing is checked. A bad file of keys is code 2."""
    keys = make_keys(tmp_path)
    for number in (2, 3):
        publish(models, 2)
        (models / "2").rename(models / str(number + 1))
    publish(models, 2)
    sign(models / "2", keys)
    about, versions = status(models, capsys, "--model-public-key", str(keys.public))
    missing = {number: f"it has no signature, {number}.sig, as MNIST_MODEL_PUBLIC_KEY demands" for number in (1, 4)}
    assert (about["serves"], versions[2], versions[1]) == ("version 2", "serves", f"refused {missing[1]}")
    assert versions[4].startswith(f"refused {models}/4/model.json: expected version 4")
    assert main(["status", "--model-dir", str(models), "--model-public-key", str(keys.private)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["PINNED", "CANARY", "HELD"])
def test_a_status_that_cannot_be_read_is_code_3(models: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line names the file; so it is without a folder of versions."""
    assert main(["status", "--model-dir", str(models / "1")]) == 3
    (models / name).write_text("something else")
    capsys.readouterr()
    assert main(["status", "--model-dir", str(models)]) == 3
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith(f"status: {name}: expected ")


def test_a_promotion_takes_a_version_off_the_list(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It then serves as the latest, also where a higher one is held; or by the pin, where `latest` means another."""
    flags = ["--model-dir", str(models)]
    settings = settings_module.load(flags)
    publish(models, 2)
    for number in (3, 4):
        publish_edited(models, number, next_digit)
    for number in (1, 2, 3, 4):
        choice.hold(settings, number)
    assert main(["promote", "3", *flags]) == 0
    assert capsys.readouterr().out == "version 3 is promoted, as the latest; services follow within 2 s\n"
    assert (models / "HELD").read_text() == "1\n2\n4\n"
    assert not (models / "PINNED").exists()
    assert main(["promote", "2", *flags]) == 0
    by = f"by {models}/PINNED"
    assert capsys.readouterr().out == f"version 2 is promoted, {by}; services follow within 2 s\n"
    assert (models / "HELD").read_text() == "1\n4\n"
    assert main(["promote", "4", *flags]) == 0  # the pin chooses, so the pin is changed
    assert (models / "PINNED").read_text() == "4\n"


def test_a_rollback_passes_over_held_versions(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one below that is not held is pinned; a held one is pinned where it is named, and stays held."""
    flags = ["--model-dir", str(models)]
    settings = settings_module.load(flags)
    publish(models, 2)
    publish_edited(models, 3, next_digit)
    choice.hold(settings, 2)
    assert main(["rollback", *flags]) == 0
    assert (models / "PINNED").read_text() == "1\n"
    assert main(["rollback", "2", *flags]) == 0
    assert (models / "PINNED").read_text() == "2\n"
    assert choice.read_held(settings) == {2}


def test_what_must_not_serve_is_not_promoted(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A spoilt version and a missing one stay where they are: code 3 and one line."""
    flags = ["--model-dir", str(models)]
    publish(models, 2)
    spoil(models, 2)
    choice.hold(settings_module.load(flags), 2)
    for number, found in (("2", "golden.npz: expected sha256"), ("7", "expected a readable file")):
        assert main(["promote", number, *flags]) == 3
        told = capsys.readouterr().err
        assert told.startswith(f"promote: {models}/{number}/")
        assert (found in told, told.count("\n")) == (True, 1)
    assert (models / "HELD").read_text() == "2\n"
    assert not (models / "PINNED").exists()


@pytest.mark.parametrize("command", ["promote", "rollback", "canary"])
def test_what_is_not_signed_is_not_chosen(
    models: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the command has the key, by a flag or the environment: code 3, and code 2 for a bad file of keys."""
    keys = make_keys(tmp_path)
    flags = ["1", "--model-dir", str(models), "--model-public-key"]
    assert main([command, *flags, str(keys.public)]) == 3
    unsigned = "expected a signature of version 1, as MNIST_MODEL_PUBLIC_KEY demands, found none"
    assert capsys.readouterr().err == f"{command}: {models}/1.sig: {unsigned}\n"
    assert not {"PINNED", "CANARY"} & {path.name for path in models.iterdir()}
    assert main([command, *flags, str(keys.private)]) == 2
    sign(models / "1", keys)
    assert main([command, *flags, str(keys.public)]) == 0


def check(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The exit code of the command, and its one line."""
    code = main(["check", *words])
    told = capsys.readouterr()
    assert (told.out + told.err).count("\n") == 1
    assert (told.out == "") == (code != 0)
    return code, told.out + told.err


@pytest.mark.parametrize("number", ["0", "-2", "1796000000", "9" * 4000])
def test_a_number_that_no_pin_could_name_is_refused(
    models: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder may be called so, with a whole version in it: a pin to it would keep services from starting."""
    flags = ["--model-dir", str(models)]
    publish(models, 2)
    if len(number) < 100:
        publish_edited(models, int(number), next_digit)
    for command in ("promote", "rollback", "canary"):
        assert main([command, number, *flags]) == 3
        assert "expected a version's number of 1 to 9 digits, found" in (told := capsys.readouterr().err)
        assert len(told) < 300
    assert not {"PINNED", "CANARY"} & {path.name for path in models.iterdir()}


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
    assert check(capsys, *flags, "--model-public-key", str(tmp_path / "none"))[0] == 2
    assert check(capsys, *flags, "--model-public-key", str(make_keys(tmp_path).public))[0] == 3
    nowhere = ["--model-dir", str(tmp_path / "nowhere")]
    code, line = check(capsys, *nowhere)
    assert (code, "expected a folder of model versions" in line) == (3, True)
    assert check(capsys, *nowhere, "--model-wait", "true") == (0, "check: the service would wait for a version\n")
    monkeypatch.setattr("resource.getrlimit", lambda _: (10, 10))
    assert check(capsys, *flags)[0] == 4


PRINTING = {
    "status": ["service", "status", "--json"],
    "check": ["service", "check"],
    "help": ["service", "--help"],
    "older form": ["service.keys", "--help"],
}


@pytest.mark.parametrize("words", PRINTING.values(), ids=PRINTING)
@pytest.mark.parametrize("unread", [True, False])
@pytest.mark.parametrize("buffer", ["", "1"])
def test_output_goes_into_a_pipe(words: list[str], unread: bool, buffer: str) -> None:
    """All of it, also where Python buffers it; where nobody reads it any more, the command ends without a word."""
    command = [sys.executable, "-m", *words]
    environment = os.environ | {"PYTHONUNBUFFERED": buffer}
    reading, writing = os.pipe()
    with open(reading, "rb") as output, open(writing, "wb") as pipe:  # noqa: PTH123 - descriptors
        if unread:
            output.close()
        run = subprocess.run(command, cwd=ROOT, env=environment, stdout=pipe, stderr=subprocess.PIPE, check=False)
        pipe.close()
        assert run.stderr == b""
        if unread:
            # argparse passes over the error of a write, but not of the last one.
            assert run.returncode in ({141, 0} if "--help" in words else {141})
        else:
            assert run.returncode == 0
            assert output.read().endswith(b"\n")


def test_a_full_disk_is_no_success() -> None:
    """What could not be written is told, and exit code 4."""
    command = [sys.executable, "-m", "service", "status"]
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        run = subprocess.run(command, cwd=ROOT, env=environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (run.returncode, run.stderr) == (4, b"status: [Errno 28] No space left on device\n")
