"""The versions in a folder, through `service.versions.folder`: which are there, which is chosen, and what a change
is.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

import pytest

from service.errors import ModelError
from service.settings import Settings
from service.versions import folder as versions


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"model_dir": tmp_path, "model_version": "3"})


def test_versions_are_folders_named_by_numbers(tmp_path: Path) -> None:
    """Highest first, by number; other names, and files, are none."""
    for name in ("2", "10", "0", "01", "1.5", "x1", "1x", ".2", "1" * 10):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    assert versions.numbers(tmp_path) == [10, 2]


def test_a_folder_without_versions_is_told_by_its_path(tmp_path: Path) -> None:
    """What was expected, and what was found."""
    with pytest.raises(ModelError) as refusal:
        versions.numbers(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: expected numbered version folders (1, 2, …), found none"
    with pytest.raises(ModelError) as refusal:
        versions.numbers(tmp_path / "x")
    assert str(refusal.value) == f"{tmp_path}/x: expected a folder of model versions, found No such file or directory"


@pytest.mark.parametrize("name", versions.FILES)
def test_a_stamp_changes_with_each_file(tmp_path: Path, name: str) -> None:
    """Another length, time or file is another stamp; none while a file is missing."""
    for file in versions.FILES:
        (tmp_path / file).write_text("a")
    stamps = [versions.stamp(tmp_path), versions.stamp(tmp_path)]
    assert stamps[0] == stamps[1] is not None
    (tmp_path / name).write_text("ab")
    stamps.append(versions.stamp(tmp_path))
    os.utime(tmp_path / name, ns=(1, 1))
    stamps.append(versions.stamp(tmp_path))
    (tmp_path / "other").write_text("ab")
    os.utime(tmp_path / "other", ns=(1, 1))
    (tmp_path / "other").replace(tmp_path / name)
    stamps.append(versions.stamp(tmp_path))
    assert len(set(stamps)) == 4
    (tmp_path / name).unlink()
    assert versions.stamp(tmp_path) is None


def test_the_pin_chooses_and_else_the_setting(settings: Settings) -> None:
    """A pin is a readable file in the model's folder, whole at once; without it the setting's word stands."""
    assert versions.chosen_version(settings) == "3"
    for word in ("7", "12", "latest"):
        versions.pin(settings, word)
        assert versions.chosen_version(settings) == word
    (pin,) = settings.model_dir.iterdir()
    assert (pin.name, pin.read_text(), pin.stat().st_mode & 0o777) == ("PINNED", "latest\n", 0o644)
    versions.unpin(settings)
    versions.unpin(settings)
    assert versions.chosen_version(settings) == "3"


def test_the_pin_may_lie_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """Where a setting names its file, and there alone."""
    elsewhere = settings.model_copy(update={"pin_file": tmp_path / "elsewhere"})
    versions.pin(elsewhere, "7")
    assert (versions.chosen_version(elsewhere), versions.chosen_version(settings)) == ("7", "3")


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
        versions.chosen_version(settings)
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
        (versions.chosen_version if name == "PINNED" else versions.read_canary)(settings)
    assert str(refusal.value) == f"{name}: expected {found}"


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty", "/dev/stdin"])
def test_a_setting_may_name_no_device(settings: Settings, target: str) -> None:
    """A link that a setting names is followed, and what it leads to is a small file as well."""
    named = settings.model_copy(update={"pin_file": settings.model_dir / "chosen"})
    (settings.model_dir / "chosen").symlink_to(target)
    with pytest.raises(ModelError, match=r"^chosen: expected a re"):
        versions.chosen_version(named)


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
    first = versions.read_canary(named)
    assert (versions.chosen_version(named), first) == ("7", (9, None, first and first.written))
    swap("..2026_01_01_10_00_01.2", "8", "9 5")
    second = versions.read_canary(named)
    assert second is not None
    assert (versions.chosen_version(named), second[:2]) == ("8", (9, 5.0))


def test_the_models_folder_may_be_a_link(settings: Settings, tmp_path: Path) -> None:
    """A setting names it; what is in it is as it would be."""
    (tmp_path / "models" / "3").mkdir(parents=True)
    (tmp_path / "models" / "PINNED").write_text("3")
    (tmp_path / "link").symlink_to("models")
    linked = settings.model_copy(update={"model_dir": tmp_path / "link"})
    assert versions.numbers(linked.model_dir) == [3]
    assert versions.chosen_version(linked) == "3"


def test_what_is_no_folder_is_no_version(tmp_path: Path) -> None:
    """A link to a folder, which could lead elsewhere a moment later, a pipe, a link to nowhere."""
    (tmp_path / "2").mkdir()
    (tmp_path / "7").symlink_to("2")
    (tmp_path / "8").symlink_to("nowhere")
    os.mkfifo(tmp_path / "9")
    assert versions.numbers(tmp_path) == [2]


def test_a_folder_of_too_many_entries_is_told(tmp_path: Path) -> None:
    """It would be looked through twice a second."""
    for number in range(1, 10_002):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(ModelError) as refusal:
        versions.numbers(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: expected at most 10,000 entries, found more"
    (tmp_path / "7").rmdir()
    assert len(versions.numbers(tmp_path)) == 10_000


def test_what_stands_in_the_way_of_a_version_has_a_stamp(tmp_path: Path) -> None:
    """So that it is loaded once, and refused by name; what is not there has none."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    stamps = [versions.stamp(tmp_path / name) for name in ("link", "pipe")]
    assert len(set(stamps)) == 2
    assert None not in stamps
    assert versions.stamp(tmp_path / "folder") is versions.stamp(tmp_path / "nowhere") is None
    for name in versions.FILES:
        (tmp_path / "folder" / name).symlink_to("nowhere")
    assert versions.stamp(tmp_path / "folder") is not None


def test_an_unreadable_version_has_a_stamp() -> None:
    """And so is refused by name, where one that is only being copied is waited for."""
    with tempfile.TemporaryDirectory() as public:
        Path(public).chmod(0o755)
        (Path(public) / "7").mkdir(mode=0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may read whatever there is
        try:
            assert versions.stamp(Path(public) / "7") is not None
        finally:
            os.seteuid(user)
