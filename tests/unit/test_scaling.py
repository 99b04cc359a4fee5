"""All that reads strangers' bytes, in the loop or in a reader: time grows as the size does, and memory has a limit.

Each shape is made in several sizes, all but the smallest far larger than what the loop itself reads.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from service.access.cors import CrossOrigin
from service.access.proxies import TrustedProxies
from service.access.root_path import RootPath
from service.codec import body, json_text, v2_json
from service.codec.compression import decompress
from service.connection import framing
from service.picture import prepare
from tests.support import formats as files
from tests.support import scaling
from tests.support.scaling import Repeated

if TYPE_CHECKING:
    from collections.abc import Callable

PART = b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\n\r\n'
IMAGES, IMAGE, INSTANCES = b'{"images":[', b'{"image":"', b'{"instances":['
INPUT = b'{"inputs":[{"name":"images","shape":[1,1,28,28],"datatype":"UINT8","data":['
SHAPE = b'{"inputs":[{"name":"images","datatype":"BYTES","data":[""],"shape":['
NAME = b'{"inputs":[{"name":"'

FORMS = {
    "one file": Repeated(b"x", PART, b"\r\n--b--"),
    "parts": Repeated(b"--b\r\n\r\n\r\n"),
    "files": Repeated(PART + b"x\r\n", end=b"--b--"),
    "boundaries that are none": Repeated(b"\r\n--bX", PART, b"\r\n--b--"),
    "boundaries that begin": Repeated(b"\r\n--", PART + b"\r\n", b"\r\n--b--"),
    "carriage returns": Repeated(b"\r", PART, b"\r\n--b--"),
    "spaces behind a boundary": Repeated(b" ", b"--b\r\n\r\n\r\n--b"),
    "a preamble of lines": Repeated(b"\r\n"),
    "a preamble of dashes": Repeated(b"-", b"\r\n"),
    "an epilogue": Repeated(b"\r\n", PART + b"x\r\n--b--"),
    "one name": Repeated(b"a", b"--b\r\n"),
    "one value": Repeated(b" ", b"--b\r\na:"),
    "headers": Repeated(b"a: b\r\n", b"--b\r\n"),
    "parameters": Repeated(b";a=b", b"--b\r\nContent-Disposition: x", b"\r\n\r\nx\r\n--b--"),
    "parts of parameters": Repeated(b"--b\r\nContent-Disposition: x" + b";" * 2000 + b"\r\n\r\nx\r\n", end=b"--b--"),
}
JSONS = {
    "lists": Repeated(b"[", IMAGES),
    "objects": Repeated(b'{"":', IMAGES),
    "empty lists": Repeated(b"[],", IMAGES, b"[]]}"),
    "numbers": Repeated(b"1,", IMAGES, b"1]}"),
    "one number": Repeated(b"1", IMAGES, b"]}"),
    "one fraction": Repeated(b"1", IMAGES + b"0.", b"]}"),
    "one text": Repeated(b"A", IMAGE, b'"}'),
    "escapes": Repeated(b"\\u0041", IMAGE, b'"}'),
    "words": Repeated(b"A ", IMAGE, b'"}'),
    "spaces": Repeated(b" ", IMAGE, b'"}'),
    "letters of another alphabet": Repeated("д".encode(), IMAGE, b'"}'),
    "a data URL's parameters": Repeated(b";a", IMAGE + b"data:a/b", b',"}'),
    "a data URL's type": Repeated(b"a", IMAGE + b"data:", b',"}'),
    "a data URL": Repeated(b"AAAA", IMAGE + b"data:image/png;base64,", b'"}'),
    "instances": Repeated(b"1,", INSTANCES, b"1]}"),
    "instances that are objects": Repeated(b'{"data":', INSTANCES),
    "an instance's members": Repeated(b'"b64":1,', INSTANCES + b"{", b'"a":1}]}'),
    "an instance's text": Repeated(b"A", INSTANCES + b'{"b64":"', b'"}]}'),
    "names": Repeated(b"a", b'{"', b'":1}'),
    "white space": Repeated(b" ", b"{", b"}"),
}
INFERENCES = {
    "data": Repeated(b"1,", INPUT, b"1]}]}"),
    "nested data": Repeated(b"[", INPUT),
    "a shape": Repeated(b"4611686018427387904,", SHAPE, b"1]}]}"),
    "a name": Repeated(b"\\u0001", NAME, b'"}]}'),
    "an id": Repeated(b"a", b'{"id":"', b'","inputs":[{}]}'),
    "parameters": Repeated(b'"a":1,', b'{"parameters":{', b'"b":1}}'),
}


def texts_of(made: bytes) -> bytes:
    """Base64, whose errors are not the service's yet."""
    try:
        return json_text.decode_base64_lines(made.decode())
    except ValueError:
        return b""


def one_header(size: int) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (b"transfer-encoding", b" " * size)]


def check_head(made: list[tuple[bytes, bytes]]) -> None:
    framing.check("1.1", b"POST", made, dict(made))


def ask_below(made: bytes) -> None:
    """What the connection does with a target and a proxy's header, which is as long."""
    ROOT_PATH.split(made, made, "127.0.0.1")
    CROSS_ORIGIN.headers(made, [(b"origin", made)])


def content_type(size: int) -> str:
    return "multipart/form-data" + ";a=b" * (size // 4)


def typed(made: str) -> object:
    return body.parse(made, b"--b--", max_images=64)


def document(size: int, **changes: Any) -> dict[str, Any]:
    """A request as gRPC makes it of a message: as long as its message may be, whatever JSON would be refused for."""
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [b""] * (size // 2)}
    return {"inputs": [tensor | {key: value * size for key, value in changes.items()}]}


def numbers(size: int) -> dict[str, Any]:
    """Numbers as gRPC makes them of a message."""
    return {"inputs": [{"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [7] * size}]}


def read_document(made: dict[str, Any]) -> object:
    return v2_json.read(made, b"", max_images=64)


def elements(size: int) -> bytes:
    """BYTES elements that are empty."""
    return bytes(size)


def read_elements(made: bytes) -> object:
    tensor = {"name": "images", "shape": [64], "datatype": "BYTES", "parameters": {"binary_data_size": len(made)}}
    return v2_json.read({"inputs": [tensor]}, made, max_images=64)


def gzipped(size: int) -> bytes:
    """As much, when it is unpacked."""
    return gzip.compress(bytes(size), 1)


def stored(size: int) -> bytes:
    """As much, in small pieces that are not compressed at all."""
    engine = zlib.compressobj(0, wbits=31)
    return b"".join([*(engine.compress(bytes(100)) + engine.flush(zlib.Z_FULL_FLUSH) for _ in range(size // 120)),
                     engine.flush()])  # fmt: skip


def parsed(kind: str) -> Callable[[bytes], object]:
    return functools.partial(body.parse, kind, max_images=64)


Reading = tuple["Callable[[Any], object]", "Callable[[int], Any]"]
ROOT_PATH = RootPath("/a", TrustedProxies("127.0.0.1"))
CROSS_ORIGIN = CrossOrigin("https://a.example")
READINGS: dict[str, Reading] = (
    {f"a form, {name}": (parsed("multipart/form-data; boundary=b"), make) for name, make in FORMS.items()}
    | {f"JSON, {name}": (parsed("application/json"), make) for name, make in JSONS.items()}
    | {f"an inference, {name}": (functools.partial(v2_json.parse, header_length=None, max_images=64), make)
       for name, make in INFERENCES.items()}
    | {
        "values": (functools.partial(json_text.check_values, max_images=64), Repeated(b",")),
        "pixels": (parsed("application/octet-stream"), Repeated(bytes(784))),
        "pixels as float32": (parsed("application/octet-stream"), Repeated(struct.pack("<f", 2**-11) * 784)),
        "pixels as float64": (parsed("application/octet-stream"), Repeated(struct.pack("<d", 254.5) * 784)),
        "no picture": (parsed("application/x"), Repeated(b" ")),
        "base64": (texts_of, Repeated(b"AAAA")),
        "base64 of words": (texts_of, Repeated(b"A ")),
        "base64 of signs": (texts_of, Repeated(b"=")),
        "URL-safe base64": (texts_of, Repeated(b"-_-_", end=b"-_")),
        "one header": (check_head, one_header),
        "a path of segments": (ask_below, Repeated(b"/a")),
        "a path of dots": (ask_below, Repeated(b".", b"/a")),
        "a path that is encoded": (ask_below, Repeated(b"%2f", b"/")),
        "a Content-Type": (typed, content_type),
        "a message of elements": (read_document, document),
        "a message of sides": (read_document, functools.partial(document, shape=[2**62])),
        "a message of numbers": (read_document, numbers),
        "a message's name": (read_document, functools.partial(document, name="\0")),
        "a message's datatype": (read_document, functools.partial(document, datatype="\U000e0001")),
        "elements": (read_elements, elements),
    }
)  # fmt: skip


def picture(kind: str) -> tuple[bytes, bytes]:
    """A small picture, in two parts: more may come between them."""
    stream = io.BytesIO()
    Image.new("L", (60, 60), 200).save(stream, kind)
    data = stream.getvalue()
    at = 2 if kind == "JPEG" else data.index(b"IDAT") - 4
    return data[:at], data[at:]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def one_chunk(kind: bytes, size: int) -> bytes:
    """A PNG with one large chunk."""
    start, end = picture("PNG")
    return start + chunk(kind, b"a\0\0" + bytes(size)) + end


SEGMENTS = {
    "empty segments": b"\xff\xe0\0\2",
    "comments": b"\xff\xfe\0\4xy",
    "small Exif": b"\xff\xe1\0\x0aExif\0\0xx",
    "large Exif": b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527),
    "profiles": b"\xff\xe2\xff\xffICC_PROFILE\0\1\1" + bytes(65_519),
    "Photoshop blocks": b"\xff\xed\xff\xfdPhotoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5460 + b"\0\0",
    "fill bytes": b"\xff",
    "junk": b"x",
    "escaped bytes": b"\xff\0",
    "bare markers": b"\xff\xd0",
    "tables": b"\xff\xdb\0\x43" + bytes(65),
    "restarts": b"\xff\xdd\0\4\0\1",
}
CHUNKS = {
    "empty chunks": chunk(b"abCd"),
    "texts": chunk(b"tEXt", b"a\0b"),
    "compressed texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10_000))),
    "palettes": chunk(b"PLTE", bytes(768)),
    "empty data": chunk(b"IDAT"),
    "frames": chunk(b"fdAT", bytes(8)),
}


def strips(size: int) -> bytes:
    """A TIFF of many strips, each of a row."""
    count = size // 1032
    where = {"t273": tuple(range(8, 8 + 1024 * count, 1024)), "t279": (1024,) * count}
    return files.tiff(files.grey_tiff(1024, count, t278=1, **where), bytes(1024 * count))


def items(size: int) -> bytes:
    """A HEIF of many items."""
    return files.boxes(40, 30, items=[(item, b"av01") for item in range(2, min(65_535, size // 80))])


def pieces(size: int) -> bytes:
    """A HEIF whose only item is in many pieces."""
    return files.boxes(40, 30, extents=min(65_535, size // 8), more=bytes(size // 2))


def one_text(kind: str, size: int) -> bytes:
    """A small picture with large EXIF."""
    exif = Image.Exif()
    exif[270] = "x" * size
    return one_frame(kind, exif=exif.tobytes())


def one_frame(kind: str, **options: object) -> bytes:
    """A small picture in another format."""
    return files.encode(Image.new("RGB", (60, 60), "white"), kind, **options)


FRAMES = {
    "GIF": one_frame("GIF"),
    "BMP": one_frame("BMP"),
    "TIFF": one_frame("TIFF", compression="tiff_lzw"),
    "WebP": one_frame("WEBP", exif=b"x"),
    "AVIF": one_frame("AVIF"),
} | ({"HEIC": one_frame("HEIF")} if files.WITH_HEIC else {})
BEHIND = {
    "junk": b"x",
    "zeros": b"\0",
    "RIFF chunks": b"JUNK\0\0\0\0",
    "boxes": files.box(b"free", b""),
    "blocks": b"!\xfe\1x\0",
}
BLOCKS = {"junk": b"x", "comments": b"!\xfe\1x\0", "application data": b"!\xff\1x\0", "controls": b"!\xf9\4\0\0\0\0\0"}
RUNS = {"runs": b"\1\1", "ends of rows": b"\0\0", "steps": b"\0\2\0\0", "steps up": b"\0\2\0\1", "pixels": b"\0\4abcd"}
OTHERS: dict[str, Callable[[int], bytes]] = (
    {f"{kind}, {name} behind": Repeated(unit, data) for kind, data in FRAMES.items() for name, unit in BEHIND.items()}
    | {f"GIF, {name}": Repeated(unit, FRAMES["GIF"][:13], files.gif()[13:]) for name, unit in BLOCKS.items()}
    | {"GIF, one comment": Repeated(b"\xff" + b"x" * 255, FRAMES["GIF"][:13] + b"!\xfe", b"\0" + files.gif()[13:])}
    | {f"BMP, {name}": Repeated(unit, files.bmp_in_run_lengths(1000, 1000, b"")) for name, unit in RUNS.items()}
    | {f"{kind}, one text": functools.partial(one_text, kind) for kind in ("WEBP", "AVIF")}
    | {"TIFF, strips": strips, "AVIF, items": items, "AVIF, pieces": pieces}
)  # fmt: skip
read_picture = functools.partial(prepare.read, max_pixels=50_000_000)
PICTURES: dict[str, Reading] = (
    {f"JPEG, {name}": (read_picture, Repeated(unit, *picture("JPEG"))) for name, unit in SEGMENTS.items()}
    | {f"JPEG, {name} behind": (read_picture, Repeated(unit, b"".join(picture("JPEG"))[:-2]))
       for name, unit in SEGMENTS.items()}
    | {f"PNG, {name}": (read_picture, Repeated(unit, *picture("PNG"))) for name, unit in CHUNKS.items()}
    | {f"PNG, {name} behind": (read_picture, Repeated(unit, b"".join(picture("PNG"))[:-12], chunk(b"IEND")))
       for name, unit in CHUNKS.items()}
    | {f"PNG, one chunk {kind.decode()}": (read_picture, functools.partial(one_chunk, kind))
       for kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"abCd", b"tRNS", b"PLTE", b"IDAT")}
    | {name: (read_picture, make) for name, make in OTHERS.items()}
    | {
        "gzip": (functools.partial(decompress, encoding="gzip", limit=64 * scaling.MEBIBYTE), gzipped),
        "gzip in pieces": (functools.partial(decompress, encoding="gzip", limit=64 * scaling.MEBIBYTE), stored),
    }
)  # fmt: skip
# Bytes at the peak for each that is read: the text as Python has it, and what is made of it.
MEMORY = 6.0
PICTURE_MEMORY = 8.0  # texts and EXIF, which Pillow takes apart


@pytest.mark.parametrize("name", READINGS | PICTURES)
def test_reading_is_linear(name: str) -> None:
    """The exponent of CPU time over size is at most 1.3, and memory stays within its multiple of the input."""
    read, make = (READINGS | PICTURES)[name]
    scaling.check(read, make, memory=MEMORY if name in READINGS else PICTURE_MEMORY)
