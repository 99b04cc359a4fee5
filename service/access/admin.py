"""Who may change what is served.

In: the settings. Out: nothing, or `Forbidden`. With API keys, who comes here has shown one with the scope `admin`
(`service.access.authorisation`); without them, the setting decides it here, for every way in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Forbidden

if TYPE_CHECKING:
    from ..settings import Settings


def require_admin(settings: Settings) -> None:
    """Raises `Forbidden` unless clients may load and unload models."""
    if not settings.admin and settings.api_keys_file is None:
        raise Forbidden("models are not loaded or unloaded by clients here; MNIST_ADMIN=true lets them")
