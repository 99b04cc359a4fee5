"""Batches without a server: the command in a process, its rows, and pictures of many kinds."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support import hostile_bodies
from tests.support.formats import encode
from tests.support.pictures import SEVEN, drawn, png
from tests.support.service import MODELS, ROOT, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.pictures import Digits


def environment(**settings: Any) -> dict[str, str]:
    chosen = {"model_dir": MODELS, "model_version": VERSION} | settings
    return os.environ | {f"MNIST_{name.upper()}": str(value) for name, value in chosen.items()}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "service", "batch", *map(str, words)]


def batch(*words: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """A batch, to its end."""
    return subprocess.run(
        command(*words), cwd=ROOT, env=environment(**settings), capture_output=True, text=True, timeout=300, check=False
    )


@contextlib.contextmanager
def starting(*words: object, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A batch that goes on beside the test; in the end it is killed with all of its processes."""
    with subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def rows(out: Path) -> list[dict[str, Any]]:
    """The rows of all parts, in order."""
    return [row for part in parts(out) for row in pq.read_table(part).to_pylist()]


def by_name(out: Path, below: Path) -> dict[str, dict[str, Any]]:
    """The rows by name, without the folder that they are in."""
    return {row["name"].removeprefix(f"{below}/"): row for row in rows(out)}


def pictures(digits: Digits) -> dict[str, bytes]:
    """Small and large pictures in several formats, without ink, damaged, and hostile."""
    large = Image.fromarray(drawn(1200))
    return {
        **{f"mnist/{number}.png": png(digits.images[number]) for number in range(40)},
        "dark/seven.png": SEVEN,
        "dark/large.jpg": encode(large, "JPEG"),
        "dark/large.webp": encode(large, "WEBP"),
        "dark/large.tif": encode(large, "TIFF"),
        "dark/small.gif": encode(Image.fromarray(drawn(64)), "GIF"),
        "blank.png": png(drawn(200) * 0 + 255),
        "cut.png": SEVEN[:-20],
        "cut.jpg": encode(large, "JPEG")[:2000],
        "text.png": b"no picture",
        "tiny.png": png(drawn(5)[:1, :1]),
        **{
            f"bombs/{name.replace('/', '_')}.png": body.content
            for name, body in hostile_bodies.bombs().items()
            if body.path == hostile_bodies.PREDICT and body.headers is None
        },
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """A folder of files."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tar(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def parquet(path: Path, columns: Mapping[str, Any]) -> Path:
    pq.write_table(pa.table(dict(columns)), path)
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    """Whether a server answers, whatever it says."""
    try:
        return httpx.get(url) is not None
    except httpx.TransportError:
        return False
