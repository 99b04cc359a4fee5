"""Bodies of `/predict`, parsed by `service.codec.body.parse`: their pictures, and each limit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
import pytest

from service.codec.body import Numbers, parse
from service.errors import Malformed, NotAPicture, ServiceError, TooLarge, UnknownMediaType, Unusable
from service.picture import formats
from tests.support.pictures import Digits, png

FORM, JSON, RAW = "multipart/form-data; boundary=b", "application/json", "application/octet-stream"
CURL = "application/x-www-form-urlencoded"
PIXELS = np.arange(784, dtype=np.uint8).reshape(28, 28)
FILE, JPEG = png(PIXELS), b"\xff\xd8\xff and so on"
HEIC = b"\0\0\0\x24ftypheic" + bytes(24)
NO_PDF = NotAPicture("This is a PDF, which is not read here; convert it to PNG or JPEG.")
BASE64 = base64.b64encode(FILE).decode()
# Bytes whose base64 has both signs of each alphabet, and needs both signs of padding.
SIGNS = b"\x89PNG\r\n\x1a\n\xfb\xff\xbf\xfe"
ACCEPTED = "a picture (such as image/png), multipart/form-data, application/json or application/octet-stream"
MANY_VALUES = TooLarge("The JSON has more than 4,000 values, which is the limit.", limit=4000)
FORMS_OF_JSON = 'Expected {"image": …}, {"images": […, …]} or {"instances": […, …]} with at least one picture.'
OUTSIDE, SCALED = "Pixels are numbers from 0 to 255; ", "these look scaled to 0..1: multiply them by 255."


def parts(*contents: tuple[str, bytes]) -> bytes:
    """A form of parts, each with the end of its Content-Disposition and its content."""
    head = b"--b\r\nX-Other: 1\r\nCONTENT-Disposition: form-data; name=a"
    return b"".join(head + end.encode() + b"\r\n\r\n" + content + b"\r\n" for end, content in contents) + b"--b--\r\n"


def image(value: object, **others: object) -> bytes:
    return orjson.dumps({"image": value, **others})


def images(*values: object, **others: object) -> bytes:
    return orjson.dumps({"images": values, **others})


READ: dict[str, tuple[str, bytes, list[Any], bool]] = {
    "a picture's type": ("image/gif", b"GIF", [b"GIF"], False),
    "a PNG of no type": ("", FILE, [FILE], False),
    "a JPEG of another type": ("text/plain", JPEG, [JPEG], False),
    "a PNG as bytes": (RAW, FILE, [FILE], False),
    "784 bytes": (RAW, PIXELS.tobytes(), [PIXELS], False),
    "1,568 bytes": (RAW, PIXELS.tobytes() * 2, [PIXELS] * 2, True),
    "as many pictures as may be": (RAW, PIXELS.tobytes() * 3, [PIXELS] * 3, True),
    "a form's file": ("Multipart/Form-Data ; boundary=b", parts(("; filename=x", b"x")), [b"x"], False),
    "a file that looks like its end": (FORM, parts(("; filename=x", b"x\r\n--\r\n-y")), [b"x\r\n--\r\n-y"], False),
    "a form's files": (FORM, parts(("; filename=x", b"x"), ("; filename=y", b"y")), [b"x", b"y"], True),
    "a form's pictures without names": (FORM, parts(("", FILE), ("", JPEG)), [FILE, JPEG], True),
    "a form's file among other fields": (FORM, parts(("", b"1"), ("; filename=x", b"x"), ("", b"2")), [b"x"], False),
    "as many fields as may be": (FORM, parts(*[("", b"")] * 47, ("; filename=x", b"x")), [b"x"], False),
    "base64": (JSON, image(BASE64), [FILE], False),
    "base64 in lines": (
        "application/problem+json; charset=utf-8",
        image(f"{BASE64[:9]}\n {BASE64[9:]}"),
        [FILE],
        False,
    ),
    "base64 among spaces of all sorts": (JSON, image(f" \t\n\v\f\r\x1c\x1d\x1e\x1f{BASE64}\n"), [FILE], False),
    "base64 without padding": (
        JSON,
        images(*(base64.b64encode(SIGNS[:size]).decode().rstrip("=") for size in (9, 10, 11))),
        [SIGNS[:9], SIGNS[:10], SIGNS[:11]],
        True,
    ),
    "URL-safe base64": (JSON, image(base64.urlsafe_b64encode(SIGNS * 9).decode()), [SIGNS * 9], False),
    "a data URL, URL-safe and without padding": (
        JSON,
        image(f"data:image/png;base64,{base64.urlsafe_b64encode(SIGNS[:10]).decode().rstrip('=')}"),
        [SIGNS[:10]],
        False,
    ),
    "32 parameters": (FORM, parts((";a" * 30 + "; filename=x", b"x")), [b"x"], False),
    "99 spaces behind a boundary": (
        FORM,
        parts(("; filename=x", b"x")).replace(b"--b--", b"--b" + b" " * 99 + b"\r\n\r\ny\r\n--b--"),
        [b"x"],
        False,
    ),
    "JSON of curl -d": (CURL, image(BASE64), [FILE], False),
    "a picture of curl --data-binary": (CURL, FILE, [FILE], False),
    "a phone's HEIC, named as curl names files": (CURL, HEIC, [HEIC], False),
    "a phone's HEIC, named as no picture": (RAW, HEIC, [HEIC], False),
    "a phone's HEIC in a form, without a name": (FORM, parts(("", HEIC)), [HEIC], False),
    "a data URL": (JSON, image(f"data:image/png;a=b;base64,{BASE64}"), [FILE], False),
    "rows": (JSON, image(PIXELS.tolist(), more=[]), [PIXELS], False),
    "numbers": (JSON, image(PIXELS.ravel().tolist()), [PIXELS], False),
    "whole numbers, however small": (JSON, image([0, 1] * 392), [np.array([0, 1] * 392)], False),
    "numbers that are not whole": (JSON, image([254.6] + [1.4] * 783), [np.array([255] + [1] * 783)], False),
    "the largest that is not scaled": (JSON, image([1.01] * 784), [np.ones(784)], False),
    "0 and 255": (JSON, image([0.0, 255.0] * 392), [np.array([0, 255] * 392)], False),
    "a list of one": (JSON, images(BASE64, more=1), [FILE], True),
    "a list of as many as may be": (JSON, images(*[PIXELS.tolist()] * 3), [PIXELS] * 3, True),
}


def same(found: object, expected: Any) -> bool:
    if isinstance(found, Numbers):
        return found.rows == np.ravel(expected).astype(np.uint8).tobytes()
    return bool(found == expected)


@pytest.mark.parametrize("case", READ)
def test_every_form_of_a_body_is_read(case: str) -> None:
    """The pictures are the bytes or numbers that were sent, in order; `several` is as the request is."""
    content_type, body, expected, several = READ[case]
    found = parse(content_type, body, max_images=3)
    assert found.several is several
    assert len(found.each()) == len(expected)
    assert all(map(same, found.each(), expected))


REFUSED: dict[str, tuple[str, bytes, ServiceError]] = {
    "nothing": (JSON, b"", Malformed(f"The body is empty; send {ACCEPTED}.")),
    "another type": (
        "Text/HTML; charset=utf-8",
        b"x",
        UnknownMediaType(f"Content-Type text/html is not one that is read here; send {ACCEPTED}."),
    ),
    "no type": ("", b"x", UnknownMediaType(f"Content-Type (none) is not one that is read here; send {ACCEPTED}.")),
    "783 bytes": (
        RAW,
        bytes(783),
        Malformed("application/octet-stream takes N·784 bytes (uint8[N,28,28]); 783 were sent."),
    ),
    "a PNG of curl -d": (
        CURL,
        FILE.replace(b"\r", b"").replace(b"\n", b""),
        UnknownMediaType(
            f"Content-Type application/x-www-form-urlencoded is not one that is read here; send {ACCEPTED}. "
            "curl -d removes line ends from a file; --data-binary @FILE sends it as it is."
        ),
    ),
    "a PDF, named as curl names files": (CURL, b"%PDF-1.7", NO_PDF),
    "a PDF, named as no picture": (RAW, b"%PDF-1.7", NO_PDF),
    "float32 from 0 to 1": (
        RAW,
        (PIXELS / 255).astype("<f4").tobytes(),
        Malformed(
            "Pixels are uint8, of one byte each; these 3,136 bytes are float32: multiply them by 255, and send "
            "x.astype(np.uint8).tobytes()."
        ),
    ),
    "float64 from 0 to 1": (
        RAW,
        (PIXELS / 255).tobytes(),
        Malformed(
            "Pixels are uint8, of one byte each; these 6,272 bytes are float64: multiply them by 255, and send "
            "x.astype(np.uint8).tobytes()."
        ),
    ),
    "whole float32": (
        RAW,
        PIXELS.astype("<f4").tobytes(),
        Malformed(
            "Pixels are uint8, of one byte each; these 3,136 bytes are float32: send x.astype(np.uint8).tobytes()."
        ),
    ),
    "four pictures": (RAW, bytes(784 * 4), TooLarge("The request holds 4 pictures; the limit is 3.", limit=3)),
    "four files": (
        FORM,
        parts(*[("; filename=x", b"x")] * 4),
        TooLarge("The request holds 4 pictures; the limit is 3.", limit=3),
    ),
    "four in a list": (JSON, images(1, 2, 3, 4), TooLarge("The request holds 4 pictures; the limit is 3.", limit=3)),
    "49 fields": (
        FORM,
        parts(*[("", b"")] * 49),
        TooLarge("The form has more than 48 parts, which is the limit.", limit=48),
    ),
    "no file": (
        FORM,
        parts(("", b"filename")),
        Malformed("The form holds no file; send each picture as a file (curl: -F image=@digit.png)."),
    ),
    "no form": (
        FORM,
        b"--c\r\n\r\n",
        Malformed("The multipart body cannot be read: "),
    ),
    "no boundary": ("multipart/form-data", b"x", Malformed("The multipart body cannot be read: ")),
    "a boundary that is too long": (
        f"{FORM}{'b' * 300}",
        b"x",
        Malformed("The multipart body cannot be read: Boundary length 301"),
    ),
    "a type of thousands of parameters": (
        f"{FORM}{';a' * 500}",
        b"x",
        Malformed("The form's Content-Type has more than 1,000 bytes, which is the limit."),
    ),
    "33 parameters": (
        FORM,
        parts((";a" * 32, b"")),
        Malformed("A Content-Disposition has more than 32 parameters, which is the limit."),
    ),
    "a long header": (FORM, parts(("a" * 2048, b"")), Malformed("The multipart body cannot be read: Maximum header")),
    "a hundred spaces behind a boundary": (
        FORM,
        parts(("; filename=x", b"x")).replace(b"--b--", b"--b" + b" " * 100),
        Malformed("The multipart body has more than 99 spaces behind a boundary."),
    ),
    "49 boundaries that are none": (
        FORM,
        parts(("; filename=x", b"\r\n--bx" * 49)),
        TooLarge("The form has more than 48 parts, which is the limit.", limit=48),
    ),
    "a type that is long": (
        "a" * 200,
        b"x",
        UnknownMediaType(f"Content-Type {'a' * 79}… is not one that is read here; send {ACCEPTED}."),
    ),
    "a data URL of many parameters": (
        JSON,
        image(f"data:image/png{';a' * 100};base64,{BASE64}"),
        Malformed("The data URL is not of the form data:image/png;base64,…"),
    ),
    "base64 in Cyrillic": (
        JSON,
        image("д"),
        Malformed("The picture's text is not base64: string argument should contain only ASCII characters."),
    ),
    "no JSON": (JSON, b"{", Malformed("The body is not JSON: unexpected end of data")),
    "a list as body": (JSON, b"[1]", Malformed(FORMS_OF_JSON)),
    "both words": (JSON, image(BASE64, images=[]), Malformed(FORMS_OF_JSON)),
    "both words, filled": (JSON, images(BASE64, image=BASE64), Malformed(FORMS_OF_JSON)),
    "an empty list": (JSON, images(), Malformed(FORMS_OF_JSON)),
    "4,001 lists": (JSON, b"[" * 4001, MANY_VALUES),
    "4,001 objects": (JSON, b"{" * 4001, MANY_VALUES),
    "4,001 commas": (JSON, b"," * 4001, MANY_VALUES),
    "4,000 values": (
        JSON,
        b"{" + b"," * 3999,
        Malformed("The body is not JSON: unexpected character"),
    ),
    "a number": (
        JSON,
        image(7),
        Malformed(
            "A picture in JSON is a base64 string, a data URL, 28 rows of 28 numbers, or 784 numbers; found int."
        ),
    ),
    "a data URL without base64": (
        JSON,
        image("data:image/png,x"),
        Malformed("The data URL is not of the form data:image/png;base64,…"),
    ),
    "no base64": (JSON, image("a?"), Malformed("The picture's text is not base64: ")),
    "a stray sign in base64": (JSON, image(f"?{BASE64}"), Malformed("The picture's text is not base64: ")),
    "base64 that lacks half of its padding": (JSON, image("AA="), Malformed("The picture's text is not base64: ")),
    "base64 that breaks off": (JSON, image("AAAAA"), Malformed("The picture's text is not base64: ")),
    "base64 with text behind its padding": (JSON, image("AA==AAAA"), Malformed("The picture's text is not base64: ")),
    "both alphabets of base64": (JSON, image("A+-A"), Malformed("The picture's text is not base64: ")),
    "both alphabets of base64, turned": (JSON, image("A_/A"), Malformed("The picture's text is not base64: ")),
    "28 texts": (JSON, image(["0" * 28] * 28), Malformed("Expected 28 rows of 28 numbers, or 784 numbers; found a ")),
    "an empty text": (JSON, image(" "), NotAPicture("The picture's text holds no bytes.")),
    "27 rows": (
        JSON,
        image([[0] * 28] * 27),
        Malformed("Expected 28 rows of 28 numbers, or 784 numbers; found a list of 27."),
    ),
    "a short row": (
        JSON,
        image([[0] * 28] * 27 + [[0] * 27]),
        Malformed("Expected 28 rows of 28 numbers, or 784 numbers; found a list of 28."),
    ),
    "texts among numbers": (
        JSON,
        image(["1"] * 784),
        Malformed("Expected 784 numbers; found another type among them."),
    ),
    "under 0": (JSON, image([-1] + [9] * 783), Unusable(f"{OUTSIDE}found -1 to 9.", limit=255)),
    "over 255": (JSON, image([255.5] + [9] * 783), Unusable(f"{OUTSIDE}found 9 to 255.5.", limit=255)),
    "scaled": (JSON, image([0.5, 1.0] * 392), Unusable(f"{OUTSIDE}{SCALED}", limit=255)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_every_refusal_says_what_was_wrong_and_the_limit(case: str) -> None:
    """The error has the right type, sentence (up to where a library's text begins) and limit."""
    content_type, body, expected = REFUSED[case]
    with pytest.raises(type(expected)) as caught:
        parse(content_type, body, max_images=3)
    assert caught.value.detail.startswith(expected.detail)
    assert caught.value.limit == expected.limit


def test_a_long_text_is_read_piece_by_piece() -> None:
    """Three megabytes of base64 are decoded; a character that is not base64 is found in every piece."""
    content = np.random.default_rng(0).bytes(3 * 2**20)
    text = base64.b64encode(content).decode()
    assert parse(JSON, image(text), max_images=3).items == [content]
    with pytest.raises(Malformed, match="not base64"):
        parse(JSON, image(text[:3_000_000] + "!" + text[3_000_001:]), max_images=3)
    for size in range(2**20 * 3 // 4 - 3, 2**20 * 3 // 4 + 4):  # whose padding would be around the end of a piece
        assert parse(
            JSON, image(base64.urlsafe_b64encode(content[:size]).decode().rstrip("=")), max_images=3
        ).items == [content[:size]]


def test_in_a_list_a_refusal_is_its_pictures_alone() -> None:
    """The error of one of several pictures is in its place."""
    first, bad, last = parse(JSON, images(BASE64, None, BASE64), max_images=3).items
    assert first == last == FILE
    assert isinstance(bad, Malformed)


def test_pixels_as_floats_are_refused_and_no_real_digit_is(digits: Digits) -> None:
    """Each of the 10,000 digits as float32 and float64, scaled or whole; and in fours, and among blank pictures."""
    for image in digits.images:
        for scaled in (image, image / 255):
            assert formats.floats(scaled.astype("<f4").tobytes()) is not None
            assert formats.floats(scaled.astype("<f8").tobytes()) is not None
        for blank in (3, 7):
            assert formats.floats(image.tobytes() + bytes(784 * blank)) is None
    for first in range(0, len(digits.images), 4):
        assert formats.floats(digits.images[first : first + 4].tobytes()) is None
        assert formats.floats(digits.images[first : first + 8].tobytes()) is None


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_what_is_no_pixel_in_float_is_let_be(dtype: str) -> None:
    """Blank pictures are uint8; so is what would read as numbers over 255 or under 0, as no number, or as tiny ones."""
    for number in (0, 256, -1, -0.0, np.nan, np.inf, 1e-20, 1.5):
        assert formats.floats(np.full(784, number, dtype).tobytes()) is None, number
    one = np.zeros(784, dtype)
    one[500] = 0.25
    assert formats.floats(one.tobytes()) is not None
    noise = np.random.default_rng(0).random((64, 784)).astype(dtype)
    assert formats.floats(noise.tobytes()) is not None
    assert formats.floats(noise.tobytes()[:-1]) is None
