"""The openers of formats other than PNG and JPEG, by name.

Their decoders are loaded with this module: in readers, and not in workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bmp import open_bmp
from .boxes import open_avif, open_heic
from .gif import open_gif
from .tiff import open_tiff
from .webp import open_webp

if TYPE_CHECKING:
    from collections.abc import Callable

    from .opened import Bounds, Opened

OPENERS: dict[str, Callable[[bytes, Bounds], Opened]] = {
    "webp": open_webp,
    "gif": open_gif,
    "bmp": open_bmp,
    "tiff": open_tiff,
    "avif": open_avif,
    "heic": open_heic,
}
