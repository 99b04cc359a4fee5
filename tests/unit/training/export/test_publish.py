from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from training.errors import ChoiceError, UsageError
from training.export.publish import publish

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _readme(card: Mapping[str, Any]) -> str:
    return f"version {card['version']}"


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_version_is_four_files_that_agree(tmp_path: Path) -> None:
    """The folder is named 101, holds model, golden batch, card and readme, and the card has number and checksums."""
    folder = publish(tmp_path / "digits", b"model", b"golden", {"name": "digits", "run": "a"}, _readme)
    assert folder == tmp_path / "digits" / "101"
    assert _names(folder) == ["README.md", "golden.npz", "model.json", "model.onnx"]
    assert (folder / "README.md").read_text() == "version 101"
    assert _names(folder.parent) == ["101"]
    assert json.loads((folder / "model.json").read_text()) == {
        "name": "digits",
        "run": "a",
        "version": 101,
        "sha256": hashlib.sha256(b"model").hexdigest(),
        "golden_sha256": hashlib.sha256(b"golden").hexdigest(),
    }
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_next_version_follows_the_highest(tmp_path: Path) -> None:
    """After 1 and 109 comes 110; other names beside them do not matter."""
    for name in ("1", "109", "notes", "209x"):
        (tmp_path / name).mkdir()
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme).name == "110"


def test_a_version_never_gets_a_number_of_the_projects_own(tmp_path: Path) -> None:
    """After the project's 3 comes 101; with a number it is that one, unless it exists."""
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "model.onnx").touch()
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme).name == "101"
    assert publish(tmp_path, b"model", b"golden", {"run": "b"}, _readme, number=4).name == "4"
    with pytest.raises(UsageError, match="--version-number 3 exists"):
        publish(tmp_path, b"model", b"golden", {"run": "c"}, _readme, number=3)
    assert _names(tmp_path) == ["101", "3", "4"]


def test_an_existing_version_is_never_touched(tmp_path: Path) -> None:
    """Publishing again leaves every byte and time of the versions that are there."""
    first = publish(tmp_path, b"first", b"golden", {"run": "a"}, _readme)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.iterdir()}
    assert publish(tmp_path, b"second", b"golden", {"run": "b"}, _readme).name == "102"
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.iterdir()} == before


def test_a_publication_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A card that cannot be written ends it: no version, and no half of one."""
    with pytest.raises(TypeError):
        publish(tmp_path, b"model", b"golden", {"run": object()}, _readme)
    assert _names(tmp_path) == []


def test_killed_at_each_system_call_it_makes_one_version(tmp_path: Path) -> None:
    """SIGKILL at each call of a publication, and then all of it: one version, whole, and nothing beside it."""
    program = (
        "import sys; from pathlib import Path; from tests.support.training_crash import is_killed\n"
        "from training.export import publish\n"
        "def job(): publish.publish(Path(sys.argv[1], str(number)), b'model', b'golden', {'run': 'a'}, str)\n"
        "number = 1\n"
        "while is_killed(job, 'training.export.publish:publish', number): is_killed(job); number += 1"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, stdout=subprocess.PIPE, text=True)
    calls = done.stdout.split()
    assert calls.count("write") == 4
    assert calls[calls.index("rename") :][:4] == "rename open fsync close".split()
    assert len(_names(tmp_path)) == len(calls) + 1
    for folder in tmp_path.iterdir():
        assert _names(folder) == ["101"]
        assert _names(folder / "101") == ["README.md", "golden.npz", "model.json", "model.onnx"]


def test_killed_at_each_system_call_a_held_version_is_held(tmp_path: Path) -> None:
    """SIGKILL at each call: wherever there is a version, it is on the list; and the run goes on to the same end."""
    program = (
        "import sys; from pathlib import Path; from tests.support.training_crash import is_killed\n"
        "from training.export import publish\n"
        "def job(): publish.publish(folder, b'model', b'golden', {'run': 'a'}, str, held=True)\n"
        "folder = Path(sys.argv[1], '1')\n"
        "while is_killed(job, 'training.export.publish:publish', int(folder.name)):\n"
        "    assert not (folder / '101').exists() or (folder / 'HELD').read_text() == '101\\n'\n"
        "    is_killed(job); folder = folder.with_name(str(int(folder.name) + 1))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, stdout=subprocess.PIPE, text=True)
    calls = done.stdout.split()
    assert calls.count("write") == 5
    assert calls.index("replace") < calls.index("rename")
    assert len(_names(tmp_path)) == len(calls) + 1
    for folder in tmp_path.iterdir():
        assert _names(folder) == ["101", "HELD"]
        assert (folder / "HELD").read_text() == "101\n"
        assert _names(folder / "101") == ["README.md", "golden.npz", "model.json", "model.onnx"]


def test_a_number_without_a_version_means_nothing_on_the_list(tmp_path: Path) -> None:
    """As a killed run leaves it: the next run's version is held or not by what that run says; others stay."""
    (tmp_path / "HELD").write_text("7\n101\n")
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme).name == "101"
    assert (tmp_path / "HELD").read_text() == "7\n"
    assert publish(tmp_path, b"model", b"golden", {"run": "b"}, _readme, held=True).name == "102"
    assert (tmp_path / "HELD").read_text() == "7\n102\n"
    (tmp_path / "HELD").write_text("7\n")  # as somebody promotes it
    assert publish(tmp_path, b"model", b"golden", {"run": "b"}, _readme, held=True).name == "102"
    assert (tmp_path / "HELD").read_text() == "7\n"
    for held in (True, False):
        with pytest.raises(UsageError):
            publish(tmp_path, b"model", b"golden", {"run": "c"}, _readme, number=101, held=held)
    assert (tmp_path / "HELD").read_text() == "7\n"


@pytest.mark.parametrize(("name", "words"), [("PINNED", "101"), ("CANARY", "101 5"), ("CANARY", "101 held")])
def test_a_number_that_is_named_for_serving_is_not_free(tmp_path: Path, name: str, words: str) -> None:
    """As when somebody removes a pinned version: services would answer with the next one at once, held or not."""
    (tmp_path / name).write_text(words)
    with pytest.raises(UsageError, match=r"--version-number 101 exists .*, or the pin or the canary names it"):
        publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme, number=101)
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme, held=True).name == "102"
    assert (tmp_path / "HELD").read_text() == "102\n"


def test_a_number_has_nine_digits_at_most(tmp_path: Path) -> None:
    """Services read no longer ones: another folder, as of a copy named by its time, does not count."""
    (tmp_path / "1796000000").mkdir()
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme, held=True).name == "101"
    (tmp_path / "999999999").mkdir()
    with pytest.raises(UsageError, match="no number after the highest is free"):
        publish(tmp_path, b"model", b"golden", {"run": "b"}, _readme, held=True)
    assert (tmp_path / "HELD").read_text() == "101\n"


def test_a_list_that_cannot_be_read_is_not_written(tmp_path: Path) -> None:
    """Nothing is published, and what is there stays."""
    (tmp_path / "HELD").write_text("mine")
    with pytest.raises(ChoiceError, match=r"HELD: expected versions' numbers, each on a line, found something else$"):
        publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme, held=True)
    assert _names(tmp_path) == ["HELD"]
    assert (tmp_path / "HELD").read_text() == "mine"


def test_a_run_publishes_once(tmp_path: Path) -> None:
    """A run that comes again gets the version that it has made, whatever stands beside it."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "model.json").write_text("what others have put there")
    for name, content in (("8", "[]"), ("9", "[" * 2000), ("10", "\0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(content)
    (tmp_path / "11").mkdir()
    os.mkfifo(tmp_path / "11" / "model.json")
    first = publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme)
    publish(tmp_path, b"model", b"golden", {"run": "b"}, _readme)
    assert publish(tmp_path, b"model", b"golden", {"run": "a"}, _readme) == first
    assert _names(tmp_path) == ["10", "101", "102", "11", "7", "8", "9"]


def test_runs_at_once_get_numbers_of_their_own(tmp_path: Path) -> None:
    """Two processes that publish twenty versions each, at once, make forty, and none is of two minds."""
    program = (
        "import sys; from pathlib import Path; from training.export.publish import publish\n"
        "sys.stdin.readline()\n"
        "for n in range(20):\n"
        "    publish(Path(sys.argv[1]), sys.argv[2].encode(), b'golden', {'run': f'{sys.argv[2]}{n}'}, str)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    runs = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, text=True) for name in ("one", "two")]
    for run in runs:
        assert run.stdin
        print(file=run.stdin, flush=True)
    assert [run.wait() for run in runs] == [0, 0]
    for run in runs:
        assert run.stdin
        run.stdin.close()
    assert _names(tmp_path) == sorted(str(number) for number in range(101, 141))
    for folder in tmp_path.iterdir():
        card = json.loads((folder / "model.json").read_text())
        assert str(card["version"]) == folder.name
        assert (folder / "model.onnx").read_text() == card["run"].rstrip("0123456789")
