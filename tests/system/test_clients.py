"""Who the client is, behind proxies that are trusted: in the access log, on both paths alike."""

from __future__ import annotations

import json

import pytest

from service.access.proxies import TrustedProxies
from tests.support.http import post, responses
from tests.support.service import running_service

TRUSTED = "127.0.0.1, 10.0.0.0/8,2001:db8::/32"
LOCAL = "127.0.0.1"
CASES = {
    "nothing": (None, LOCAL),
    "nothing in it": ("", LOCAL),
    "a client": ("203.0.113.7", "203.0.113.7"),
    "a client's own word": ("1.1.1.1, 203.0.113.7", "203.0.113.7"),
    "two proxies": ("1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
    "two lines": ("1.1.1.1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2", "203.0.113.7"),
    "proxies alone": ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "a port": ("203.0.113.7:1234", "203.0.113.7"),
    "IPv6": ("2001:db8::1, 2003::7, 2001:db8::2", "2003::7"),
    "IPv6 with a port": ("[2003::7]:1234, [2001:db8::2]:1", "2003::7"),
    "IPv4 in IPv6": ("::ffff:203.0.113.7, ::ffff:10.0.0.2", "203.0.113.7"),
    "no address": ("203.0.113.7, unknown", LOCAL),
    "no address behind a proxy": ("203.0.113.7, <script>, 10.0.0.2", "10.0.0.2"),
    "a zone": ("fe80::1%<script>", "fe80::1"),
    "commas": (",,,", LOCAL),
    "more proxies than there are": ("203.0.113.7" + ", 10.0.0.2" * 500, "10.0.0.2"),
}


@pytest.mark.parametrize(
    ("fast_path", "trusted"), [(True, TRUSTED), (False, TRUSTED), (True, "192.0.2.1"), (False, None)]
)
def test_the_log_names_the_client_behind_trusted_proxies(
    capfd: pytest.CaptureFixture[str], fast_path: bool, trusted: str | None
) -> None:
    """The last address that is not a trusted proxy's; whoever is not trusted is the client."""
    settings = {} if trusted is None else {"trusted_proxies": trusted}
    with running_service(fast_path=fast_path, access_log=1, **settings) as service:
        for number, (forwarded, _) in enumerate(CASES.values()):
            for name, request in (
                ("answered", post(bytes(784), kind="application/octet-stream")),
                ("refused", b"GET http://h HTTP/1.1\r\nHost: x\r\n\r\n"),
            ):
                lines = f"Host: x\r\nX-Forwarded-Proto: https\r\nX-Request-ID: {name}-{number}"
                lines += "" if forwarded is None else f"\r\nX-Forwarded-For: {forwarded}"
                responses(service, request.replace(b"Host: x", lines.encode()))
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    clients = {line["request_id"]: line["client"] for line in logged if "request_id" in line}
    for number, (name, (_, client)) in enumerate(CASES.items()):
        expected = client if trusted == TRUSTED else LOCAL
        assert clients[f"answered-{number}"] == clients[f"refused-{number}"] == expected, name


def test_a_peer_may_have_its_address_in_ipv6() -> None:
    """A service that listens on :: sees IPv4 so; and a peer without an address is nobody's proxy."""
    proxies = TrustedProxies(TRUSTED)
    assert proxies.client("::ffff:10.1.2.3", [(b"x-forwarded-for", b"203.0.113.7")]) == "203.0.113.7"
    assert proxies.client(None, [(b"x-forwarded-for", b"203.0.113.7")]) is None
    assert proxies.client("unix", [(b"x-forwarded-for", b"203.0.113.7")]) == "unix"
