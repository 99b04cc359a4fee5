"""What operators meet: health, the card, documentation, ids, logs, shutdown."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

from tests.support.formats import WITH_HEIC
from tests.support.pictures import png
from tests.support.service import MODELS, ROOT, VERSION, running_service

if TYPE_CHECKING:
    from tests.support.pictures import Digits


@pytest.mark.parametrize(("path", "status"), [("/livez", "alive"), ("/readyz", "ready"), ("/healthz", "ready")])
def test_health(client: httpx.Client, path: str, status: str) -> None:
    """A service that serves is alive and ready."""
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": status})


def test_the_card_of_the_version_that_answers(client: httpx.Client) -> None:
    """`/model` is model.json as training wrote it."""
    assert client.get("/model").json() == json.loads((MODELS / VERSION / "model.json").read_text())


def test_unknown_routes_and_wrong_methods_are_problems(client: httpx.Client) -> None:
    """404 and 405 come in RFC 9457's form too, and 405 names the methods."""
    missing = client.get("/predictions")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert "/predictions" in missing.json()["detail"]
    wrong = client.get("/predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.headers["content-type"] == "application/problem+json"


def test_request_ids_are_taken_over_or_made(client: httpx.Client) -> None:
    """A sane X-Request-ID is echoed; one that could break a log is replaced; none gets a new one."""
    assert client.get("/livez", headers={"X-Request-ID": "order-66.a"}).headers["x-request-id"] == "order-66.a"
    made = [
        client.get("/livez", headers=headers).headers["x-request-id"] for headers in ({}, {"X-Request-ID": "a b<>"})
    ]
    assert len(set(made)) == 2
    assert all(re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", request_id) for request_id in made)


def test_openapi_declares_what_predict_takes_and_answers(client: httpx.Client, digits: Digits) -> None:
    """Every input form has an entry, JSON has examples that work as given, and every status code is declared."""
    operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    content = operation["requestBody"]["content"]
    kinds = "png jpeg webp gif bmp tiff avif" + " heic" * WITH_HEIC
    pictures = {f"image/{kind}" for kind in kinds.split()}
    assert set(content) == {*pictures, "multipart/form-data", "application/octet-stream", "application/json"}
    for name, example in content["application/json"]["examples"].items():
        assert client.post("/predict", json=example["value"]).status_code == 200, name
    assert set(operation["responses"]) == {"200", "400", "408", "413", "415", "422", "500", "503", "504"}


def test_docs_need_nothing_from_elsewhere(client: httpx.Client) -> None:
    """`/docs` loads its scripts and styles from the service itself, by URLs that hold below any prefix."""
    html = client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert sources
    for source in sources:
        assert re.match(r"\w[\w-]*/", source), source
        assert client.get(f"/{source}").status_code == 200


def test_the_access_log_is_json_and_off_by_default(digits: Digits, capfd: pytest.CaptureFixture[str]) -> None:
    """With access_log=1 each request is one JSON line with id, route, status and time; by default there is none."""
    for share in (0, 1):
        with running_service(access_log=share) as service:
            headers = {"X-Request-ID": "mine"}
            httpx.post(f"{service.url}/predict", content=png(digits.images[0]), headers=headers)
        lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
        logged = [line for line in lines if line.get("request_id") == "mine"]
        assert len(logged) == share
    assert {k: logged[0][k] for k in ("route", "method", "status")} == {
        "route": "/predict", "method": "POST", "status": 200,
    }  # fmt: skip
    assert logged[0]["ms"] > 0


def test_what_clients_send_is_no_line_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """A refused body, in whichever form, or a picture with spoilt EXIF, fills nobody's disk."""
    photo = io.BytesIO()
    Image.new("L", (28, 28)).save(photo, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01garbage")
    with running_service() as service:
        assert httpx.post(f"{service.url}/predict", content=photo.getvalue()).status_code == 200
        for kind in ("multipart/form-data; boundary=b", "application/json", "image/png", "image/jpeg"):
            refused = httpx.post(f"{service.url}/predict", content=b"--b?", headers={"Content-Type": kind})
            assert 400 <= refused.status_code < 500
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["message"] for line in lines if line["level"] != "info"] == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(workers: int, number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    """SIGTERM and Ctrl-C end the service with exit code 0 and no stack on the terminal."""
    with running_service(workers=workers) as service:
        service.process.send_signal(number)
        assert service.process.wait(20) == 0
    assert "Traceback" not in capfd.readouterr().err


def test_requests_under_way_are_answered_at_shutdown(digits: Digits) -> None:
    """A request whose body is still arriving when SIGTERM comes is answered before the service ends."""
    with running_service() as service:
        host, port = service.url.removeprefix("http://").split(":")
        body = png(digits.images[0])
        head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(head + body[:50])
            httpx.get(f"{service.url}/livez")  # by now the service has read the first part
            service.process.send_signal(signal.SIGTERM)
            threading.Timer(0.3, lambda: connection.sendall(body[50:])).start()
            answer = connection.makefile("rb").read()
        assert service.process.wait(20) == 0
    assert b"200 OK" in answer
    assert b'"digit":7' in answer


def test_workers_end_with_the_process_that_started_them() -> None:
    """However it dies: after SIGKILL its workers leave, and the port is free for a new service."""
    with running_service(workers=2) as service:
        host, port = service.url.removeprefix("http://").split(":")
        service.process.kill()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
            except ConnectionResetError:  # a worker ended with the connection
                continue
            except ConnectionRefusedError:
                break
        else:
            pytest.fail("the workers are still listening")


def test_a_taken_port_is_told_with_exit_code_4() -> None:
    """An address that cannot be listened on ends the start with one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "service", "--port", port],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ended.returncode == 4
    assert ended.stderr == f"service: MNIST_PORT: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
