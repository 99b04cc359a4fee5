"""The fast path and the normal way are alike: whatever is sent, both give the same answers, byte for byte."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from tests.support.hostile_bodies import NO_TARGETS, SMUGGLED, garbled, wrong_framing
from tests.support.http import OCTETS, post, responses
from tests.support.pictures import SEVEN, png
from tests.support.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.service import Service

PREDICT, INFER = b"POST /predict HTTP/1.1", b"POST /v2/models/mnist-mlp/infer HTTP/1.1"
GOOD = {
    "a picture": post(SEVEN),
    "pixels": post(bytes(784), kind=OCTETS),
    "a picture without ink": post(png(np.full((28, 28), 255, np.uint8))),
    "an inference": post(bytes(784), "Inference-Header-Content-Length: 0", kind=OCTETS).replace(PREDICT, INFER),
    "HTTP/1.0": post(SEVEN, version="1.0"),
    "HTTP/1.0 that asks for HTTP/2": post(SEVEN, "Connection: Upgrade", "Upgrade: h2c", version="1.0"),
    "HTTP/1.0 that would wait for 100": post(SEVEN, "Expect: 100-continue", version="1.0"),
    "HTTP/2 asked for": post(SEVEN, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA"),
    "chunks": post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SEVEN), SEVEN),
    "lists in two lines": post(SEVEN, "Accept: a", "Connection: keep-alive", "Accept: b", "X-Forwarded-For: 1.1.1.1"),
    "closing in the second line": post(SEVEN, "Connection: keep-alive", "Connection: close"),
    "an URL": post(SEVEN).replace(b" /predict", b" http://other.example:80/predict"),
    "an URL in capitals": post(SEVEN).replace(b" /predict", b" HTTPS://[::1]/predict"),
    "an URL with a query": post(SEVEN).replace(b" /predict", b" http://h/predict?explain=0"),
    "an URL for GET": b"GET http://host/livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a slash too many": post(SEVEN).replace(b" /predict", b" /predict/"),
    "a slash and a query": post(SEVEN).replace(b" /predict", b" /predict/?explain=0"),
}
ODD = {
    "no picture": post(b"x"),
    "too early": post(SEVEN, "X-Request-Timeout-Ms: none"),
    "an id that is none": post(SEVEN, "X-Request-ID: a b"),
    "two slashes too many": post(SEVEN).replace(b" /predict", b" /predict//"),
    "a slash that is encoded": post(SEVEN).replace(b" /predict", b" /predict%2f"),
    "a line's end that is encoded": post(SEVEN).replace(b" /predict", b" /predict%0a"),
    "a letter that is encoded": post(SEVEN).replace(b" /predict", b" /p%72edict"),
    "one more folder": post(SEVEN).replace(b" /predict", b" /page/../predict"),
    "half a body": post(SEVEN)[:-20],
    "half a head": post(SEVEN)[:50],
    "other letters": post(SEVEN).replace(b"Content-Type", b"cONTENT-tYPE"),
    "spaces around a value": post(SEVEN).replace(b"image/png", b"  image/png \t"),
}


class Pair(NamedTuple):
    """A service with the fast path, and one without."""

    fast: Service
    normal: Service


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_service() as fast, running_service(fast_path=False) as normal:
        yield Pair(fast, normal)


@pytest.mark.parametrize("name", GOOD)
def test_good_requests_of_half_closed_clients_are_answered_alike(pair: Pair, name: str) -> None:
    """A client may close its side behind its requests: it gets the answers to all of them, on both ways."""
    closes = re.search(rb"HTTP/1.0|: close", GOOD[name])
    for sent, count in ((GOOD[name], 1), (GOOD[name] * 2, 1 if closes else 2)):
        fast, normal = (responses(service, sent) for service in pair)
        assert fast == normal
        assert [answer.status for answer in fast] == [200] * count


WRONG = wrong_framing()


@pytest.mark.parametrize("name", [*ODD, *WRONG])
def test_odd_requests_are_answered_alike(pair: Pair, name: str) -> None:
    """The same status, headers and body."""
    sent = ODD.get(name) or WRONG[name] + SMUGGLED
    fast, normal = (responses(service, sent) for service in pair)
    assert fast == normal
    assert fast


@pytest.mark.parametrize("asked", ["GOOD", "ODD"])
def test_origins_and_a_proxys_path_are_answered_alike(asked: str) -> None:
    """With an origin that may read the answer and one that may not, below the path and beside it: byte for byte."""
    settings = {"cors_origins": "https://a.example", "root_path": "/below"}
    with running_service(**settings) as fast, running_service(fast_path=False, **settings) as normal:
        for name, request in {"GOOD": GOOD, "ODD": ODD}[asked].items():
            for origin in (b"https://a.example", b"https://b.example"):
                for path in (b" /", b" /below/"):
                    sent = request.replace(b"Host: x", b"Host: x\r\nOrigin: %b" % origin).replace(b" /", path, 1)
                    answers = responses(fast, sent)
                    assert answers == responses(normal, sent), (name, sent)
                    allowed = b"access-control-allow-origin: %b" % origin in b"\n".join(answers[0].headers)
                    assert allowed == (origin == b"https://a.example"), (name, sent)


def test_garbled_requests_are_answered_alike(pair: Pair) -> None:
    """A thousand of them; one that breaks off may have been answered before that was seen."""
    for sent in garbled(1000, seed=2):
        fast, normal = (responses(service, sent) for service in pair)
        assert fast == normal or any(b"breaks off" in answer.body for answer in fast + normal), sent


def test_no_head_leaves_a_stack_in_the_log(tmp_path: Path) -> None:
    """Odd targets and a thousand garbled heads: each is answered, and nothing fails within."""
    log = tmp_path / "log"
    with running_service(under=["sh", "-c", f'exec 2>{log}; exec "$@"', "sh"]) as service:
        for url in NO_TARGETS:
            for method in (b"GET", b"POST", b"HEAD", b"OPTIONS"):
                (answer,) = responses(service, b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, url))
                assert answer.status == (404 if (method, url) == (b"OPTIONS", b"*") else 400)
        for sent in garbled(1000, seed=3):
            assert responses(service, sent), sent
    text = log.read_text()
    assert not re.search("(?i)traceback|exception|failed", text), text


@pytest.mark.parametrize("fast_path", [True, False])
def test_who_closes_before_the_end_is_not_waited_for(fast_path: bool) -> None:
    """Half a request, then the client's end: what was whole is answered, the half refused, and no time passes."""
    with running_service(fast_path=fast_path, timeout_seconds=600, keep_alive_seconds=600) as service:
        assert responses(service, b"") == []
        for half in (b"GET", post(SEVEN)[:60], post(SEVEN)[:-1]):
            for count in (0, 3):
                statuses = [answer.status for answer in responses(service, post(SEVEN) * count + half)]
                assert statuses == [200] * count + [400]
