"""The versions in a folder, through `service.versions`: which are there, which is chosen, and what a change is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from service import versions
from service.errors import ModelError
from service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


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
    assert versions.chosen(settings) == "3"
    for word in ("7", "12", "latest"):
        versions.pin(settings, word)
        assert versions.chosen(settings) == word
    (pin,) = settings.model_dir.iterdir()
    assert (pin.name, pin.read_text(), pin.stat().st_mode & 0o777) == ("PINNED", "latest\n", 0o644)
    versions.unpin(settings)
    versions.unpin(settings)
    assert versions.chosen(settings) == "3"


def test_the_pin_may_lie_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """Where a setting names its file, and there alone."""
    elsewhere = settings.model_copy(update={"pin_file": tmp_path / "elsewhere"})
    versions.pin(elsewhere, "7")
    assert (versions.chosen(elsewhere), versions.chosen(settings)) == ("7", "3")


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
        versions.chosen(settings)
    assert str(refusal.value) == f"PINNED: expected {found}"
