"""Limits on a picture, checked before it is decoded: pixels, memory, and the number of parts that its file consists of.

In: the bytes of a file, or what its header says. Out: nothing, or `TooLarge` or `Unusable`. It does not decode, and
leaves damage to the decoder to find. A decoder goes through all parts of a file one by one; the checks here end at
their limits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from PIL.JpegImagePlugin import MARKER, JpegImageFile

from ..errors import TooLarge, Unusable

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MIN_SHORT, MIN_LONG = 2, 5  # pixels of the sides: a 1 cut out of small print
# A PNG's writer puts 8 KiB and more into a chunk, and less into a few; texts and profiles are a handful.
MAX_CHUNKS, BYTES_PER_CHUNK = 4096, 1024
MAX_COMPRESSED_CHUNKS = {b"zTXt": 32, b"iTXt": 32, b"iCCP": 1}
# Before the first scan: a depth map or a film beside the picture takes some 50 segments of 64 KiB. There are one to ten
# of those that the decoder joins or parses.
MAX_SEGMENTS, MAX_PARSED_SEGMENTS = 1000, 32
EXIF, PHOTOSHOP = 0xE1, 0xED  # markers of segments that the decoder joins or parses
MAX_SKIPPED = 65_536  # bytes between segments, which the decoder skips one by one
START_OF_SCAN = 0xDA
_FILL = frozenset({0x00, 0xFF})
_WITHOUT_LENGTH = frozenset(marker & 0xFF for marker, (_, _, handler) in MARKER.items() if handler is None)
MAX_SCANS = 100  # of a JPEG: a progressive one has about ten, and each goes through the whole picture
MAX_SCANNED = 1_000_000_000  # pixels of all scans together, which take some seconds
LARGE = 8_000_000  # pixels: a larger picture takes much memory, unless it is decoded piece by piece
LARGE_BYTES = 4 * LARGE  # of a picture that is neither PNG nor JPEG
BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}  # as Pillow holds these modes; 4 in other modes
COEFFICIENT_BYTES = 2  # for each pixel of a component, which libjpeg holds until the last scan


def check_size(width: int, height: int) -> None:
    """Raise `Unusable` for a picture that is too small for any digit."""
    if min(width, height) < MIN_SHORT or max(width, height) < MIN_LONG:
        raise Unusable(
            f"The picture is {width} x {height} pixels; a digit needs at least {MIN_SHORT} x {MIN_LONG}.",
            reason="too_small",
            limit=MIN_LONG,
        )


def check_pixels(width: int, height: int, max_pixels: int) -> int:
    """Return the number of pixels; raises `TooLarge` for too many."""
    if width * height > max_pixels:
        raise TooLarge(
            f"The picture has {width} x {height} = {width * height} pixels; at most {max_pixels} are read. "
            "Send it smaller: 300 x 300 is plenty for a digit.",
            reason="too_many_pixels",
            limit=max_pixels,
        )
    return width * height


def check_chunks(data: bytes) -> None:
    """Raise `TooLarge` for a PNG of more chunks than cameras and programs write."""
    limit = MAX_CHUNKS + len(data) // BYTES_PER_CHUNK
    compressed: Counter[bytes] = Counter()
    position = 8
    for _ in range(limit):
        kind = data[position + 4 : position + 8]
        if kind in {b"", b"IEND"}:
            return
        if kind in MAX_COMPRESSED_CHUNKS:
            compressed[kind] += 1
            if compressed[kind] > MAX_COMPRESSED_CHUNKS[kind]:
                raise too_many(f"The PNG has more than {{}} chunks {kind.decode()}", MAX_COMPRESSED_CHUNKS[kind])
        position += 12 + int.from_bytes(data[position : position + 4])
    raise too_many("The PNG has more than {} chunks", limit)


def check_segments(data: bytes) -> None:
    """Raise `TooLarge` for a JPEG of more segments before its first scan than cameras and programs write."""
    position, skipped = 2, 0
    parsed: Counter[int] = Counter()
    for _ in range(MAX_SEGMENTS):
        marker, position, passed = _next_marker(data, position)
        skipped += passed
        if skipped > MAX_SKIPPED:
            raise too_many("The JPEG has more than {} bytes between its segments", MAX_SKIPPED)
        if marker in {None, START_OF_SCAN}:
            return
        if marker in {EXIF, PHOTOSHOP}:
            parsed[marker] += 1
            if parsed[marker] > MAX_PARSED_SEGMENTS:
                raise too_many(f"The JPEG has more than {{}} segments APP{marker & 15}", MAX_PARSED_SEGMENTS)
        if marker not in _WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2]))
    raise too_many("The JPEG has more than {} segments before its first scan", MAX_SEGMENTS)


def _next_marker(data: bytes, position: int) -> tuple[int | None, int, int]:
    """Return the next marker (None at the end), the position behind it, and the number of bytes skipped before it."""
    start = data.find(b"\xff", position)
    if start < 0:
        return None, len(data), len(data) - position
    end = start + 1
    while end < len(data) and data[end] in _FILL and end - start <= MAX_SKIPPED:
        end += 1
    passed = start - position + end - start - 1
    return (data[end] if end < len(data) else None), end + 1, passed


def too_many(sentence: str, limit: int) -> TooLarge:
    """Return the error for more parts than a limit, which the sentence has in braces."""
    return TooLarge(f"{sentence.format(f'{limit:,}')}, which is the limit.", limit=limit)


def check_scans(image: JpegImageFile, data: bytes) -> None:
    """Raise `TooLarge` for a JPEG of too many scans, also for its number of pixels."""
    if _has_one_scan(image, data):
        return
    scans = data.count(b"\xff\xda")
    limit = min(MAX_SCANS, MAX_SCANNED // (image.width * image.height))
    if scans > limit:
        raise TooLarge(f"The JPEG has {scans:,} scans; at most {limit} are read.", limit=limit)


def _has_one_scan(image: JpegImageFile, data: bytes) -> bool:
    """Whether a JPEG's first scan is sequential and has all components: libjpeg reads no others after it."""
    assert image.fp is not None
    size = 6 + 2 * image.layers
    head = data[image.fp.tell() - size - 2 :][:5]  # Pillow has read up to the end of the first scan's header
    return head == b"\xff\xda" + size.to_bytes(2) + bytes([image.layers]) and "progressive" not in image.info


def decoder_memory(image: ImageFile, data: bytes) -> int:
    """Return the bytes that decoding a large picture takes; 0 for pictures that are small or decoded piece by piece."""
    pixels = image.width * image.height
    if pixels <= LARGE:
        return 0
    if not isinstance(image, JpegImageFile):
        return pixels * BYTES_PER_PIXEL.get(image.mode, 4)
    if _has_one_scan(image, data):
        return 0
    most = max((across * down for _, across, down, _ in image.layer), default=1)
    return sum(pixels * across * down * COEFFICIENT_BYTES // max(1, most) for _, across, down, _ in image.layer)
