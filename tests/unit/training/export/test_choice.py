"""`training.export.choice`: the version that services choose, as the service itself says."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from service.errors import ModelError
from service.model import layout
from service.settings import Settings
from service.versions import choice as service
from training.errors import ChoiceError
from training.export import choice as training

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTHING: dict[str, bytes] = {}
PINS = [None, b"latest", b"2\n", b" 9 ", b"77", b"", b"02", b"newest", b"2 3", b"\xff", b"2" + b" " * 80]
CANARIES = [None, b"9 held", b"9 10", b"9 12.5\n", b"2 0", b"9 100", b"9 099", b"9 101", b"9 100.5", b"9", b"held", b""]
LISTS = [
    None,
    b"9\n",
    b"9\n101\n",
    b"1 2\r\n 9",
    b"",
    b"\n",
    b"9,2",
    b"009",
    b"nine",
    b"9\n" * 40_000,
    b"\xff",
    b"1234567890",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Versions 1, 2, 9 and 101, of which the last one is not whole; and what is no version."""
    for number in (1, 2, 9, 101):
        (tmp_path / str(number)).mkdir()
        for name in training.FILES:
            (tmp_path / str(number) / name).touch()
    (tmp_path / "101" / "golden.npz").unlink()
    (tmp_path / "300").symlink_to("2")
    (tmp_path / "0400").mkdir()
    (tmp_path / "500").touch()
    return tmp_path


def write(folder: Path, contents: Mapping[str, bytes | None]) -> None:
    for name, content in contents.items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)


def chosen_by_the_service(folder: Path) -> int | str | None:
    """The number, None where `latest` means none, or the name of the file that cannot be read."""
    settings = Settings.model_validate({"model_dir": folder})
    try:
        word = service.chosen_version(settings)
        candidates = service.latest_candidates(settings)
    except ModelError as error:
        return str(error).partition(":")[0]
    whole = [number for number in candidates if layout.stamp(folder / str(number)) is not None]
    return int(word) if word != layout.LATEST else next(iter(whole), None)


def chosen_by_training(folder: Path) -> int | str | None:
    try:
        return training.chosen_version(folder)
    except ChoiceError as error:
        return str(error).partition(":")[0].rpartition("/")[2]


@pytest.mark.parametrize("pin", PINS)
def test_both_sides_choose_the_same(folder: Path, pin: bytes | None) -> None:
    """Whatever stands in the three files: the same version, or the same file is refused."""
    found = set()
    for canary, held in itertools.product(CANARIES, LISTS):
        write(folder, {"PINNED": pin, "CANARY": canary, "HELD": held})
        found.add(chosen := chosen_by_training(folder))
        assert chosen == chosen_by_the_service(folder), (canary, held)
    assert (len(found) > 1) == (pin in PINS[:5])


@pytest.mark.parametrize("name", ["PINNED", "CANARY", "HELD"])
def test_both_sides_refuse_what_is_no_file(folder: Path, name: str) -> None:
    """A link, a pipe and a folder are refused, and nobody waits for one."""
    path = folder / name
    path.symlink_to("1/model.json")
    assert chosen_by_training(folder) == chosen_by_the_service(folder) == name
    path.unlink()
    os.mkfifo(path)
    assert chosen_by_training(folder) == chosen_by_the_service(folder) == name
    path.unlink()
    path.mkdir()
    assert chosen_by_training(folder) == chosen_by_the_service(folder) == name


def test_both_sides_read_the_list_that_the_other_writes(folder: Path) -> None:
    """The same numbers, in the same bytes."""
    settings = Settings.model_validate({"model_dir": folder})
    training.write_held(folder, {9, 101, 2})
    assert service.read_held(settings) == {2, 9, 101}
    written = (folder / "HELD").read_bytes()
    service.hold(settings, 7)
    service.release(settings, 7)
    assert (folder / "HELD").read_bytes() == written
    assert training.read_held(folder) == {2, 9, 101}
    training.write_held(folder, set())
    assert not (folder / "HELD").exists()


def test_a_version_may_count_as_missing(folder: Path) -> None:
    """As that of a run which is resumed does; where there is no folder yet, no version is chosen."""
    assert training.chosen_version(folder) == 9
    assert training.chosen_version(folder, ignoring=9) == 2
    write(folder, {"PINNED": b"9"})
    assert training.chosen_version(folder, ignoring=9) == 2
    assert training.chosen_version(folder, ignoring=2) == 9
    assert training.chosen_version(folder / "none") is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (NOTHING, NOTHING),
        ({"HELD": b"2\n9\n"}, {"HELD": b"2\n"}),
        ({"HELD": b"9\n"}, NOTHING),
        ({"PINNED": b"2\n"}, {"PINNED": b"9\n"}),
        ({"PINNED": b"latest\n"}, {"PINNED": b"latest\n"}),
        ({"CANARY": b"9 10\n"}, {"CANARY": b"9 10\n", "PINNED": b"9\n"}),
    ],
)
def test_a_promoted_version_is_chosen(folder: Path, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """By `latest` where that means it, or else by the pin."""
    write(folder, before)
    training.promote(folder, 9)
    names = ("PINNED", "CANARY", "HELD")
    assert {name: (folder / name).read_bytes() for name in names if (folder / name).exists()} == after
    assert training.chosen_version(folder) == chosen_by_the_service(folder) == 9
