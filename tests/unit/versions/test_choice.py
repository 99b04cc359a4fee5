"""The pin file and the canary file, through `service.versions.choice`."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from service.errors import ModelError
from service.model import layout
from service.settings import Settings
from service.versions import choice

if TYPE_CHECKING:
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
@pytest.mark.parametrize("name", ["PINNED", "CANARY"])
def test_only_a_small_file_of_the_folder_is_a_pin_or_a_canary(settings: Settings, name: str, place: str) -> None:
    """Whatever else stands in its place is told by what it is, at once."""
    put, found = PLACES[place]
    put(settings.model_dir / name)
    with pytest.raises(ModelError) as refusal:
        (choice.chosen_version if name == "PINNED" else choice.read_canary)(settings)
    assert str(refusal.value) == f"{name}: expected {found}"


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/dev/stdin"])
def test_a_setting_may_name_no_device(settings: Settings, target: str) -> None:
    """A link that a setting names is followed, and what it leads to is a small file as well."""
    named = settings.model_copy(update={"pin_file": settings.model_dir / "chosen"})
    (settings.model_dir / "chosen").symlink_to(target)
    with pytest.raises(ModelError, match=r"^chosen: expected a re"):
        choice.chosen_version(named)


def test_a_config_map_may_hold_pin_and_canary(settings: Settings, tmp_path: Path) -> None:
    """Its files are links into a folder that is swapped as a whole, by a link as well (..data)."""
    mounted = tmp_path / "config"
    mounted.mkdir()
    named = settings.model_copy(update={"pin_file": mounted / "PINNED"})

    def swap(stamp: str, pin: str, canary: str) -> None:
        (mounted / stamp).mkdir()
        (mounted / stamp / "PINNED").write_text(pin)
        (mounted / stamp / "CANARY").write_text(canary)
        (mounted / "..data_tmp").symlink_to(stamp)
        (mounted / "..data_tmp").replace(mounted / "..data")

    swap("..2026_01_01_10_00_00.1", "7\n", "9 held\n")
    for name in ("PINNED", "CANARY"):
        (mounted / name).symlink_to(f"..data/{name}")
    first = choice.read_canary(named)
    assert (choice.chosen_version(named), first) == ("7", (9, None, first and first.written))
    swap("..2026_01_01_10_00_01.2", "8", "9 5")
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
