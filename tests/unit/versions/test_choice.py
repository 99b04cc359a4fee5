"""The pin file, the canary file and the lists of held versions, through `service.versions.choice`."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from service.errors import ModelError
from service.model import layout
from service.settings import Settings
from service.versions import choice
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"model_dir": tmp_path, "model_version": "3"})


def test_the_pin_chooses_and_else_the_setting(settings: Settings) -> None:
    """A pin is a readable file in the model's folder, whole at once; without it the setting's word stands."""
    assert choice.chosen_version(settings) == "3"
    for word in ("7", "12", "latest"):
        choice.pin(settings, word)
        assert choice.chosen_version(settings) == word
    (pin,) = settings.model_dir.iterdir()
    assert (pin.name, pin.read_text(), pin.stat().st_mode & 0o777) == ("PINNED", "latest\n", 0o644)
    choice.unpin(settings)
    choice.unpin(settings)
    assert choice.chosen_version(settings) == "3"


def test_the_pin_may_lie_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """Where a setting names its file, and there alone."""
    elsewhere = settings.model_copy(update={"pin_file": tmp_path / "elsewhere"})
    choice.pin(elsewhere, "7")
    assert (choice.chosen_version(elsewhere), choice.chosen_version(settings)) == ("7", "3")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"newest", "a version's number, or latest, found something else"),
        (b"07", "a version's number, or latest, found something else"),
        (b"7 8", "a version's number, or latest, found something else"),
        (b"x" * 80, "a version's number, or latest, found something else"),
        (b"x" * 81, "at most 80 bytes, found 81"),
        (b"\xff", "a readable file, found UnicodeDecodeError"),
    ],
)
def test_another_word_in_the_pin_is_refused(settings: Settings, content: bytes, found: str) -> None:
    """What stands there may be another file's, and is never quoted."""
    (settings.model_dir / "PINNED").write_bytes(content)
    with pytest.raises(ModelError) as refusal:
        choice.chosen_version(settings)
    assert str(refusal.value) == f"PINNED: expected {found}"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path) -> None:
    path.with_name("secret").write_text("7")
    path.symlink_to("secret")


def nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def folder(path: Path) -> None:
    path.mkdir()


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


READERS: dict[str, Callable[[Settings], object]] = {
    "PINNED": choice.chosen_version,
    "CANARY": choice.read_canary,
    "HELD": choice.read_held,
}
PLACES = {
    "a pipe": (pipe, "a regular file, found a pipe or a device"),
    "a device by a link": (zeros, "a readable file, found a symbolic link"),
    "a link": (link, "a readable file, found a symbolic link"),
    "a link to nowhere": (nowhere, "a readable file, found a symbolic link"),
    "a folder": (folder, "a readable file, found Is a directory"),
    "a socket": (listening, "a readable file, found No such device or address"),
    "a terabyte": (large, "at most 80 bytes, found 1,099,511,627,776"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", READERS)
def test_only_a_small_file_of_the_folder_is_read(settings: Settings, name: str, place: str) -> None:
    """Whatever else stands in its place is told by what it is, at once."""
    put, found = PLACES[place]
    put(settings.model_dir / name)
    with pytest.raises(ModelError) as refusal:
        READERS[name](settings)
    limit = "65,536" if name == "HELD" else "80"
    assert str(refusal.value) == f"{name}: expected {found.replace('80', limit)}"


def test_what_cannot_be_written_leaves_nothing(settings: Settings) -> None:
    """With a folder in the file's place, or a full disk, no part of it stays beside it."""
    choice.pin_path(settings).mkdir()
    with pytest.raises(IsADirectoryError):
        choice.pin(settings, "2")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            choice.write_canary(settings, 2, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name for path in settings.model_dir.iterdir()] == ["PINNED"]


def test_held_versions_are_one_number_on_each_line(settings: Settings) -> None:
    """The list is whole at once, sorted, and gone with its last number."""
    (settings.model_dir / "HELD").write_text("  12\n7 103\r\n\n12")
    assert choice.read_held(settings) == {7, 12, 103}
    choice.hold(settings, 9)
    choice.hold(settings, 9)
    (held,) = settings.model_dir.iterdir()
    assert (held.name, held.read_text(), held.stat().st_mode & 0o777) == ("HELD", "7\n9\n12\n103\n", 0o644)
    for number in (9, 7, 12, 55, 103):
        choice.release(settings, number)
    assert choice.read_held(settings) == set()
    assert list(settings.model_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"1 two", "versions' numbers, each on a line, found something else"),
        (b"012", "versions' numbers, each on a line, found something else"),
        (b"1,2", "versions' numbers, each on a line, found something else"),
        (b"1234567890", "versions' numbers, each on a line, found something else"),
        (b"1\n" * 40_000, "at most 65,536 bytes, found 80,000"),
        (b"\xff", "a readable file, found UnicodeDecodeError"),
    ],
)
def test_another_word_among_the_held_versions_is_refused(settings: Settings, content: bytes, found: str) -> None:
    """Nothing may be the latest while it is unknown what is held; and nothing is lost of the file."""
    (settings.model_dir / "3").mkdir()
    path = settings.model_dir / "HELD"
    path.write_bytes(content)
    for use in (choice.read_held, choice.latest_candidates, lambda settings: choice.hold(settings, 3)):
        with pytest.raises(ModelError) as refusal:
            use(settings)
        assert str(refusal.value) == f"HELD: expected {found}"
    assert path.read_bytes() == content


def test_latest_is_neither_held_nor_the_canary(settings: Settings) -> None:
    """A canary file of older versions of this program holds its version too; a release ends either."""
    for number in range(1, 6):
        (settings.model_dir / str(number)).mkdir()
    assert choice.latest_candidates(settings) == [5, 4, 3, 2, 1]
    choice.hold(settings, 5)
    choice.hold(settings, 99)
    choice.write_canary(settings, 3, 10)
    assert choice.latest_candidates(settings) == [4, 2, 1]
    choice.release(settings, 3)
    (settings.model_dir / "CANARY").write_text("4 held\n")
    assert (choice.read_canary(settings), choice.read_held(settings)) == (None, {4, 5, 99})
    assert choice.latest_candidates(settings) == [3, 2, 1]
    choice.release(settings, 5)
    assert (settings.model_dir / "CANARY").exists()
    choice.release(settings, 4)
    assert not (settings.model_dir / "CANARY").exists()
    assert choice.latest_candidates(settings) == [5, 4, 3, 2, 1]


def test_a_canary_that_ends_is_not_the_latest_in_between(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held before it is the canary no more; and whoever looks meanwhile sees one of both."""
    for number in (1, 2):
        (settings.model_dir / str(number)).mkdir()
    choice.write_canary(settings, 2, 10)
    read = choice._read_lists

    def end_first(settings: Settings) -> set[int]:
        choice.hold(settings, 2)
        choice.remove_canary(settings)
        return read(settings)

    monkeypatch.setattr(choice, "_read_lists", end_first)
    assert choice.latest_candidates(settings) == [1]
    assert choice.latest_candidates(settings) == [1]


def test_a_training_job_holds_in_the_models_folder_wherever_the_pin_is(settings: Settings, tmp_path: Path) -> None:
    """Both lists count; an operator's is beside the pin file; a release is from both."""
    (tmp_path / "config").mkdir()
    for number in (1, 2, 3):
        (settings.model_dir / str(number)).mkdir()
    elsewhere = settings.model_copy(update={"pin_file": tmp_path / "config" / "PINNED"})
    (settings.model_dir / "HELD").write_text("3\n")
    choice.hold(elsewhere, 2)
    assert (tmp_path / "config" / "HELD").read_text() == "2\n"
    assert choice.latest_candidates(elsewhere) == [1]
    assert choice.latest_candidates(settings) == [2, 1]
    choice.hold(elsewhere, 3)
    choice.release(elsewhere, 3)
    assert choice.latest_candidates(elsewhere) == [3, 1]
    assert choice.latest_candidates(settings) == [3, 2, 1]


def test_what_programs_hold_at_once_is_all_held(settings: Settings) -> None:
    """Four processes that each hold and release fifty versions lose none of each other's."""
    program = (
        "import sys; from pathlib import Path; from service.versions import held\n"
        "path, first = Path(sys.argv[1]), int(sys.argv[2])\n"
        "for number in range(first, first + 50):\n"
        "    held.add(path, number)\n"
        "    if number % 2: held.remove(path, number)"
    )
    path = settings.model_dir / "HELD"
    command = [sys.executable, "-c", program, str(path)]
    running = [subprocess.Popen([*command, str(first)], cwd=ROOT) for first in (100, 200, 300, 400)]
    assert [process.wait(60) for process in running] == [0] * 4
    expected = {number for first in (100, 200, 300, 400) for number in range(first, first + 50, 2)}
    assert choice.read_held(settings) == expected
    assert list(settings.model_dir.iterdir()) == [path]


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/dev/stdin"])
def test_a_setting_may_name_no_device(settings: Settings, target: str) -> None:
    """A link that a setting names is followed, and what it leads to is a small file as well."""
    named = settings.model_copy(update={"pin_file": settings.model_dir / "chosen"})
    (settings.model_dir / "chosen").symlink_to(target)
    with pytest.raises(ModelError, match=r"^chosen: expected a re"):
        choice.chosen_version(named)


def test_a_config_map_may_hold_pin_canary_and_list(settings: Settings, tmp_path: Path) -> None:
    """Its files are links into a folder that is swapped as a whole, by a link as well (..data)."""
    mounted = tmp_path / "config"
    mounted.mkdir()
    named = settings.model_copy(update={"pin_file": mounted / "PINNED"})

    def swap(stamp: str, pin: str, canary: str) -> None:
        (mounted / stamp).mkdir()
        (mounted / stamp / "PINNED").write_text(pin)
        (mounted / stamp / "CANARY").write_text(canary)
        (mounted / stamp / "HELD").write_text("4\n")
        (mounted / "..data_tmp").symlink_to(stamp)
        (mounted / "..data_tmp").replace(mounted / "..data")

    swap("..2026_01_01_10_00_00.1", "7\n", "9 held\n")
    for name in READERS:
        (mounted / name).symlink_to(f"..data/{name}")
    assert (choice.chosen_version(named), choice.read_canary(named)) == ("7", None)
    assert choice.read_held(named) == {4, 9}
    swap("..2026_01_01_10_00_01.2", "8", "9 5")
    assert choice.read_held(named) == {4}
    second = choice.read_canary(named)
    assert second is not None
    assert (choice.chosen_version(named), second[:2]) == ("8", (9, 5.0))


def test_the_models_folder_may_be_a_link(settings: Settings, tmp_path: Path) -> None:
    """A setting names it; what is in it is as it would be."""
    (tmp_path / "models" / "3").mkdir(parents=True)
    (tmp_path / "models" / "PINNED").write_text("3")
    (tmp_path / "link").symlink_to("models")
    linked = settings.model_copy(update={"model_dir": tmp_path / "link"})
    assert layout.numbers(linked.model_dir) == [3]
    assert choice.chosen_version(linked) == "3"
