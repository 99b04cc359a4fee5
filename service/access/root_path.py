"""The path below which proxies publish the service.

In: settings, and a request's target, its X-Forwarded-Prefix and its peer. Out: the target without that path, whether
the proxy has removed it or not; and the path itself, for documents that name it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..settings import root_path

if TYPE_CHECKING:
    from .proxies import TrustedProxies


class RootPath:
    """The path of a setting, or the one that a trusted proxy names in X-Forwarded-Prefix."""

    def __init__(self, text: str, proxies: TrustedProxies) -> None:
        self._path = text
        self._proxies = proxies

    def split(self, url: bytes, forwarded: bytes | None, peer: str | None) -> tuple[bytes, str]:
        """Return a target without the path, and the path, which is empty where there is none."""
        path = self._path
        if forwarded is not None and self._proxies.trusts(peer):
            path = _path(forwarded) or path
        return _without(url, path.encode()), path


def _path(forwarded: bytes) -> str:
    """Return a header's path; empty where it is not one."""
    try:
        return root_path(forwarded.decode("ascii"))
    except ValueError:
        return ""


def _without(url: bytes, path: bytes) -> bytes:
    rest = url[len(path) :]
    if not path or not url.startswith(path) or rest[:1] not in {b"", b"/", b"?"}:
        return url
    return rest if rest.startswith(b"/") else b"/" + rest
