"""`POST /predict` through the front door: every input form, every refusal, the real model."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import struct
import zlib
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.support.http import post, read_response
from tests.support.metrics import predictions, samples, value
from tests.support.pictures import Digits, png
from tests.support.service import Service, running_service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.arrays import Pixels
    from service.model.classifier import Classifier

PNG = {"content-type": "image/png"}
RAW = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data"}
FORM_B = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "app alone"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """A client of a service with the fast path, and of one without: no test may see a difference."""
    with running_service(fast_path=request.param) as service, httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def as_jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def as_base64(pixels: Pixels) -> str:
    return base64.b64encode(png(pixels)).decode()


FORMS: dict[str, Callable[[Pixels], dict[str, Any]]] = {
    "image/png": lambda x: {"content": png(x), "headers": PNG},
    "image/jpeg": lambda x: {"content": as_jpeg(x), "headers": {"content-type": "image/jpeg"}},
    "picture without a content type": lambda x: {"content": png(x)},
    "picture as curl's --data-binary": lambda x: {
        "content": png(x),
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    },
    "picture as octet-stream": lambda x: {"content": png(x), "headers": RAW},
    "multipart": lambda x: {"files": {"any name": ("digit.png", png(x), "image/png")}},
    "784 bytes": lambda x: {"content": x.tobytes(), "headers": RAW},
    "JSON base64": lambda x: {"json": {"image": as_base64(x)}},
    "JSON data URL": lambda x: {"json": {"image": f"data:image/png;base64,{as_base64(x)}"}},
    "JSON 28 rows": lambda x: {"json": {"image": x.tolist()}},
    "JSON 784 numbers": lambda x: {"json": {"image": x.ravel().tolist()}},
    "JSON whole floats": lambda x: {"json": {"image": x.astype(float).ravel().tolist()}},
    "JSON list of one": lambda x: {"json": {"images": [as_base64(x)]}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gets_the_offline_answer(
    client: httpx.Client, classifier: Classifier, digits: Digits, form: str
) -> None:
    """A digit is answered in every form as the model answers it offline, with the model that did."""
    pixels = digits.images[3]
    answer = client.post("/predict", **FORMS[form](pixels))
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == {"name": classifier.name, "version": classifier.version}
    (prediction,) = answer.json()["predictions"]
    offline = classifier.predict(pixels[None, None])[0]
    tolerance = 0.05 if form == "image/jpeg" else 1e-6  # JPEG changes pixels a little
    assert prediction["probabilities"] == pytest.approx(offline.tolist(), abs=tolerance)
    assert prediction["digit"] == offline.argmax() == digits.labels[3]
    assert prediction["confidence"] == max(prediction["probabilities"])
    assert prediction["warnings"] == []


def test_all_test_digits_as_png_lose_nothing(client: httpx.Client, classifier: Classifier, digits: Digits) -> None:
    """MNIST's test digits sent as PNG files, 64 a request, are answered exactly as the arrays are."""
    offline = classifier.predict(digits.images[:, None]).argmax(1)
    answered: list[int] = []
    for start in range(0, len(digits.images), 64):
        files = [("picture", (f"{i}.png", png(x))) for i, x in enumerate(digits.images[start : start + 64])]
        answer = client.post("/predict", files=files)
        assert answer.status_code == 200, answer.text
        answered += [prediction["digit"] for prediction in answer.json()["predictions"]]
    assert answered == offline.tolist()


def test_dark_ink_on_light_ground_is_the_same_digit(client: httpx.Client, digits: Digits) -> None:
    """A digit in negative, as people write, is read like the digit itself, in pictures and in numbers."""
    negative = 255 - digits.images[0]
    for form in ("image/png", "784 bytes", "JSON 28 rows"):
        (prediction,) = client.post("/predict", **FORMS[form](negative)).json()["predictions"]
        assert prediction["digit"] == digits.labels[0], form


def test_a_batch_keeps_its_order_and_its_errors_apart(client: httpx.Client, digits: Digits) -> None:
    """One bad picture among good ones is that item's error; the others, quick to read or not, are answered in order."""
    zero, one, two = digits.images[:3]
    files = [
        ("a", png(255 - zero)),
        ("b", b"no picture"),
        ("c", png(one)),
        ("d", png(np.kron(two, np.ones((9, 9), np.uint8)))),
    ]
    first, bad, second, third = client.post("/predict", files=files).json()["predictions"]
    assert [item["digit"] for item in (first, second, third)] == digits.labels[:3].tolist()
    assert bad.keys() == {"error"}
    assert bad["error"]["status"] == 415
    images = [as_base64(digits.images[0]), "%%%", [1, 2], as_base64(digits.images[1])]
    answer = client.post("/predict", json={"images": images}).json()["predictions"]
    assert [item.get("digit") for item in answer] == [digits.labels[0], None, None, digits.labels[1]]


def test_raw_batches_of_up_to_the_limit(client: httpx.Client, classifier: Classifier, digits: Digits) -> None:
    """N·784 bytes are N pictures, each answered as offline."""
    answer = client.post("/predict", content=digits.images[:64].tobytes(), headers=RAW).json()["predictions"]
    offline = classifier.predict(digits.images[:64, None])
    found = np.array([prediction["probabilities"] for prediction in answer])
    assert np.abs(found - offline).max() < 1e-6


def test_explain_shows_what_the_network_saw(client: httpx.Client, digits: Digits) -> None:
    """With explain=1 a prediction carries the 28×28 picture, polarity, box, and a heat map of the ink that counted."""
    picture = np.pad(255 - digits.images[0], 40, constant_values=255)
    (prediction,) = client.post("/predict?explain=1", content=png(picture), headers=PNG).json()["predictions"]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(prediction["explain"]["image"]))))
    heat = np.asarray(Image.open(io.BytesIO(base64.b64decode(prediction["explain"]["heatmap"]))))
    assert seen.shape == heat.shape == (28, 28)
    assert heat.max() >= 254
    left, top, right, bottom = prediction["explain"]["box"]
    assert 40 <= left < right <= 68
    assert 40 <= top < bottom <= 68
    assert prediction["explain"]["polarity"] == "dark_on_light"
    assert "explain" not in client.post("/predict", content=png(picture), headers=PNG).json()["predictions"][0]


def huge_png(side: int = 50_000) -> bytes:
    """A PNG of a few kB whose header promises side × side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


SEVEN = np.pad(np.full((20, 3), 255, np.uint8), ((4, 4), (12, 13)))
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty body": ({"content": b"", "headers": PNG}, 400, "empty"),
    "text as PNG": ({"content": b"hello, this is text", "headers": PNG}, 415, "PNG"),
    "truncated PNG": ({"content": png(SEVEN)[:-30], "headers": PNG}, 415, "damaged|cut off"),
    "1-pixel picture": ({"content": png(np.zeros((1, 1), np.uint8)), "headers": PNG}, 422, "1 x 1"),
    "50,000 × 50,000 PNG": ({"content": huge_png(), "headers": PNG}, 413, "at most"),
    "not JSON": ({"content": b"{'image': 1}", "headers": JSON}, 400, "JSON"),
    "JSON of the wrong shape": ({"json": {"image": [[1, 2], [3, 4]]}}, 400, "28 rows of 28"),
    "JSON without a picture": ({"json": {"picture": "x"}}, 400, '"image"'),
    "JSON with both": ({"json": {"image": "x", "images": []}}, 400, '"images"'),
    "JSON nested 2,000 deep": ({"content": b"[" * 2000 + b"]" * 2000, "headers": JSON}, 400, "JSON|expected"),
    "JSON number over 255": ({"json": {"image": [256] + [0] * 783}}, 422, "0 to 255"),
    "JSON number under 0": ({"json": {"image": [-1] + [0] * 783}}, 422, "0 to 255"),
    "JSON NaN": ({"content": json.dumps({"image": [float("nan")] * 784}), "headers": JSON}, 400, "JSON"),
    "JSON null among numbers": ({"json": {"image": [None] + [0] * 783}}, 400, "numbers"),
    "JSON scaled to 0..1": ({"json": {"image": [0.5] * 784}}, 422, "multiply them by 255"),
    "not base64": ({"json": {"image": "&&&"}}, 400, "base64"),
    "data URL of another form": ({"json": {"image": "data:image/png,abc"}}, 400, "base64"),
    "783 bytes": ({"content": bytes(783), "headers": RAW}, 400, "784"),
    "65 pictures": ({"content": bytes(784 * 65), "headers": RAW}, 413, "64"),
    "65 files": ({"files": [("f", png(SEVEN))] * 65}, 413, "64"),
    "form without files": ({"content": b"--b--\r\n", "headers": FORM_B}, 400, "file"),
    "form without boundary": ({"content": b"x", "headers": FORM}, 400, "multipart"),
    "another type": ({"content": b"x", "headers": {"content-type": "text/html"}}, 415, "text/html"),
    "GIF": ({"content": b"GIF89a" + bytes(20), "headers": {"content-type": "image/gif"}}, 415, "damaged"),
    "Photoshop's": ({"content": b"8BPS" + bytes(20), "headers": {"content-type": "image/psd"}}, 415, "PNG"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_a_problem_that_names_it(client: httpx.Client, case: str) -> None:
    """Each kind of bad input is refused with its status, in RFC 9457's form, by a sentence that says what was wrong."""
    request, status, sentence = REFUSED[case]
    answer = client.post("/predict", **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert any(words in problem["detail"] for words in sentence.split("|")), problem["detail"]
    if status == 413:
        assert isinstance(problem["limit"], int)


NO_DIGIT = {"digit": None, "confidence": 0.1, "probabilities": [0.1] * 10, "warnings": ["no_ink"]}


@pytest.mark.parametrize("path", ["/predict", "/predictions/mnist-mlp"])
def test_a_picture_without_ink_has_no_digit(client: httpx.Client, path: str) -> None:
    """White, black, transparent, large or small: the digit is null, and the probabilities are even."""
    for blank in (np.full((90, 60), 255, np.uint8), np.zeros((28, 28), np.uint8), np.zeros((50, 50, 4), np.uint8)):
        assert client.post(path, content=png(blank), headers=PNG).json()["predictions"] == [NO_DIGIT]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grey", [5, 255])
def test_a_picture_without_ink_has_no_digit_in_any_form(client: httpx.Client, form: str, grey: int) -> None:
    """Whatever the body is."""
    answer = client.post("/predict", **FORMS[form](np.full((28, 28), grey, np.uint8)))
    assert answer.json()["predictions"] == [NO_DIGIT]


def test_pictures_without_ink_keep_their_place_in_a_batch(client: httpx.Client, digits: Digits) -> None:
    """Among digits and errors, each picture has its own answer; the digits have the one that they have alone."""
    blank, large = np.zeros((28, 28), np.uint8), np.full((400, 300), 230, np.uint8)
    images = [blank, digits.images[0], large, b"no picture", digits.images[1], blank]
    files = [("f", image if isinstance(image, bytes) else png(image)) for image in images]
    answer = client.post("/predict", files=files).json()["predictions"]
    alone = client.post("/predict", content=digits.images[:2].tobytes(), headers=RAW).json()["predictions"]
    assert answer[3].keys() == {"error"}
    assert answer[:3] + answer[4:] == [NO_DIGIT, alone[0], NO_DIGIT, alone[1], NO_DIGIT]


def test_several_digits_in_mnist_format_are_explained(client: httpx.Client, digits: Digits) -> None:
    """Also a negative among them: each has its own picture and polarity, and the set of digits that was asked for."""
    images = np.stack([digits.images[0], 255 - digits.images[1], digits.images[2]])
    response = client.post("/predict?explain=1&coverage=0.99", content=images.tobytes(), headers=RAW)
    plain = client.post("/predict", content=images.tobytes(), headers=RAW).json()["predictions"]
    found = response.json()["predictions"]
    assert [(one["digit"], one["probabilities"]) for one in found] == [
        (one["digit"], one["probabilities"]) for one in plain
    ]
    assert [one["explain"]["polarity"] for one in found] == ["light_on_dark", "dark_on_light", "light_on_dark"]
    for prediction, image in zip(found, digits.images, strict=False):
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(prediction["explain"]["image"]))))
        assert (seen == image).all()
        assert prediction["digit"] in prediction["set"]


def test_explain_has_a_blank_heat_map_without_ink(client: httpx.Client, digits: Digits) -> None:
    """Beside a digit, which has its own map."""
    files = [("f", png(np.full((90, 60), 255, np.uint8))), ("f", png(digits.images[0]))]
    blank, digit = client.post("/predict?explain=1", files=files).json()["predictions"]
    explained = blank.pop("explain")
    assert blank == NO_DIGIT
    for name in ("image", "heatmap"):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(explained[name]))))
        assert pixels.shape == (28, 28)
        assert not pixels.any()
    assert (explained["polarity"], explained["box"]) == ("dark_on_light", None)
    assert digit["digit"] == digits.labels[0]
    assert digit["explain"]["heatmap"] != explained["heatmap"]


def test_pictures_without_ink_count_as_no_digit(client: httpx.Client, digits: Digits) -> None:
    """Their ink is observed, and neither a digit nor a confidence; the digit beside them counts."""
    url = str(client.base_url).rstrip("/")
    before = samples(f"{url}/metrics")
    blank = png(np.zeros((28, 28), np.uint8))
    for files in ([("f", blank)], [("f", blank), ("f", png(digits.images[0])), ("f", blank)]):
        client.post("/predict", files=files).raise_for_status()
    after = samples(f"{url}/metrics")
    assert predictions(after) - predictions(before) == 1
    for name, more in (("prediction_confidence_count", 1), ("input_ink_ratio_count", 4)):
        assert value(after, f"mnist_{name}") - value(before, f"mnist_{name}") == more


@pytest.mark.parametrize("sign", "AKMWHX")
def test_a_letter_is_answered_with_a_warning(client: httpx.Client, sign: str) -> None:
    """What is no digit gets an answer too, and a warning not to trust it."""
    picture = Image.new("L", (160, 160), 255)
    ImageDraw.Draw(picture).text((45, 20), sign, fill=30, font=ImageFont.load_default(96))
    (prediction,) = client.post("/predict", content=png(np.asarray(picture)), headers=PNG).json()["predictions"]
    assert "unlike_a_digit" in prediction["warnings"]


def test_a_body_of_100_mb_is_refused_unread(client: httpx.Client) -> None:
    """A body over the limit is refused by its declared length, and by its count where none is declared."""
    answer = client.post("/predict", content=bytes(100_000_000), headers=PNG)
    assert (answer.status_code, answer.json()["limit"]) == (413, 32 * 2**20)
    chunks = (bytes(2**20) for _ in range(40))
    answer = client.post("/predict", content=chunks, headers=PNG)
    assert (answer.status_code, answer.json()["limit"]) == (413, 32 * 2**20)


def test_limits_are_settings_and_are_quoted(digits: Digits) -> None:
    """Body, pixels and pictures: each limit is a setting, and what it refuses quotes it."""
    settings: dict[str, Any] = {"max_body_bytes": 4096, "max_pixels": 1000, "max_images": 2}
    with running_service(**settings) as service, httpx.Client(base_url=service.url) as client:
        for body, limit in ((bytes(5000), 4096), (png(np.zeros((40, 40), np.uint8)), 1000)):
            answer = client.post("/predict", content=body, headers=PNG)
            assert (answer.status_code, answer.json()["limit"]) == (413, limit)
        answer = client.post("/predict", content=digits.images[:3].tobytes(), headers=RAW)
        assert (answer.status_code, answer.json()["limit"]) == (413, 2)


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    """A client that stops in the middle of its body gets 408, which names the time it had."""
    with running_service(timeout_seconds=0.3) as service:
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\nContent-Length: 99\r\n\r\nabc"
            connection.sendall(head.encode())
            answer = b""
            while b"0.3 s" not in answer:
                part = connection.recv(65536)
                assert part, answer
                answer += part
    assert answer.startswith(b"HTTP/1.1 408")


def all_at_once(service: Service, request: bytes) -> tuple[int, bytes]:
    """The status and the body of the answer to a request that is there as a whole before any of it is read."""
    host, port = service.url.removeprefix("http://").split(":")
    service.process.send_signal(signal.SIGSTOP)
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        service.process.send_signal(signal.SIGCONT)
        status, _, body = read_response(connection.makefile("rb"))
        return status, body


def test_an_answer_over_its_deadline_is_504(digits: Digits) -> None:
    """What cannot be answered in time is given up with 504 and counted as shed, and the service goes on."""
    long_in_decoding = png(np.zeros((7000, 7000), np.uint8))
    with running_service(timeout_seconds=0.05) as service:
        status, body = all_at_once(service, post(long_in_decoding))
        assert (status, json.loads(body)["limit"]) == (504, 0.05)
        _, metrics = all_at_once(service, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'mnist_shed_requests_total{reason="deadline_exceeded"} 1.0' in metrics
        small = post(png(digits.images[0]))
        until(lambda: all_at_once(service, small)[0] == 200, "it does not go on")
