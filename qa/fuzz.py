"""`make fuzz ARGS="--seconds 600"` feeds changed bytes to everything that reads bytes.

In: seconds. Out: libFuzzer's progress, and the input that raised anything else than a refusal, or took too long.
libFuzzer (through Atheris) changes good bodies, and keeps what reaches new lines of the service, of Pillow's openers
and of the form's parser.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import logging
import struct
import sys
import time
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "service",
        "python_multipart",
        *(f"PIL.{kind}ImagePlugin" for kind in "Png Jpeg Mpo Gif Bmp Tiff WebP Avif".split()),
    ]
):
    from service.codec import body, compression, v2_json
    from service.errors import ServiceError
    from service.picture import decode as picture
    from service.picture import formats, opened, others  # noqa: F401 - the openers are followed too

import numpy as np
import orjson
from PIL import Image

LIMIT_SECONDS = 0.5  # of processor time for one input
MEMORY_MIB = 512  # of all inputs together, with the fuzzer itself
CORPUS = Path("build/fuzz/corpus")  # grows from run to run; what broke something lies beside it
LARGEST = 2**25  # bytes of an input, which grows slowly; `tests.support.scaling` makes large ones
ROOM = 2**26  # bytes for a picture while it is decoded
MAX_PIXELS, MAX_IMAGES, MAX_BYTES = 50_000_000, 64, 32 * 2**20  # the service's defaults


def decode(data: bytes) -> None:
    """A picture, as it is and with its checksums put right: behind a wrong one nothing is reached."""
    for form in {data, with_checksums(data)}:
        with contextlib.suppress(ServiceError, opened.Expensive):
            picture.decode(form, max_pixels=MAX_PIXELS, room=ROOM)


def with_checksums(data: bytes) -> bytes:
    """A PNG's chunks with the checksums that they should have."""
    repaired, at = bytearray(data), 8
    while data.startswith(formats.PNG) and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        repaired[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(repaired[: len(data)])


def infer(data: bytes) -> None:
    """A request of the Open Inference Protocol, whose JSON ends with its last brace."""
    v2_json.parse(data, str(data.rfind(b"}") + 1), max_images=MAX_IMAGES)


# By an input's first byte.
READERS = (
    decode,
    lambda data: body.parse("multipart/form-data; boundary=b", data, max_images=MAX_IMAGES),
    lambda data: body.parse("application/json", data, max_images=MAX_IMAGES),
    infer,
    lambda data: compression.decompress(data, "gzip", limit=MAX_BYTES),
)


def meet(data: bytes) -> None:
    """Read one input; raises whatever is no refusal, also the time it took if that was too long."""
    started = time.process_time()
    with contextlib.suppress(ServiceError):
        if data:
            READERS[data[0] % len(READERS)](data[1:])
    seconds = time.process_time() - started
    if seconds > LIMIT_SECONDS:
        raise TimeoutError(f"{seconds:.2f} s for {len(data):,} bytes")


def saved(mode: str, kind: str, **options: object) -> bytes:
    """A small picture with something in it."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 30), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(noise.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(noise.astype(np.float32))
    else:
        image = Image.fromarray(noise).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def other_pictures(exif: Image.Exif) -> list[bytes]:
    """Good pictures in formats other than PNG and JPEG."""
    second = {"save_all": True, "append_images": [Image.new("RGB", (30, 24), "red")]}
    pictures = [saved(mode, "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")]
    pictures += [
        saved("P", "GIF"),
        saved("P", "GIF", transparency=3, interlace=1),
        saved("L", "GIF", comment=b"x" * 300),
    ]
    pictures += [saved("RGB", kind, **second) for kind in ("GIF", "WEBP", "AVIF", "TIFF")]
    pictures += [saved(mode, "WEBP", lossless=lossless, exif=exif) for mode in ("RGB", "RGBA") for lossless in (0, 1)]
    pictures += [saved(mode, "AVIF", exif=exif) for mode in ("L", "RGB", "RGBA")]
    pictures += [
        saved(mode, "TIFF", exif=exif) for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F")
    ]
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        pictures += [saved(mode, "TIFF", compression=compression, strip_size=400) for mode in ("L", "RGB")]
    pictures += [saved("1", "TIFF", compression=compression) for compression in ("group3", "group4", "tiff_ccitt")]
    if formats.HEIC_INSTALLED:
        import pillow_heif  # noqa: PLC0415 - an extra

        pillow_heif.register_heif_opener()
        pictures += [saved(mode, "HEIF", exif=exif) for mode in ("L", "RGB", "RGBA")]
    return pictures


def seeds() -> list[tuple[int, bytes]]:
    """Good bodies, each with the number of its reader."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = [saved(mode, "PNG", exif=exif) for mode in ("L", "RGB", "1", "P", "LA", "RGBA", "I;16")]
    pictures += [saved("L", "PNG"), saved("P", "PNG", transparency=3), saved("L", "PNG", transparency=3)]
    pictures += [saved(mode, "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK")]
    pictures += [saved("RGB", "JPEG", progressive=True), saved("RGB", "MPO", save_all=True)]
    pictures += other_pictures(exif)
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n' + pictures[7] + b"\r\n--b--\r\n"
    tensor = {"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8"}
    asked = {"id": "a", "parameters": {"binary_data_output": True}}
    files = {"name": "images", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 9}}
    return [
        *((0, data) for data in pictures),
        (1, form),
        *((2, orjson.dumps(document)) for document in ({"image": "iVBO"}, {"images": [[0.5] * 784, [[0] * 28] * 28]})),
        (3, orjson.dumps({"inputs": [tensor | {"data": [7] * 784}]} | asked)),
        (3, orjson.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": 784}}]}) + bytes(784)),
        (3, orjson.dumps({"inputs": [files], "outputs": [{"name": "probabilities"}]}) + b"\5\0\0\0bytes"),
        *((4, pack(form)) for pack in (gzip.compress, zlib.compress)),
    ]


def main() -> None:
    """Hand the seeds and the limits to libFuzzer, which ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long; %(default)s")
    parser.add_argument("--format", choices=formats.FORMATS, help="change pictures of this format alone")
    options = parser.parse_args()
    logging.disable()  # the form's parser warns of each that it cannot read
    corpus = CORPUS / (options.format or "all")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, (reader, data) in enumerate(seeds()):
        if options.format in {None, formats.name_of(data)}:
            (corpus / str(number)).write_bytes(bytes([reader]) + data)
    limits = [f"-max_total_time={options.seconds}", f"-max_len={LARGEST}", f"-rss_limit_mb={MEMORY_MIB}"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={CORPUS.parent}/", *limits], meet)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
