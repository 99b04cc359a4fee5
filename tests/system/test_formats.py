"""Formats of pictures over HTTP and gRPC's JSON: each in every kind of body, and each can be switched off."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, NamedTuple

import httpx
import numpy as np
import pytest
from PIL import Image

from service.picture.formats import FORMATS
from tests.support.formats import KINDS, encode
from tests.support.http import post, responses
from tests.support.pictures import SEVEN, SEVEN_FILE, png
from tests.support.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.service import Service

PICTURE = Image.open(SEVEN_FILE).convert("RGB")
INFER = "/v2/models/mnist-mlp/infer"


class Pair(NamedTuple):
    """A service with the fast path, and one without, which read WebP and TIFF alone."""

    fast: Service
    normal: Service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as service:
        yield service


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    some = {"formats": "TIFF, webp"}
    with running_service(**some) as fast, running_service(fast_path=False, **some) as normal:
        yield Pair(fast, normal)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", *KINDS])
def test_each_format_is_read_in_every_kind_of_body(service: Service, kind: str) -> None:
    """By its type or by its bytes alone, in a form, as base64, as a data URL, and as BYTES of a tensor: a 7."""
    data = encode(PICTURE, kind)
    text = base64.b64encode(data).decode()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}
    with httpx.Client(base_url=service.url) as client:
        answers = [
            client.post("/predict", content=data, headers={"Content-Type": f"image/{kind.lower()}"}),
            client.post("/predict", content=data),
            client.post("/predict", files={"a": ("IMG_1", data)}),
            client.post("/predict", json={"image": text}),
            client.post("/predict", json={"image": f"data:image/{kind.lower()};base64,{text}"}),
        ]
        assert [answer.json()["predictions"][0]["digit"] for answer in answers] == [7] * 5
        (output,) = client.post(INFER, json={"inputs": [tensor]}).json()["outputs"]
        assert np.argmax(output["data"]) == 7


def test_the_document_has_the_types(service: Service, pair: Pair) -> None:
    """/openapi.json has a media type for each format that is read."""

    def types(url: str) -> set[str]:
        document = httpx.get(f"{url}/openapi.json").json()
        return set(document["paths"]["/predict"]["post"]["requestBody"]["content"])

    assert types(service.url) >= {FORMATS[name].media_type for name in FORMATS if name != "heic"}
    assert {name for name in types(pair.fast.url) if name.startswith("image/")} == {"image/webp", "image/tiff"}


def small(digit: np.ndarray) -> dict[str, bytes]:
    """PNGs of each way through the service."""
    form = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n%b\r\n'
    return {
        "in MNIST's format": png(digit),
        "small": png(np.full((30, 30), 255, np.uint8)),
        "large": SEVEN,
        "several": b"".join(form % png(digit) for _ in range(2)) + b"--b--\r\n",
    }


def mnist_format() -> np.ndarray:
    digit = np.zeros((28, 28), np.uint8)
    digit[4:24, 13:15] = 255
    return digit


@pytest.mark.parametrize("name", small(mnist_format()))
def test_png_that_is_off_is_refused_on_every_way(pair: Pair, name: str) -> None:
    """Also where a PNG is read without a reader; what is on is read."""
    body = small(mnist_format())[name]
    kind = "multipart/form-data; boundary=b" if name == "several" else "image/png"
    (fast,), (normal,) = (responses(each, post(body, kind=kind)) for each in pair)
    assert fast == normal
    told = b"This is a PNG, which is not read here; convert it to WebP or TIFF."
    assert fast.body.count(told) == (2 if name == "several" else 1)
    stream = io.BytesIO()
    Image.fromarray(mnist_format()).save(stream, "WEBP", lossless=True)
    for each in pair:
        (answer,) = responses(each, post(stream.getvalue(), kind="image/webp"))
        assert answer.status == 200
