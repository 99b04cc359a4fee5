"""Versions from object stores and the Hugging Face Hub, through fsspec: `s3://`, `gs://` and `hf://`.

In: the address of a folder. Out: the names in it, and files, each by one request. Credentials are those that the
library of each store finds by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fsspec.core import url_to_fs

from .remote import SIGNATURE, Offer, refuse_large

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "s3": {"use_listings_cache": False},
    "gs": {"use_listings_cache": False},
    "hf": {"block_size": 0},  # a stream: one request for each file
}
NOT_FOUND = 404


class Objects:
    """A folder of an object store."""

    def __init__(self, address: str) -> None:
        self._files, self._root = url_to_fs(address, **OPTIONS[address.partition("://")[0]])

    def offer(self) -> Offer:
        """Return what the folder holds."""
        self._files.invalidate_cache()
        return Offer.of(str(entry).rstrip("/").rpartition("/")[2] for entry in self._files.ls(self._root, detail=False))

    def read(self, number: int, name: str, limit: int) -> bytes:
        """Return a file of a version."""
        return self._read(f"{number}/{name}", limit)

    def read_signature(self, number: int, limit: int) -> bytes:
        """Return the signature of a version."""
        return self._read(f"{number}{SIGNATURE}", limit)

    def _read(self, path: str, limit: int) -> bytes:
        try:
            data: bytes = self._files.cat_file(f"{self._root}/{path}", start=0, end=limit + 1)
        except Exception as error:
            response = getattr(error, "response", None)  # the Hub's library does not say it as the others do
            if getattr(response, "status_code", None) == NOT_FOUND:
                raise FileNotFoundError(path) from None
            raise
        refuse_large(path, len(data), limit)
        return data
