"""What is between the decoder of any format and the openers: the bounds of a picture, and a picture that is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import limits

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


class Expensive(Exception):
    """Decoding a picture takes more memory than is allowed here."""


class Bounds(NamedTuple):
    """What a picture may have and take, checked before anything of its size is held."""

    max_pixels: int
    room: int | None  # bytes; None: any number

    def check_pixels(self, width: int, height: int) -> int:
        """Return the number of pixels; raises `TooLarge` for too many."""
        return limits.check_pixels(width, height, self.max_pixels)

    def check_memory(self, needed: int) -> None:
        """Raise `Expensive` for a picture that takes much memory, and more than there is room."""
        if self.room is not None and needed > max(self.room, limits.LARGE_BYTES):
            raise Expensive


class Opened(NamedTuple):
    """A picture whose header is read and checked, and whose pixels are not decoded yet."""

    image: ImageFile
    orientation: int | None = None  # as EXIF has it; None: where Pillow finds it
