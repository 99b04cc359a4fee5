"""The versions in a model's folder, through `service.model.layout`: which are there, and what a change is."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from service.errors import ModelError
from service.model import layout


def test_versions_are_folders_named_by_numbers(tmp_path: Path) -> None:
    """Highest first, by number; other names, and files, are none."""
    for name in ("2", "10", "0", "01", "1.5", "x1", "1x", ".2", "1" * 10):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    assert layout.numbers(tmp_path) == [10, 2]


def test_a_folder_without_versions_is_told_by_its_path(tmp_path: Path) -> None:
    """What was expected, and what was found."""
    with pytest.raises(ModelError) as refusal:
        layout.numbers(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: expected numbered version folders (1, 2, …), found none"
    with pytest.raises(ModelError) as refusal:
        layout.numbers(tmp_path / "x")
    assert str(refusal.value) == f"{tmp_path}/x: expected a folder of model versions, found No such file or directory"


@pytest.mark.parametrize("name", layout.FILES)
def test_a_stamp_changes_with_each_file(tmp_path: Path, name: str) -> None:
    """Another length, time or file is another stamp; none while a file is missing."""
    for file in layout.FILES:
        (tmp_path / file).write_text("a")
    stamps = [layout.stamp(tmp_path), layout.stamp(tmp_path)]
    assert stamps[0] == stamps[1] is not None
    (tmp_path / name).write_text("ab")
    stamps.append(layout.stamp(tmp_path))
    os.utime(tmp_path / name, ns=(1, 1))
    stamps.append(layout.stamp(tmp_path))
    (tmp_path / "other").write_text("ab")
    os.utime(tmp_path / "other", ns=(1, 1))
    (tmp_path / "other").replace(tmp_path / name)
    stamps.append(layout.stamp(tmp_path))
    assert len(set(stamps)) == 4
    (tmp_path / name).unlink()
    assert layout.stamp(tmp_path) is None


def test_what_is_no_folder_is_no_version(tmp_path: Path) -> None:
    """A link to a folder, which could lead elsewhere a moment later, a pipe, a link to nowhere."""
    (tmp_path / "2").mkdir()
    (tmp_path / "7").symlink_to("2")
    (tmp_path / "8").symlink_to("nowhere")
    os.mkfifo(tmp_path / "9")
    assert layout.numbers(tmp_path) == [2]


def test_a_folder_of_too_many_entries_is_told(tmp_path: Path) -> None:
    """It would be looked through twice a second."""
    for number in range(1, 10_002):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(ModelError) as refusal:
        layout.numbers(tmp_path)
    assert str(refusal.value) == f"{tmp_path}: expected at most 10,000 entries, found more"
    (tmp_path / "7").rmdir()
    assert len(layout.numbers(tmp_path)) == 10_000


def test_what_stands_in_the_way_of_a_version_has_a_stamp(tmp_path: Path) -> None:
    """So that it is loaded once, and refused by name; what is not there has none."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    os.mkfifo(tmp_path / "pipe")
    stamps = [layout.stamp(tmp_path / name) for name in ("link", "pipe")]
    assert len(set(stamps)) == 2
    assert None not in stamps
    assert layout.stamp(tmp_path / "folder") is layout.stamp(tmp_path / "nowhere") is None
    for name in layout.FILES:
        (tmp_path / "folder" / name).symlink_to("nowhere")
    assert layout.stamp(tmp_path / "folder") is not None


def test_an_unreadable_version_has_a_stamp() -> None:
    """And so is refused by name, where one that is only being copied is waited for."""
    with tempfile.TemporaryDirectory() as public:
        Path(public).chmod(0o755)
        (Path(public) / "7").mkdir(mode=0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may read whatever there is
        try:
            assert layout.stamp(Path(public) / "7") is not None
        finally:
            os.seteuid(user)
