"""API keys, and the file that holds their hashes.

In: a file with a key's name, scopes and SHA-256 on each line, and optionally `rate=`, in requests a second, and
`expires=`, the key's last day. Out: its entries, or a `SettingsError` that names the line and never quotes it. It knows
no request.

A key is 256 random bits, so one SHA-256 protects it as well as scrypt, which is for secrets that can be guessed (NIST
SP 800-63B: a hash is enough from 112 random bits on). And with a cheap hash, wrong keys cannot keep the service busy.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

SCOPES = ("infer", "metrics", "admin")
MAX_KEYS = 1000  # each name is a label in the metrics
MAX_BYTES = 262_144  # of a file: the longest lines of all keys, and comments
FORM = re.compile(rb"mnist_[A-Za-z0-9_-]{43}")
NAME = r"[a-z0-9][a-z0-9_.-]{0,39}"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class MissingFile(SettingsError):
    """The file of keys does not exist."""


@dataclass(frozen=True)
class Entry:
    """A line of the file: the key's name, scopes, SHA-256, requests a second if limited, and last day in UTC if any."""

    name: str
    scopes: frozenset[str]
    digest: bytes
    rate: float | None = None
    expires: date | None = None

    def ends(self) -> float:
        """Return when the key expires, in seconds since 1970."""
        return math.inf if self.expires is None else datetime.combine(self.expires, time.max, UTC).timestamp()


def digest(key: bytes) -> bytes | None:
    """Return the SHA-256 of a key; None for bytes that do not have the form of a key."""
    return hashlib.sha256(key).digest() if FORM.fullmatch(key) else None


def read(path: Path) -> list[Entry]:
    """Return the entries of a file. A name may occur twice, so that a key can be replaced without a gap."""
    entries = []
    for number, parsed in parse_lines(path):
        if isinstance(parsed, ValueError):
            raise SettingsError(f"MNIST_API_KEYS_FILE: {path} line {number}: {parsed}")
        entries.append(parsed)
    if len(entries) > MAX_KEYS:
        raise SettingsError(f"MNIST_API_KEYS_FILE: {path}: expected at most {MAX_KEYS} keys, found {len(entries)}")
    return entries


def parse_lines(path: Path) -> list[tuple[int, Entry | ValueError]]:
    """Return each line's number, with its entry or its error; raises `SettingsError` if the file cannot be read."""
    try:
        lines = _content(path).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "bytes that are no text"
        kind = MissingFile if isinstance(error, FileNotFoundError | NotADirectoryError) else SettingsError
        raise kind(f"MNIST_API_KEYS_FILE: {path}: expected a readable file, found {found}") from None
    texts = [(number, text.strip()) for number, text in enumerate(lines, 1)]
    return [(number, _try_parse(text)) for number, text in texts if text and not text.startswith("#")]


def _content(path: Path) -> bytes:
    """Return the bytes of a regular file, perhaps behind a link; never wait, and never read without end."""
    if stat.S_ISREG(path.stat().st_mode):  # checked first: opening a device may have effects
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        if content is not None and len(content) <= MAX_BYTES:
            return content
    raise OSError(errno.EINVAL, f"something that is not a regular file of at most {MAX_BYTES:,} bytes")


def _try_parse(text: str) -> Entry | ValueError:
    try:
        return parse_entry(text)
    except ValueError as error:
        return error


def parse_entry(text: str) -> Entry:
    """Parse a line; raises `ValueError` with what was expected, and quotes nothing, since a line may hold a key."""
    words = text.split()
    name, scopes, digest = [*words, "", "", ""][:3]
    if not re.fullmatch(NAME, name):
        raise ValueError(f"expected a name like {NAME} as its first word")
    if not set(scopes.split(",")) <= set(SCOPES):
        raise ValueError(f"expected scopes of {','.join(SCOPES)} as its second word")
    if not DIGEST.fullmatch(digest):
        raise ValueError("expected sha256: and 64 digits of 0-9a-f as its third word")
    rate = expires = None
    for option in words[3:]:
        match option.partition("="):
            case "rate", "=", number if rate is None:
                rate = _rate(number)
            case "expires", "=", day if expires is None:
                expires = _date(day)
            case _:
                raise ValueError("expected nothing but rate=… and expires=… after its third word, each once")
    return Entry(name, frozenset(scopes.split(",")), bytes.fromhex(digest.removeprefix("sha256:")), rate, expires)


def _rate(text: str) -> float:
    if not RATE.fullmatch(text) or not float(text):
        raise ValueError("expected rate= and a number over 0, below a million and with at most three decimals")
    return float(text)


def _date(text: str) -> date:
    with contextlib.suppress(ValueError):  # 2027-02-30
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    raise ValueError("expected expires= and a date like 2027-01-31")


def new(name: str, scopes: str, rate: str | None, expires: str | None = None) -> tuple[str, str]:
    """Return a new key, which is stored nowhere, and its line for the file."""
    key = f"mnist_{secrets.token_urlsafe(32)}"
    line = f"{name} {scopes} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    options = {"rate": rate, "expires": expires}
    return key, " ".join([line, *(f"{option}={value}" for option, value in options.items() if value is not None)])
