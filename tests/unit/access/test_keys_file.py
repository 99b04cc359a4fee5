"""The file of API keys, through `service.access.keys`: what a line says, which are refused, and who makes them."""

from __future__ import annotations

import hashlib
import math
import os
import re
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from service.access import keys
from service.access.keys_file import KeysFile
from service.commands.cli import run_alone
from service.errors import SettingsError
from service.observability.metrics import Metrics
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

STRANGER = "mnist_" + "A" * 43
SUM = "0" * 64


def read(folder: Path, *lines: str) -> list[keys.Entry]:
    """The entries of a file with these lines."""
    (folder / "keys.txt").write_text("\n".join(lines))
    return keys.read(folder / "keys.txt")


def test_the_command_makes_a_key_and_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line goes to stdout, the key to stderr: `>> keys.txt` keeps the one and shows the other."""
    assert run_alone("keys", ["new", "--name", "shop", "--scopes", "infer,metrics,admin", "--rate", "5"]) == 0
    line, told = capsys.readouterr()
    key, _, rest = told.partition("\n")
    assert key not in line
    assert rest == "This is the key of shop. It is shown this once, and kept nowhere.\n"
    scopes = frozenset(keys.SCOPES)
    assert read(tmp_path, line) == [keys.Entry("shop", scopes, hashlib.sha256(key.encode()).digest(), 5.0)]
    assert keys.digest(key.encode()) == hashlib.sha256(key.encode()).digest()
    assert run_alone("keys", ["new", "--name", "shop", "--expires", "2999-01-31"]) == 0
    assert capsys.readouterr().out.endswith(" expires=2999-01-31\n")
    assert run_alone("keys", ["new", "--name", "shop"]) == 0
    other, told = capsys.readouterr()
    assert not told.startswith(key)
    assert re.fullmatch(r"shop infer sha256:[0-9a-f]{64}\n", other)


def test_it_runs_as_a_module() -> None:
    """`python -m service.keys` tells how it is used."""
    command = [sys.executable, "-m", "service.keys", "new", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.startswith("usage: python -m service.keys new ")


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "Shop"],
        ["--name", "a b"],
        ["--name", "shop", "--scopes", "all"],
        ["--name", "shop", "--scopes", "infer,all"],
        ["--name", "shop", "--rate", "fast"],
        ["--name", "shop", "--rate", "-1"],
        ["--name", "shop", "--rate", "0"],
        ["--name", "shop", "--expires", "tomorrow"],
        ["--name", "shop", "--expires", "2026-01-31"],
        ["--scopes", "infer"],
        [],
    ],
)
def test_the_command_makes_no_line_that_would_be_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with exit code 2 and says how it is used, and nothing goes into the file."""
    for command in (["new", *words], words):
        with pytest.raises(SystemExit) as end:
            run_alone("keys", command)
        said = capsys.readouterr()
        assert (end.value.code, said.out) == (2, "")
        assert re.match(r"python -m service\.keys( new)?: error: ", said.err)
        assert "\nusage: python -m service.keys " in said.err


def test_its_help_says_what_scopes_and_a_rate_are(capsys: pytest.CaptureFixture[str]) -> None:
    """With what is taken where they are not given."""
    with pytest.raises(SystemExit) as end:
        run_alone("keys", ["new", "--help"])
    assert end.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "--scopes SCOPES what it is for, of infer,metrics,admin; default: infer" in told
    assert "--rate RATE requests a second in each worker; default: no limit" in told


def test_what_is_wrong_with_a_name_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """That it is missing, or else what was expected, as the file has it."""
    with pytest.raises(SystemExit):
        run_alone("keys", ["new"])
    assert capsys.readouterr().err.splitlines()[0].endswith("the following arguments are required: --name")
    with pytest.raises(SystemExit):
        run_alone("keys", ["new", "--name", "Shop"])
    assert capsys.readouterr().err.splitlines()[0].endswith(f": the line would be wrong: {NAMED}")


def test_a_line_says_whose_key_it_is_and_what_for(tmp_path: Path) -> None:
    """A name may stand there twice; notes and empty lines are passed over."""
    everything = f"  shop  admin,infer,metrics\tsha256:{'f' * 64} rate=0.5 "
    lines = ["# whose", "", f"shop infer sha256:{SUM}", everything, "  # end"]
    assert read(tmp_path, *lines) == [
        keys.Entry("shop", frozenset({"infer"}), bytes(32), None),
        keys.Entry("shop", frozenset(keys.SCOPES), b"\xff" * 32, 0.5),
    ]
    assert read(tmp_path) == []


NAMED, SCOPED = (
    f"expected a name like {keys.NAME} as its first word",
    "expected scopes of infer,metrics,admin as its second word",
)
SUMMED = "expected sha256: and 64 digits of 0-9a-f as its third word"
RATED = "expected rate= and a number over 0, below a million and with at most three decimals"
DATED = "expected expires= and a date like 2027-01-31"
ENDED = "expected nothing but rate=… and expires=… after its third word, each once"
BAD_LINES = {
    "shop": SCOPED,
    "shop infer": SUMMED,
    f"Shop infer sha256:{SUM}": NAMED,
    f"shop all sha256:{SUM}": SCOPED,
    f"shop infer, sha256:{SUM}": SCOPED,
    "shop infer sha256:0": SUMMED,
    f"shop infer sha256:{SUM}0": SUMMED,
    f"shop infer sha256:{SUM} rate=0": RATED,
    f"shop infer sha256:{SUM} rate=x": RATED,
    f"shop infer sha256:{SUM} rate=1 rate=2": ENDED,
    f"shop infer sha256:{SUM} expires=2027-02-29": DATED,
    f"shop infer sha256:{SUM} expires=20270131": DATED,
    f"shop infer sha256:{SUM} expires=": DATED,
    f"shop infer sha256:{SUM} 5": ENDED,
    STRANGER: NAMED,
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_named_and_not_repeated(tmp_path: Path, line: str) -> None:
    """By its number and what was expected: it may hold a key by mistake."""
    with pytest.raises(SettingsError) as refusal:
        read(tmp_path, "# keys", line)
    assert str(refusal.value) == f"MNIST_API_KEYS_FILE: {tmp_path}/keys.txt line 2: {BAD_LINES[line]}"


def test_a_key_is_good_to_the_end_of_its_last_day(tmp_path: Path) -> None:
    """In UTC, whatever follows whatever; a line without a day has no end."""
    one, other, endless = read(
        tmp_path,
        f"shop infer sha256:{SUM} expires=2027-01-31",
        f"shop infer sha256:{SUM} expires=2027-01-31 rate=5",
        f"shop infer sha256:{SUM} rate=5",
    )
    last = datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    assert one.ends() == other.ends() == pytest.approx(last + 1, abs=0.001)
    assert (other.rate, endless.ends()) == (5, math.inf)


def test_a_file_is_listed_without_hashes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each key, expired ones marked; then what is wrong with the other lines, which is code 2."""
    path = tmp_path / "keys.txt"
    good = [
        f"shop infer sha256:{SUM} expires=9999-12-31",
        "# whose",
        f"old metrics,infer sha256:{SUM} rate=0.5 expires=2026-01-31",
    ]
    path.write_text("\n".join(good))
    assert run_alone("keys", ["list", str(path)]) == 0
    rows = [
        "name  scopes         rate   last day",
        "shop  infer          -      9999-12-31",
        "old   infer,metrics  0.5/s  2026-01-31 (expired)",
    ]
    assert capsys.readouterr() == ("\n".join([*rows, ""]), "")
    path.write_text("\n".join([*good, STRANGER, "shop infer"]))
    assert run_alone("keys", ["list", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == rows
    assert said.err == f"keys: line 4: {NAMED}\nkeys: line 5: {SUMMED}\n"
    assert run_alone("keys", ["list", str(tmp_path / "none")]) == 2


def test_a_key_that_expires_soon_is_told_once_a_day(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From fourteen days before on; not what has expired, and not what has long."""
    today = datetime.now(UTC).date()
    days = {name: today + timedelta(days) for name, days in {"over": -2, "now": 1, "soon": 12, "late": 16}.items()}
    path = tmp_path / "keys.txt"
    path.write_text("\n".join(f"{name} infer sha256:{SUM} expires={day}" for name, day in days.items()))
    file = KeysFile(path, Metrics(CollectorRegistry()), lambda _: None)
    file.poll()
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"the key of {name} expires: its last day is {days[name]}" for name in ("now", "soon")]


def test_a_file_has_a_thousand_keys_at_most(tmp_path: Path) -> None:
    """Each is a label in the metrics."""
    line = f"shop infer sha256:{SUM}"
    assert len(read(tmp_path, *[line] * 1000)) == 1000
    with pytest.raises(SettingsError) as refusal:
        read(tmp_path, *[line] * 1001)
    assert str(refusal.value) == f"MNIST_API_KEYS_FILE: {tmp_path}/keys.txt: expected at most 1000 keys, found 1001"


@pytest.mark.parametrize(
    ("content", "found"), [(None, "No such file or directory"), (b"\xff", "bytes that are no text")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, found: str) -> None:
    """By its path and what was found."""
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        keys.read(path)
    assert str(refusal.value) == f"MNIST_API_KEYS_FILE: {path}: expected a readable file, found {found}"


def odd_file(folder: Path, kind: str) -> Path:
    """What stands at the path of the file."""
    path = folder / "keys.txt"
    match kind:
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
        case "a socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        case "too much":
            path.write_bytes(b"#" * (keys.MAX_BYTES + 1))
        case _:
            path.symlink_to(kind)
    return path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a socket", "too much", "/dev/zero", "/dev/full", "/dev/tty"])
def test_what_is_no_file_of_keys_is_told_at_once(tmp_path: Path, kind: str) -> None:
    """It is neither waited for nor read without end."""
    path = odd_file(tmp_path, kind)
    with pytest.raises(SettingsError) as refusal:
        keys.read(path)
    expected = "expected a readable file, found something that is not a regular file of at most 262,144 bytes"
    assert str(refusal.value) == f"MNIST_API_KEYS_FILE: {path}: {expected}"


def test_the_path_may_be_a_link(tmp_path: Path) -> None:
    """To the file, or to its folder; a limit's worth of notes is let through."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "keys.txt").write_text(f"shop infer sha256:{SUM}\n".ljust(keys.MAX_BYTES, "#"))
    (tmp_path / "..data").symlink_to("folder")
    (tmp_path / "link").symlink_to("..data/keys.txt")
    assert [entry.name for entry in keys.read(tmp_path / "link")] == ["shop"]


class Followed(NamedTuple):
    """A file that is followed, and what came of it."""

    file: KeysFile
    path: Path
    entries: list[list[keys.Entry]]  # one for each change


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    """A file with one key."""
    path, entries = tmp_path / "keys.txt", list[list[keys.Entry]]()
    path.write_text(f"shop infer sha256:{SUM}")
    return Followed(KeysFile(path, Metrics(CollectorRegistry()), entries.append), path, entries)


def test_a_file_is_read_when_it_has_changed(followed: Followed) -> None:
    """And not when it has not."""
    followed.file.poll()
    assert len(followed.entries) == 1
    followed.path.write_text(f"shop infer sha256:{SUM}\nother infer sha256:{'1' * 64}")
    followed.file.poll()
    followed.file.poll()
    assert [entry.name for entry in followed.entries[-1]] == ["shop", "other"]
    assert len(followed.entries) == 2


@pytest.mark.parametrize("kind", ["missing", "a pipe", "a folder", "too much", "/dev/zero", "a line that is none"])
def test_a_bad_file_keeps_the_keys_and_is_told_once_a_minute(
    followed: Followed, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is missing lets nobody in after ten seconds; a good one ends all that."""
    followed.path.unlink()
    if kind == "a line that is none":
        followed.path.write_text("shop")
    elif kind != "missing":
        odd_file(followed.path.parent, kind)
    now = time.monotonic()
    told = []
    for second in range(70):
        monkeypatch.setattr(time, "monotonic", lambda second=second: now + second)
        followed.file.poll()
        told += [(second, record.message) for record in caplog.records if record.levelname == "ERROR"]
        caplog.clear()
    seconds, sentences = zip(*told, strict=True)
    assert all(sentence.startswith(f"MNIST_API_KEYS_FILE: {followed.path}") for sentence in sentences)
    if kind == "missing":
        assert seconds == (0, 10)
        assert sentences[1].endswith("; no key is accepted")
        assert followed.entries[1:] == [[]]
        assert followed.file.failure == "the file of API keys is missing"
    else:
        assert seconds == (0, 60)
        assert followed.entries[1:] == []
        assert followed.file.failure is None
    assert sentences[0].endswith("; the keys from before stay")
    (followed.path.parent / "next").write_text(f"shop infer sha256:{SUM}")
    if followed.path.is_dir():
        followed.path.rmdir()
    (followed.path.parent / "next").replace(followed.path)
    followed.file.poll()
    assert followed.file.failure is None
    assert [entry.name for entry in followed.entries[-1]] == ["shop"]


def test_a_file_that_is_away_for_a_moment_changes_nothing(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, for nine seconds each, with the file there in between: it is never gone for ten."""
    now = time.monotonic()
    for second in range(40):
        if second % 10:
            followed.path.unlink(missing_ok=True)
        else:
            followed.path.write_text(f"shop infer sha256:{SUM}")
        monkeypatch.setattr(time, "monotonic", lambda second=second: now + second)
        followed.file.poll()
        assert followed.file.failure is None
    assert all(followed.entries)


def test_without_a_file_at_the_start_nobody_is_let_in(tmp_path: Path) -> None:
    """A worker that is started anew has no keys from before."""
    file = KeysFile(tmp_path / "keys.txt", Metrics(CollectorRegistry()), lambda _: None)
    assert file.failure == "the file of API keys cannot be read"


@pytest.mark.parametrize(
    "text", ["", "mnist_", STRANGER[:-1], STRANGER + "A", "MNIST_" + "A" * 43, "mnist_" + "ä" * 43]
)
def test_what_has_not_the_form_of_a_key_has_no_digest(text: str) -> None:
    """So that nobody can keep the service busy with it."""
    assert keys.digest(text.encode()) is None
