"""Inputs of a batch, of every kind, good and hostile: their names, order and contents."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from service.batch import archives
from service.batch.entries import MAX_NAME, Names, Reading
from service.batch.feeder import _blocks, _contents
from service.batch.inputs import entries, expand
from service.codec.body import Numbers
from service.errors import ServiceError, SettingsError
from tests.support import batch as support
from tests.support.pictures import SEVEN, drawn, png

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 100_000
ONE = png(drawn(40))
FILES = {"b/2.png": SEVEN, "a.PNG": ONE, "b/1.jpg": b"jpeg", "b/notes.txt": b"x", "z.png": b""}
PICTURES = {name: data for name, data in FILES.items() if not name.endswith(".txt")}
ROWS = np.frombuffer(bytes(range(256)) * 4, np.uint8)[:784]


def read(*words: object, **options: Any) -> dict[str, Any]:
    """What a batch reads: pictures' bytes, pixels or the errors' details by name, in order; each name is there once."""
    reading = Reading(LIMIT, options.get("column"), options.get("name_column"))
    found = list(_contents(entries(expand([str(word) for word in words]), reading)))
    assert len(dict(found)) == len(found)
    return {name: content.detail if isinstance(content, ServiceError) else content for name, content in found}


def within(name: object, files: Mapping[str, bytes]) -> dict[str, Any]:
    return {f"{name}/{each}": data for each, data in files.items()}


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    """Folders are read where their names stand; other files are passed over."""
    folder = support.write(tmp_path / "in", FILES)
    found = read(f"{folder}/")
    assert found == within(folder, PICTURES)
    assert list(found) == [f"{folder}/{name}" for name in ("a.PNG", "b/1.jpg", "b/2.png", "z.png")]


def test_folders_may_be_nested_as_deep_as_a_path_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that lies deeper is an error of its own; what is behind it is read."""
    folder = support.write(tmp_path / "in", {"z.png": SEVEN})
    monkeypatch.chdir(folder)
    try:
        for depth in range(2100):
            if depth == 1500:
                Path("a.png").write_bytes(ONE)
            Path("d").mkdir()
            os.chdir("d")
        found = list(read(folder).values())
    finally:
        subprocess.run(["rm", "-r", folder / "d"], check=True)  # Python's own way ends at a depth of 1,000
    assert found == [ONE, "The folder cannot be read: File name too long.", SEVEN]


def test_words_name_files_patterns_and_urls(tmp_path: Path) -> None:
    """A file that is named is read whatever it is called; a pattern stands for what matches it, in order."""
    folder = support.write(tmp_path / "in", FILES)
    assert read(folder / "b/notes.txt") == {f"{folder}/b/notes.txt": b"x"}
    assert list(read(f"{folder}/b/*.png", f"{folder}/*.PNG")) == [f"{folder}/b/2.png", f"{folder}/a.PNG"]
    assert read(f"file://{folder}/a.PNG") == {f"{folder}/a.PNG": ONE}
    assert list(read(f"{folder}/[ab]*")) == [f"{folder}/a.PNG", f"{folder}/b/1.jpg", f"{folder}/b/2.png"]


def test_patterns_of_folders_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`**` stands for any folders but hidden ones, and follows no link, which may go in circles."""
    files = dict.fromkeys(("x.png", "a/x.png", "a/[b]/x.png", "a/[b]/c/x.png", "a/[b]/c/x.gif", ".d/x.png"), SEVEN)
    folder = support.write(tmp_path / "in", files)
    for name in ("one", "two", "three"):
        (folder / name).symlink_to(folder)
    every = ["a/[b]/c/x.png", "a/[b]/x.png", "a/x.png", "x.png"]
    assert expand([f"{folder}/**/*.png"]) == [f"{folder}/{name}" for name in every]
    assert expand([f"{folder}/**/c/**/*.png"]) == [f"{folder}/a/[b]/c/x.png"]
    assert expand([f"{tmp_path}/i*/**/c/x.*"]) == [f"{folder}/a/[b]/c/x.gif", f"{folder}/a/[b]/c/x.png"]
    assert expand([f"{folder}/one/**/c/x.gif"]) == [f"{folder}/one/a/[b]/c/x.gif"]
    monkeypatch.chdir(folder)
    assert expand(["**/*.png"]) == every
    assert expand(["./a/**/x.gif"]) == ["a/[b]/c/x.gif"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{0}/none"], "none: there is no such file or folder"),
        (["{0}/*.gif"], "*.gif: there is no such file or folder"),
        (["{0}", "{0}/b"], "/b: its pictures are given twice, as"),
        (["{0}/b", "{0}"], "/b: its pictures are given twice, as"),
        (["{0}/a.PNG", "{0}/../in/a.PNG"], "a.PNG: its pictures are given twice"),
        (["{0}/link"], ""),
        (["ftp://host/a.png"], "ftp://host/a.png: expected a path, or a URL that begins with s3://, gs://, https://"),
        (["zip://a.png::s3://bucket/a.zip"], "expected a path, or a URL that begins with"),
    ],
)
def test_words_that_name_nothing_or_the_same_twice(tmp_path: Path, words: list[str], sentence: str) -> None:
    folder = support.write(tmp_path / "in", FILES)
    (folder / "link").symlink_to(folder / "a.PNG")
    inputs = [word.format(folder) for word in words]
    if not sentence:
        assert read(*inputs) == {f"{folder}/link": ONE}
        return
    with pytest.raises(SettingsError, match=sentence.replace("*", r"\*").replace(".", r"\.")):
        read(*inputs)


def test_what_is_no_file_in_a_folder(tmp_path: Path) -> None:
    """Pipes and dead links are errors of their own; links to folders, which could go in circles, are passed over."""
    folder = support.write(tmp_path / "in", {"a.png": SEVEN})
    os.mkfifo(folder / "pipe.png")
    (folder / "dead.png").symlink_to(folder / "none")
    (folder / "circle").symlink_to(folder)
    (folder / os.fsdecode(b"\xff.png")).write_bytes(ONE)
    (folder / "large.png").write_bytes(bytes(LIMIT + 1))
    assert read(folder) == within(
        folder,
        {
            "a.png": SEVEN,
            "dead.png": "The file cannot be read: No such file or directory.",  # type: ignore[dict-item]
            "large.png": "The picture has 100,001 bytes; the limit is 100,000.",  # type: ignore[dict-item]
            "pipe.png": "The file cannot be read: it is a folder, a pipe or a device.",  # type: ignore[dict-item]
            "\\udcff.png": ONE,
        },
    )


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_archives(tmp_path: Path, mode: str) -> None:
    """Pictures are read in the archive's order; what is no file, or no picture by its name, is passed over."""
    path = support.tar(tmp_path / ("in.tar.gz" if mode == "w:gz" else "in.tar"), FILES, mode)
    found = read(path)
    assert found == within(path, PICTURES)
    assert list(found) == [f"{path}/{name}" for name in PICTURES]
    assert read(tmp_path) == within(path, PICTURES)


def test_zip_archives(tmp_path: Path) -> None:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path = support.zipped(tmp_path / "in.zip", FILES, method)
        assert read(path) == within(path, PICTURES)


def test_names_in_one_file_are_made_unique() -> None:
    """Also those that look like the unique ones, very long ones, and very many."""
    names = Names("a.tar")
    assert [names.add(name) for name in ("x", "x", "x#2", "x", "x#2")] == [
        "a.tar/x",
        "a.tar/x#2",
        "a.tar/x#2#2",
        "a.tar/x#3",
        "a.tar/x#2#3",
    ]
    long = [names.add("y" * 5000), names.add("y" * 4999 + "z"), names.add("y" * 5000)]
    assert len(set(long)) == 3
    assert max(map(len, long)) < MAX_NAME + 30
    assert len({names.add("again") for _ in range(20_000)}) == 20_000


def header(kind: bytes, size: int, name: str = "a.png") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def bad_tars() -> dict[str, tuple[bytes, str]]:
    """By name: an archive that begins with a good picture, and what is said about the rest."""
    good = io.BytesIO()
    with tarfile.open(fileobj=good, mode="w") as archive:
        member = tarfile.TarInfo("good.png")
        member.size = len(SEVEN)
        archive.addfile(member, io.BytesIO(SEVEN))
    start = good.getvalue()[: 512 + -(-len(SEVEN) // 512) * 512]
    return {
        "without an end": (start, "it ends without its end mark, and may be cut off"),
        "with garbage": (start + b"garbage " * 64, "no header at byte"),
        "long name of 8 GiB": (start + header(tarfile.GNUTYPE_LONGNAME, 2**33), "a header of 8,589,934,592 bytes"),
        "pax header of 8 GiB": (start + header(tarfile.XHDTYPE, 2**33) + bytes(2**20), "a header of 8,589,934,592"),
        "picture with holes": (start + header(tarfile.GNUTYPE_SPARSE, 10), "a file with holes"),
        "a file of 4 EiB": (start + header(tarfile.REGTYPE, 2**62, "notes.txt"), "unexpected end of data"),
        "cut off in a picture": (start + header(tarfile.REGTYPE, 5000) + bytes(600), "unexpected end of data"),
    }


@pytest.mark.parametrize("name", bad_tars())
def test_damaged_and_hostile_tar_archives(tmp_path: Path, name: str) -> None:
    """What is before the damage is read, and one error says where the archive ends."""
    data, sentence = bad_tars()[name]
    path = tmp_path / "in.tar"
    path.write_bytes(data)
    found = read(path)
    assert found.pop(f"{path}/good.png") == SEVEN
    assert sentence in found.pop(str(path))
    assert found in ({}, {f"{path}/a.png": "The picture is damaged in its archive, or cut off."})


def test_archives_that_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb of gzip ends at the limit for its size; its too large member is an error, and so are lying headers."""
    monkeypatch.setattr(archives, "SMALL", 10_000_000)
    monkeypatch.setattr(archives, "MAX_RATIO", 2)
    path = support.tar(tmp_path / "bomb.tar.gz", {"a.png": SEVEN, "b.png": bytes(20_000_000), "c.png": SEVEN}, "w:gz")
    found = read(path)
    assert found[f"{path}/a.png"] == SEVEN
    assert found[f"{path}/b.png"] == "The picture has 20,000,000 bytes; the limit is 100,000."
    assert "unpacks to more than 10,000,000 bytes" in found[str(path)]
    assert len(found) == 3
    many = support.zipped(tmp_path / "many.zip", {f"{n}.png": bytes(99_000) for n in range(120)})
    found = read(many)
    assert "unpacks to more than 10,000,000 bytes" in found[str(many)]
    assert len(found) == 102


def test_gzip_that_is_cut_off_or_damaged(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(90_000)
    path = support.tar(tmp_path / "in.tgz", {"a.png": SEVEN, "b.png": noise, "c.png": SEVEN}, "w:gz")
    data = path.read_bytes()
    for bad in (data[:-40_000], data[:50_000] + b"x" * 100 + data[50_100:], gzip.compress(b""), b"no gzip"):
        path.write_bytes(bad)
        found = read(path)
        assert "The archive is damaged" in found[str(path)]
        assert f"{path}/c.png" not in found


def test_members_of_a_zip_that_cannot_be_read(tmp_path: Path) -> None:
    """Each is an error of its own: too large, encrypted, packed otherwise, damaged, or with a header that lies."""
    path = support.zipped(tmp_path / "in.zip", {"a.png": SEVEN, "big.png": bytes(LIMIT + 1), "z.png": ONE})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("lzma.png", SEVEN, zipfile.ZIP_LZMA)
        archive.writestr("bzip2.png", bytes(10_000), zipfile.ZIP_BZIP2)
        archive.writestr("encrypted.png", SEVEN)
        archive.writestr("lies.png", bytes(90_000), zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"encrypted.png"))
    data[entry + 8] |= 1
    entry = data.rindex(b"PK\1\2", 0, data.rindex(b"lies.png"))
    data[entry + 24 : entry + 28] = struct.pack("<I", 10)  # unpacked bytes
    path.write_bytes(data)
    other = "The picture is packed in its archive by another method than deflate; pack it again."
    assert read(path) == within(
        path,
        {
            "a.png": SEVEN,
            "big.png": "The picture has 100,001 bytes; the limit is 100,000.",  # type: ignore[dict-item]
            "z.png": ONE,
            "lzma.png": other,  # type: ignore[dict-item]
            "bzip2.png": other,  # type: ignore[dict-item]
            "encrypted.png": "The picture is encrypted in its archive; unpack it first.",  # type: ignore[dict-item]
            "lies.png": "The picture is damaged in its archive, or its header there is wrong.",  # type: ignore[dict-item]
        },
    )


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar.gz", "c.zip", "d.parquet"):
        (tmp_path / name).write_bytes(b"no archive, and no Parquet file" * 100)
    found = read(tmp_path)
    assert list(found) == [str(tmp_path / name) for name in ("a.tar", "b.tar.gz", "c.zip", "d.parquet")]
    assert all(" is damaged: " in detail for detail in found.values())


COLUMNS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "bytes": ({"image": [SEVEN, ONE]}, {}),
    "bytes among others": ({"label": [7, 1], "other": [b"", b""], "picture": [SEVEN, ONE]}, {}),
    "a named column": ({"one": [b"x", b"y"], "two": [SEVEN, ONE]}, {"column": "two"}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_parquet_files_with_bytes(tmp_path: Path, kind: str) -> None:
    """The column of pictures is the only possible one, or has a usual name, or is named; rows have numbers."""
    columns, options = COLUMNS[kind]
    path = support.parquet(tmp_path / "in.parquet", columns)
    assert read(path, **options) == {f"{path}/0": SEVEN, f"{path}/1": ONE}


def test_parquet_files_with_names(tmp_path: Path) -> None:
    """From a column, or from the path that is beside the bytes, as the datasets library has it."""
    named = support.parquet(tmp_path / "named.parquet", {"image": [SEVEN, ONE, SEVEN], "name": ["a", None, "a"]})
    assert read(named) == {f"{named}/a": SEVEN, f"{named}/1": ONE, f"{named}/a#2": SEVEN}
    numbered = support.parquet(tmp_path / "id.parquet", {"image": [SEVEN, ONE], "id": [10, 11]})
    assert read(numbered, name_column="id") == {f"{numbered}/10": SEVEN, f"{numbered}/11": ONE}
    assert read(numbered, name_column="key") == {str(numbered): "The Parquet file has no column key."}
    structs = [{"bytes": SEVEN, "path": "x.png"}, {"bytes": ONE, "path": None}, None, {"bytes": None, "path": "y.png"}]
    path = support.parquet(tmp_path / "hub.parquet", {"image": structs, "label": [7, 1, 0, 0]})
    missing = "The row has no picture."
    assert read(path) == {f"{path}/x.png": SEVEN, f"{path}/1": ONE, f"{path}/2": missing, f"{path}/y.png": missing}


def test_parquet_files_with_pixels(tmp_path: Path) -> None:
    """784 numbers as a list, or as bytes that are no picture; other lists are errors of their rows."""
    pixels = ROWS.tolist()
    kinds = {
        "lists": pa.array([pixels], pa.list_(pa.uint8())),
        "fixed": pa.array([pixels], pa.list_(pa.uint8(), 784)),
        "wide": pa.array([pixels], pa.list_(pa.int64())),
        "bytes": pa.array([ROWS.tobytes()], pa.binary(784)),
    }
    for name, column in kinds.items():
        path = support.parquet(tmp_path / f"{name}.parquet", {"pixels": column})
        assert read(path) == {f"{path}/0": Numbers(ROWS.tobytes())}, name
    wrong = [[1, 2], [*pixels[1:], 256], [*pixels[1:], None]]
    path = support.parquet(tmp_path / "wrong.parquet", {"pixels": wrong})
    others = "Expected 784 whole numbers from 0 to 255; found others among them."
    assert list(read(path).values()) == ["Expected 784 numbers; found a list of 2.", others, others]


def test_parquet_files_without_a_column_of_pictures(tmp_path: Path) -> None:
    none = support.parquet(tmp_path / "none.parquet", {"label": [1, 2]})
    two = support.parquet(tmp_path / "two.parquet", {"one": [b"x"], "two": [b"y"]})
    for path, names in ((none, "label"), (two, "one, two")):
        (detail,) = read(path).values()
        assert detail == (
            "The Parquet file has no column, or several, that may hold pictures; --column names one of: " + names + "."
        )
    (detail,) = read(two, column="three").values()
    assert detail == "The Parquet file has no column three; --column names one of: one, two."


def test_damaged_parquet_files(tmp_path: Path) -> None:
    """Changed bytes are an error of the file, or of rows: whatever is read, nothing else comes of it."""
    noise = np.random.default_rng(0)
    path = support.parquet(tmp_path / "in.parquet", {"image": [SEVEN, ONE] * 50, "name": [str(n) for n in range(100)]})
    good = path.read_bytes()
    damaged = 0
    for _ in range(100):
        data = bytearray(good)
        for _ in range(3):
            data[int(noise.integers(len(data)))] = int(noise.integers(256))
        path.write_bytes(data)
        damaged += str(path) in read(path)
    assert damaged > 50


def test_blocks_are_bounded() -> None:
    """By the number of pictures, and by their bytes."""
    small = list(_blocks((str(n), b"x") for n in range(300)))
    assert [len(block.names) for block in small] == [128, 128, 44]
    large = list(_blocks((str(n), bytes(700_000)) for n in range(7)))
    assert [len(block.names) for block in large] == [3, 3, 1]
