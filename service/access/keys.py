"""API keys, and the file that holds their hashes.

In: a file with a key's name, scopes and SHA-256 on each line, and perhaps `rate=` requests a second. Out: its entries,
or a `SettingsError` that names the line and never quotes it. It knows no request.

A key is 256 random bits, so one SHA-256 protects it as well as scrypt, which is for secrets that can be guessed (NIST
SP 800-63B: a hash is enough from 112 random bits on). And with a cheap hash, wrong keys cannot keep the service busy.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ("infer", "metrics", "admin")
MAX_KEYS = 1000  # each name is a label in the metrics
MAX_BYTES = 262_144  # of a file: the longest lines of all keys, and comments
FORM = re.compile(rb"mnist_[A-Za-z0-9_-]{43}")
NAME = r"[a-z0-9][a-z0-9_.-]{0,39}"
LINE = re.compile(rf"({NAME})\s+([a-z,]+)\s+sha256:([0-9a-f]{{64}})(?:\s+rate=(\d{{1,6}}(?:\.\d{{1,3}})?))?", re.ASCII)


class MissingFile(SettingsError):
    """The file of keys does not exist."""


@dataclass(frozen=True)
class Entry:
    """A line of the file: the key's name, scopes, SHA-256, and its requests a second, if limited."""

    name: str
    scopes: frozenset[str]
    digest: bytes
    rate: float | None


def digest(key: bytes) -> bytes | None:
    """Return the SHA-256 of a key; None for bytes that do not have the form of a key."""
    return hashlib.sha256(key).digest() if FORM.fullmatch(key) else None


def read(path: Path) -> list[Entry]:
    """Return the entries of a file. A name may occur twice, so that a key can be replaced without a gap."""
    try:
        lines = _content(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are no text"
        kind = MissingFile if isinstance(error, FileNotFoundError | NotADirectoryError) else SettingsError
        raise kind(f"MNIST_API_KEYS_FILE: {path}: expected a readable file, found {found}") from None
    texts = [(number, text.strip()) for number, text in enumerate(lines, 1)]
    entries = [_entry(path, number, text) for number, text in texts if text and not text.startswith("#")]
    if len(entries) > MAX_KEYS:
        raise SettingsError(f"MNIST_API_KEYS_FILE: {path}: expected at most {MAX_KEYS} keys, found {len(entries)}")
    return entries


def _content(path: Path) -> bytes:
    """Return the bytes of a regular file, perhaps behind a link; never wait, and never read without end."""
    if stat.S_ISREG(path.stat().st_mode):  # checked first: opening a device may have effects
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        if content is not None and len(content) <= MAX_BYTES:
            return content
    raise OSError(errno.EINVAL, f"what is no regular file of at most {MAX_BYTES:,} bytes")


def _entry(path: Path, number: int, text: str) -> Entry:
    entry = parse_entry(text)
    if entry is None:
        raise SettingsError(
            f"MNIST_API_KEYS_FILE: {path} line {number}: expected a line as `python -m service.keys new` prints it: "
            f"name, scopes (of {','.join(SCOPES)}), sha256:… and, where it is limited, rate=…"
        )
    return entry


def parse_entry(text: str) -> Entry | None:
    """Parse a line; None where it is not valid."""
    found = LINE.fullmatch(text)
    if found is None:
        return None
    scopes, rate = frozenset(found[2].split(",")), float(found[4]) if found[4] else None
    return None if rate == 0 or not scopes <= set(SCOPES) else Entry(found[1], scopes, bytes.fromhex(found[3]), rate)


def new(name: str, scopes: str, rate: str | None) -> tuple[str, str]:
    """Return a new key, which is stored nowhere, and its line for the file."""
    key = f"mnist_{secrets.token_urlsafe(32)}"
    line = f"{name} {scopes} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return key, line if rate is None else f"{line} rate={rate}"
