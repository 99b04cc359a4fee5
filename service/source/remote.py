"""A source of versions, seen from here: it lists names, and hands out files.

In: the address of a source, as `service.settings` has checked it. Out: which versions it offers, and the bytes of their
files, never more than a limit. Names that are no version are passed over. A source may send anything: its bytes count
for nothing until `service.source.pull` has verified them. This module writes no file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import ModelError
from ..model.layout import MAX_ENTRIES, NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE = ".sig"  # after a version's number: its signature, beside its folder
SILENT_SECONDS = 15.0  # without a byte from the source, until a request is given up


class Offer(NamedTuple):
    """What a source offers: numbers of versions, highest first, and those that are signed."""

    versions: list[int]
    signed: set[int]

    @classmethod
    def of(cls, names: Iterable[str]) -> Offer:
        """Return the offer of a folder with these names in it; raises `ModelError` where there are too many."""
        versions: set[int] = set()
        signed: set[int] = set()
        for count, name in enumerate(names, start=1):
            if count > MAX_ENTRIES:
                raise ModelError(f"expected at most {MAX_ENTRIES:,} entries, found more")
            if re.fullmatch(NUMBER, name):
                versions.add(int(name))
            elif re.fullmatch(NUMBER + re.escape(SIGNATURE), name):
                signed.add(int(name.removesuffix(SIGNATURE)))
        return cls(sorted(versions, reverse=True), signed)


class Remote(Protocol):
    """A source. Its methods raise what its library raises."""

    def offer(self) -> Offer:
        """Return what there is now."""

    def read(self, number: int, name: str, limit: int) -> bytes:
        """Return a file of a version; raises `FileNotFoundError`, and `ModelError` for more than `limit` bytes."""

    def read_signature(self, number: int, limit: int) -> bytes:
        """Return the signature of a version, as `read`."""


def open_remote(address: str) -> Remote:
    """Return the source at an address; only the library of its scheme is imported."""
    scheme = address.partition("://")[0]
    if scheme in {"http", "https"}:
        from .web import Web  # noqa: PLC0415 - see above

        return Web(address)
    if scheme == "oci":
        from .registry import Registry  # noqa: PLC0415 - see above

        return Registry(address)
    from .objects import Objects  # noqa: PLC0415 - see above

    return Objects(address)


def refuse_large(name: str, size: int, limit: int) -> None:
    """Raise `ModelError` where a file is larger than its limit."""
    if size > limit:
        raise ModelError(f"{name}: expected at most {limit:,} bytes, found more")
