"""Versions from a web server: `https://HOST/FOLDER/<n>/model.json` and so on, with an index.

In: the address of a folder. Out: what `versions.json` in it names, and files. Web servers have no common form of
listing, so the index says what is there: `{"versions": [1, 2], "signatures": [2]}`, the signatures if there are any. A
name and a password come from `~/.netrc`, or from the file that NETRC names. A redirection must stay on HTTPS.
"""

from __future__ import annotations

import base64
import netrc
import os
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from ..errors import ModelError
from ..settings import is_loopback
from .remote import SIGNATURE, SILENT_SECONDS, Offer, refuse_large

if TYPE_CHECKING:
    from http.client import HTTPMessage, HTTPResponse

INDEX = "versions.json"
INDEX_BYTES = 2**20
PIECE = 2**16  # bytes


class Web:
    """A folder of a web server."""

    def __init__(self, address: str) -> None:
        self._address = address
        parts = urlsplit(address)
        self._credentials = _credentials(parts.hostname or "")
        handlers: list[urllib.request.BaseHandler] = [_Redirects(parts.scheme)]
        if is_loopback(parts.hostname or ""):  # which no proxy can reach
            handlers.append(urllib.request.ProxyHandler({}))
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
        self._opener = urllib.request.build_opener(*handlers)

    def offer(self) -> Offer:
        """Return what the index names."""
        try:
            index = orjson.loads(self._get(INDEX, INDEX_BYTES))
        except orjson.JSONDecodeError as error:
            raise ModelError(f"{INDEX}: expected JSON, found {error}") from None
        except FileNotFoundError:
            raise ModelError(f"{INDEX}: expected an index of the versions, found none") from None
        if not isinstance(index, dict):
            raise ModelError(f"{INDEX}: expected an object with versions, found {type(index).__name__}")
        versions, signatures = (_numbers(index, key) for key in ("versions", "signatures"))
        return Offer.of([*map(str, versions), *(f"{number}{SIGNATURE}" for number in signatures)])

    def read(self, number: int, name: str, limit: int) -> bytes:
        """Return a file of a version."""
        return self._get(f"{number}/{name}", limit)

    def read_signature(self, number: int, limit: int) -> bytes:
        """Return the signature of a version."""
        return self._get(f"{number}{SIGNATURE}", limit)

    def _get(self, path: str, limit: int) -> bytes:
        """Return a file; raises `FileNotFoundError`, `ModelError` or `ConnectionError`."""
        request = urllib.request.Request(f"{self._address}/{path}", headers={"User-Agent": "mnist-mlp"})  # noqa: S310 - the setting allows https, and http of this machine
        if self._credentials:
            request.add_unredirected_header("Authorization", self._credentials)
        try:
            with self._opener.open(request, timeout=SILENT_SECONDS) as response:
                return _body(response, path, limit)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(path) from None
            raise ConnectionError(f"{path}: the server answers {error.code} {error.reason}") from None
        except (OSError, HTTPException) as error:
            raise ConnectionError(f"{path}: {getattr(error, 'reason', error)}") from None


def _body(response: HTTPResponse, path: str, limit: int) -> bytes:
    refuse_large(path, int(response.headers.get("Content-Length") or 0), limit)
    data = bytearray()
    while piece := response.read(min(PIECE, limit + 1 - len(data))):
        data += piece
    refuse_large(path, len(data), limit)
    if response.length:  # read() in pieces does not complain
        raise ConnectionError(f"the connection was cut after {len(data):,} bytes")
    return bytes(data)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections within one scheme, and over plain HTTP within this machine."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def redirect_request(  # noqa: PLR0917 - urllib's
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """Return the next request; raises `ConnectionError` for one that is not followed."""
        parts = urlsplit(newurl)
        if parts.scheme != self._scheme:
            raise ConnectionError(f"expected a redirection to {self._scheme}://, found another")
        if self._scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ConnectionError("expected a redirection within this machine, found one over plain http:// to another")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _numbers(index: dict[str, Any], key: str) -> list[int]:
    found = index.get(key, [])
    if not isinstance(found, list):
        raise ModelError(f"{INDEX}: expected {key} to be a list, found {type(found).__name__}")
    return found


def _credentials(host: str) -> str | None:
    """Return the Authorization header for a host; None where ~/.netrc names none. Raises `ModelError`."""
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError) as error:
        raise ModelError(f"expected a readable .netrc, found {type(error).__name__}") from None
    if found is None:
        return None
    name, _, password = found
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
