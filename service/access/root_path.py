"""The path below which proxies publish the service.

In: settings, and a request's target, its X-Forwarded-Prefix and its peer. Out: the target without the path, and the
path itself, for documents that name it. A proxy may have removed the path already, or not.
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
            path = _parse(forwarded) or path
        return _remove(path.encode(), url), path


def _parse(forwarded: bytes) -> str:
    """Return a header's path; empty where it is not one."""
    try:
        return root_path(forwarded.decode("ascii"))
    except ValueError:
        return ""


def _remove(path: bytes, url: bytes) -> bytes:
    """Return a target without the path; the same target where it is not below the path, as a probe's."""
    rest = url[len(path) :]
    if not path or not url.startswith(path) or rest[:1] not in {b"", b"/", b"?"}:
        return url
    return rest if rest.startswith(b"/") else b"/" + rest
