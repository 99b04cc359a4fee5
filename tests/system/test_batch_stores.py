"""Batches of pictures in stores: a bucket of moto's S3 server, and a web server."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from tests.support import batch as support
from tests.support.batch import batch, rows, write
from tests.support.clients import CLIENTS
from tests.support.pictures import SEVEN, drawn, png
from tests.support.service import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE = png(drawn(100))
KEYS = [f"scans/{folder}/{n}.png" for folder in "ab" for n in range(40)]
pytest.importorskip("s3fs")
pytestmark = pytest.mark.skipif(not CLIENTS.exists(), reason="moto is in the environment of clients")


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """The environment in which there is a bucket: folders of pictures, and archives."""
    port = support.free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [CLIENTS, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            until(lambda: support.answers(url), "moto does not answer")
            httpx.put(f"{url}/box").raise_for_status()
            for key in KEYS:
                httpx.put(f"{url}/box/{key}", content=SEVEN).raise_for_status()
            others = {
                "scans/notes.txt": b"x",
                "scans/empty.png": b"",
                "scans/zz.png": ONE,
                "scans/large.png": bytes(5000),
            }
            for name, data in others.items():
                httpx.put(f"{url}/box/{name}", content=data).raise_for_status()
            yield {
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": url,
            }
        finally:
            server.terminate()


def test_a_folder_of_a_bucket(bucket: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is read once, in the order of the names; what is too large is not fetched; the command goes on."""
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "out"
    ended = batch("s3://box/scans", "--out", out, "--part-rows", 30, workers=2, max_body_bytes=4000)
    assert ended.returncode == 0, ended.stderr
    found = rows(out)
    expected = sorted([*KEYS, "scans/empty.png", "scans/zz.png", "scans/large.png"])
    assert [row["name"] for row in found] == [f"s3://box/{name}" for name in expected]
    by_name = {row["name"].rpartition("/")[2]: row for row in found}
    assert by_name["large.png"]["error"] == "The picture has 5,000 bytes; the limit is 4,000."
    assert by_name["empty.png"]["reason"] == "not_a_picture"
    assert by_name["zz.png"]["digit"] == 1
    assert {row["digit"] for row in found if row["name"].removeprefix("s3://box/") in KEYS} == {7}
    support.parts(out)[-1].unlink()
    assert batch("s3://box/scans", "--out", out, max_body_bytes=4000).returncode == 0
    assert rows(out) == found


def test_patterns_archives_and_what_is_missing(
    bucket: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pattern stands for what matches it; archives and Parquet files are read where they are."""
    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    noise = {f"{n}.png": png(np.random.default_rng(n).integers(0, 256, (200, 200), np.uint8)) for n in range(20)}
    files = {"a.png": SEVEN, "b.png": ONE} | noise
    made = {
        "a.tar.gz": support.tar(tmp_path / "a.tar.gz", files, "w:gz"),
        "b.zip": support.zipped(tmp_path / "b.zip", files),
        "c.parquet": support.parquet(tmp_path / "c.parquet", {"image": [*files.values()], "name": [*files]}),
    }
    for name, path in made.items():
        httpx.put(f"{bucket['AWS_ENDPOINT_URL']}/box/packed/{name}", content=path.read_bytes()).raise_for_status()
    assert batch("s3://box/packed/*", "--out", tmp_path / "out").returncode == 0
    found = rows(tmp_path / "out")
    assert [row["name"] for row in found] == [f"s3://box/packed/{each}/{name}" for each in made for name in files]
    assert [row["digit"] for row in found[:2]] == [7, 1]
    assert [row["probabilities"] for row in found[: len(files)]] * 3 == [row["probabilities"] for row in found]
    for words, code in (("s3://box/none", 2), ("s3://box/*.gif", 2), ("s3://none/x", 2)):
        ended = batch(words, "--out", tmp_path / "none")
        assert ended.returncode == code, ended.stderr
        assert ended.stderr.count("\n") == 1


def test_a_store_that_refuses_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage makes no error rows: exit code 4, and the same command goes on later."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{support.free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    ended = batch("s3://box/scans", "--out", tmp_path / "out")
    assert ended.returncode == 4
    assert ended.stderr.startswith("batch: s3://box/scans: ")
    assert ended.stderr.count("\n") == 1


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Sends files, and knows no ranges."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Lengthless(Quiet):
    """Does not say how large a file is, as programs that make their responses do not."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)


class Breaking(Quiet):
    """Breaks off in the middle of a file."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(5_000_000))


@contextlib.contextmanager
def web(folder: Path, kind: type[Quiet] = Quiet) -> Iterator[http.server.ThreadingHTTPServer]:
    """A web server of a folder."""
    handler = functools.partial(kind, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_files_of_a_web_server(tmp_path: Path) -> None:
    """A picture, an archive that is larger than a block, and a file that is not there."""
    folder = write(tmp_path / "in", {"a.png": SEVEN})
    support.tar(folder / "b.tar", {"x.png": ONE, "notes.txt": bytes(9_000_000), "y.png": SEVEN})
    with web(folder) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        assert batch(f"{url}/a.png", f"{url}/b.tar", "--out", tmp_path / "out").returncode == 0
        missing = batch(f"{url}/none.png", "--out", tmp_path / "none")
    assert [(row["name"], row["digit"]) for row in rows(tmp_path / "out")] == [
        (f"{url}/a.png", 7),
        (f"{url}/b.tar/x.png", 1),
        (f"{url}/b.tar/y.png", 7),
    ]
    assert missing.returncode == 4
    assert missing.stderr == f"batch: {url}/none.png: there is no such file, or its server does not answer\n"


def test_a_web_server_need_not_say_how_large_a_file_is(tmp_path: Path) -> None:
    """The file is read to its end, and no further than the limit."""
    folder = write(tmp_path / "in", {"a.png": SEVEN, "b.png": bytes(5000)})
    support.tar(folder / "c.tar", {"x.png": ONE})
    with web(folder, Lengthless) as server:
        urls = [f"http://127.0.0.1:{server.server_port}/{path.name}" for path in sorted(folder.iterdir())]
        ended = batch(*urls, "--out", tmp_path / "out", max_body_bytes=4000)
        assert ended.returncode == 0, ended.stderr
    found = rows(tmp_path / "out")
    assert [(row["digit"], row["reason"]) for row in found] == [(7, None), (None, "too_large"), (1, None)]


@pytest.mark.parametrize("name", ["in.tar", "in.zip"])
def test_an_outage_within_an_archive_is_no_damage(tmp_path: Path, name: str) -> None:
    """The batch ends with exit code 4 and no row of the archive's own; the same command goes on when it is over."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    files = {"x.png": SEVEN, "big.png": np.random.default_rng(0).bytes(7_000_000), "y.png": ONE}
    (support.tar if name == "in.tar" else support.zipped)(folder / name, files)
    with web(folder, Breaking) as server:
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        ended = batch(url, "--out", out)
        assert ended.returncode == 4, ended.stderr
        assert ended.stderr.startswith(f"batch: {url}: ")
        assert not [row for row in rows(out) if row["error"]]
        server.RequestHandlerClass = functools.partial(Quiet, directory=str(folder))
        if name == "in.tar":  # this server sends no parts of files, which a zip archive needs
            assert batch(url, "--out", out).returncode == 0
            assert [row["digit"] for row in rows(out)] == [7, None, 1]
