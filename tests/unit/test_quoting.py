"""What is quoted from a request, and that no error says more of it: over all that takes words from one."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest

from service.quoting import quoted, without_secrets
from tests.support.pictures import png

if TYPE_CHECKING:
    import httpx

LONG = 30_000
INFER = "/v2/models/mnist-mlp/infer"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("name", "name"),
        ("a" * 80, "a" * 80),
        ("a" * 81, "a" * 79 + "…"),
        ("\0" * 81, "\ufffd" * 79 + "\ufffd"),
        ("é\n", "é\ufffd"),
        (None, "None"),
        (True, "True"),
        (2**64 - 1, "18446744073709551615"),
        (0.5, "0.5"),
        ([1, 784], "[1, 784]"),
        ([True, "a", None], "[True, 'a', None]"),
        ([[0] * LONG, {"a": [0] * LONG}], "[list, dict]"),
        ([0] * LONG, "[" + "0, " * 26 + "…"),
        (["a" * LONG], "['" + "a" * 77 + "…"),
        ({"a": 1}, "dict"),
    ],
)
def test_80_printable_characters_are_quoted(value: object, text: str) -> None:
    """Short values as they are; long ones cut; what would be escaped is replaced; what is nested is only named."""
    assert quoted(value)[:79] == text[:79]
    assert len(quoted(value)) == len(text) <= 80


def tensor(**changes: object) -> dict[str, Any]:
    return {"inputs": [{"name": "images", "shape": [1, 1, 28, 28], "datatype": "UINT8", "data": [0] * 784} | changes]}


def with_header(name: str, value: str) -> dict[str, Any]:
    return {"method": "POST", "url": "/predict", "content": b"x", "headers": {name: value}}


def infer(document: object) -> dict[str, Any]:
    return {"method": "POST", "url": INFER, "json": document}


def many(sign: str) -> dict[str, dict[str, Any]]:
    """By name: requests with this sign thirty thousand times, wherever one may be."""
    text = sign * LONG
    path = quote(sign * 2000, safe="")
    return {
        "path": {"method": "GET", "url": f"/{path}"},
        "path of another method": {"method": "POST", "url": f"/page/{path}"},
        "model": {"method": "POST", "url": f"/v2/models/{path}/infer", "content": b"x"},
        "version": {"method": "GET", "url": f"/v2/models/mnist-mlp/versions/{path}"},
        "model of TorchServe": {"method": "POST", "url": f"/predictions/{path}", "content": b"x"},
        "model to load": {"method": "POST", "url": f"/v2/repository/models/{path}/load"},
        "input's name": infer(tensor(name=text)),
        "input's names": infer(tensor(name=[text, text])),
        "datatype": infer(tensor(datatype=text)),
        "shape": infer(tensor(shape=[text])),
        "shapes": infer(tensor(shape=[text] * 4)),
        "size": infer(tensor(data=None, parameters={"binary_data_size": text})),
        "output": infer(tensor() | {"outputs": [{"name": text}]}),
        "classes": infer(tensor() | {"outputs": [{"name": "probabilities", "parameters": {"classification": text}}]}),
        "flag": infer(tensor() | {"parameters": {"binary_data_output": {text: text}}}),
        "id": infer(tensor() | {"id": text}),
        "picture": {"method": "POST", "url": "/predict", "json": {"images": [text] * 64}},
        "pictures": {"method": "POST", "url": "/predict", "json": {"images": [[text], {text: 1}, 7] * 21}},
        "word": {"method": "POST", "url": "/predict", "json": {text: 1}},
    }


SIGNS = ("a", "\0", "\\", "é", "\U000e0001")
REQUESTS = (
    {f"{name} of {sign!r}": request for sign in SIGNS for name, request in many(sign).items()}
    | {
        "Content-Type": with_header("Content-Type", "a" * LONG),
        "Content-Encoding": with_header("Content-Encoding", "a" * LONG) | {"url": INFER},
        "timeout": with_header("X-Request-Timeout-Ms", "\\" * LONG),
        "length of JSON": with_header("Inference-Header-Content-Length", "\\" * LONG) | {"url": INFER},
        "request's id": with_header("X-Request-ID", "a" * LONG),
        "method": {"method": "PATCH", "url": "/predict"},
        "form": with_header("Content-Type", "multipart/form-data; boundary=" + "a" * 900),
        "a hundred items": {
            "method": "POST", "url": "/predict", "json": {"images": ["é" * 900] * 64},
        },
    }
)  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_a_refusal_is_short_whatever_was_sent(client: httpx.Client, name: str) -> None:
    """At most 1 KiB for a refusal, and 256 bytes more for each picture."""
    answer = client.request(**REQUESTS[name])
    assert answer.status_code < 500
    assert len(answer.content) <= 1024 + 256 * 64 * answer.is_success


@pytest.mark.parametrize("side", [8, 28, 29])
def test_answers_of_small_requests_are_small(client: httpx.Client, side: int) -> None:
    """At most 4 KiB for each picture, explained, and 512 bytes otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    body = {"images": [base64.b64encode(png(noise)).decode()] * 64}
    for question, each in (("", 512), ("?explain=1", 4096)):
        answer = client.post(f"/predict{question}", json=body, timeout=60)
        assert answer.status_code == 200
        assert len(answer.content) <= 1024 + 64 * each


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("no address", "no address"),
        ("GET https://name:hunter2@host/x failed", "GET https://…@host/x failed"),
        ("'https://name:hunt@er2@host/x'", "'https://…@host/x'"),
        ("'https://name:hunt/e:r2@host/x'", "'https://…@host/x'"),
        ("'https:/name:hunter2@host/x'", "'…@host/x'"),
        ("name:hunter2@host/x", "…@host/x"),
        ("https://hunter2@host/x", "https://…@host/x"),
        ("hf://team/name@main: 404 at 12:30", "hf://team/name@main: 404 at 12:30"),
        ("//a:" * 200_000, "//a:" * 200_000),
        ('"https://host/x?X-Amz-Signature=hunter2&b=c": 403', '"https://host/x?…": 403'),
        (r"Illegal header value b'Bearer hunter2\n'", "Illegal header value b'Bearer …"),
        ("Authorization: Basic aHVudGVyMg==, and more", "Authorization: Basic … and more"),
    ],
)
def test_what_may_be_secret_in_an_error_is_cut(text: str, cut: str) -> None:
    """The user's name and password in an address, its query, and tokens in headers."""
    assert without_secrets(text) == cut
