"""The client for scripts, against a real service."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pytest
from PIL import Image

from service.client import Client, ClientError, Prediction, Refused, main
from tests.support.service import MODELS, VERSION, running_service
from tests.support.versions import publish_with_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest import CaptureFixture, MonkeyPatch


@pytest.fixture(scope="module")
def digits() -> list[tuple[int, bytes]]:
    """Real digits with the model's own answers: the golden batch as PNG."""
    with np.load(MODELS / VERSION / "golden.npz") as golden:
        labels = golden["probabilities"].argmax(axis=1)
        return [(int(label), png(image[0])) for label, image in zip(labels, golden["images"], strict=True)]


@pytest.fixture
def ask(server_url: str) -> Iterator[Client]:
    with Client(server_url) as client:
        yield client


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_predicts_bytes_and_files(ask: Client, digits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    """A picture is bytes or a path, and the answer is a typed prediction."""
    label, data = digits[0]
    file = tmp_path / "digit.png"
    file.write_bytes(data)
    answer = ask.predict(data)
    assert isinstance(answer, Prediction)
    assert (answer.digit, len(answer.probabilities)) == (label, 10)
    assert answer.confidence == pytest.approx(max(answer.probabilities))
    assert ask.predict(file) == answer


def test_batches_keep_their_order(ask: Client, digits: list[tuple[int, bytes]]) -> None:
    """Many pictures are answered in order, over one connection, an unreadable one in its own place."""
    pictures = [data for _, data in digits] * 5
    pictures[40] = b"no picture"
    outcomes = list(ask.predict_many(pictures))
    refused = outcomes.pop(40)
    assert isinstance(refused, Refused)
    assert refused.status == 415
    labels = [label for label, _ in digits] * 5
    del labels[40]
    assert [outcome.digit for outcome in outcomes if isinstance(outcome, Prediction)] == labels


def test_refusal_carries_the_services_words(ask: Client) -> None:
    """A single picture that is refused raises the service's sentence and status."""
    with pytest.raises(Refused, match=r".{20}") as caught:
        ask.predict(b"\x89PNG\r\n\x1a\n and no more")
    assert caught.value.status == 415


def test_missing_file_is_its_own_failure(ask: Client, digits: list[tuple[int, bytes]], tmp_path: Path) -> None:
    """A file that is not there does not spoil the others of its batch."""
    missing, there = ask.predict_many([tmp_path / "missing.png", digits[0][1]])
    assert str(missing) == "No such file or directory"
    assert isinstance(there, Prediction)


def test_unreachable_service_is_named() -> None:
    """A refused connection names the URL."""
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ClientError, match=f"no service at {url}: Connection refused"):
        Client(url).predict(b"x")


class Moody(BaseHTTPRequestHandler):
    """A service that answers with what the test prepared: a status, a Retry-After, a body."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[list[tuple[int, str, bytes]]] = []
    bodies: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])).count(b"picture "))
        status, wait, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if wait:
            self.send_header("Retry-After", wait)
        if not self.answers:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def moody_url() -> Iterator[str]:
    Moody.answers, Moody.bodies = [], []
    with HTTPServer(("127.0.0.1", 0), Moody) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def problem(status: int) -> bytes:
    return json.dumps({"status": status, "detail": "not now"}).encode()


def answer(count: int) -> bytes:
    one = {"digit": 7, "confidence": 1.0, "probabilities": [0.0] * 10, "warnings": []}
    return json.dumps({"predictions": [one] * count}).encode()


def test_full_service_is_asked_again_when_it_says(moody_url: str, monkeypatch: MonkeyPatch) -> None:
    """After a 503 the client waits as long as Retry-After says, then asks again."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    Moody.answers = [(503, "3", problem(503)), (503, "", problem(503)), (200, "", answer(1))]
    assert Client(moody_url).predict(b"picture ").digit == 7
    assert waits == [3, 1]


def test_gives_up_on_a_service_that_stays_full(moody_url: str, monkeypatch: MonkeyPatch) -> None:
    """A service that is still full after five tries is believed."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    Moody.answers = [(503, "1", problem(503))] * 5
    with pytest.raises(Refused, match="not now") as caught:
        Client(moody_url).predict(b"picture ")
    assert (caught.value.status, len(Moody.bodies)) == (503, 5)


def test_halves_a_batch_that_is_too_large(moody_url: str) -> None:
    """A service with lower limits gets smaller batches, and every picture is answered."""
    Moody.answers = [(413, "", problem(413)), (200, "", answer(2)), (200, "", answer(3))]
    outcomes = list(Client(moody_url).predict_many([b"picture "] * 5))
    assert [type(outcome) for outcome in outcomes] == [Prediction] * 5
    assert Moody.bodies == [5, 2, 3]


def test_foreign_answer_is_told(moody_url: str) -> None:
    """Something else that answers at the URL is not taken for the service."""
    Moody.answers = [(200, "", b"<h1>It works!</h1>")]
    with pytest.raises(ClientError, match="answered 200 with something that is not"):
        Client(moody_url).predict(b"picture ")


def test_table_of_files_and_folders(
    server_url: str, digits: list[tuple[int, bytes]], tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    """The command prints a row for each picture of a folder and its subfolders, and succeeds."""
    (tmp_path / "more").mkdir()
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "a.png").write_bytes(digits[0][1])
    (tmp_path / "more" / "b.PNG").write_bytes(digits[1][1])
    assert main([str(tmp_path), "--url", server_url]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["file", "digit", "confidence", "warnings"]
    cells = [row.split() for row in rows]
    assert [row[:2] for row in cells] == [
        [str(tmp_path / "a.png"), str(digits[0][0])],
        [str(tmp_path / "more" / "b.PNG"), str(digits[1][0])],
    ]


def test_table_says_that_there_is_no_digit(server_url: str, tmp_path: Path, capsys: CaptureFixture[str]) -> None:
    """A blank picture is no failure: its row has `none` and the warning, its line of JSON null."""
    blank = tmp_path / "blank.png"
    blank.write_bytes(png(np.full((40, 40), 255, np.uint8)))
    assert main([str(blank), "--url", server_url]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [str(blank), "none", "10.0%", "no_ink"]
    assert main([str(blank), "--url", server_url, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == {
        "file": str(blank), "digit": None, "confidence": 0.1, "probabilities": [0.1] * 10, "warnings": ["no_ink"]
    }  # fmt: skip


def test_table_has_the_digits_of_a_set(
    digits: list[tuple[int, bytes]], tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    """With --coverage: the set is behind a digit where it has several, and in each line of JSON."""
    (tmp_path / "digit.png").write_bytes(digits[0][1])
    label = digits[0][0]
    for quantile, several in ((0, False), (None, True)):
        models = tmp_path / f"models{quantile}"
        models.mkdir()
        publish_with_card(models, 3, conformal={"levels": [0.99], "quantiles": [quantile]})
        with running_service(model_dir=models, model_version="latest") as service:
            words = [str(tmp_path / "digit.png"), "--url", service.url, "--coverage", "0.99"]
            assert main(words) == 0
            row = capsys.readouterr().out.splitlines()[1]
            assert (f"one of {label}, " in row) is several
            assert main([*words, "--json"]) == 0
            found = json.loads(capsys.readouterr().out)["set"]
            assert (found[0], len(found)) == (label, 10 if several else 1)


def test_coverage_that_the_service_refuses_is_told(
    server_url: str, digits: list[tuple[int, bytes]], tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    """In the picture's row, in the service's words."""
    (tmp_path / "digit.png").write_bytes(digits[0][1])
    assert main([str(tmp_path / "digit.png"), "--url", server_url, "--coverage", "0.5"]) == 1
    assert "error: coverage must be a number from 0.9 to 0.9999; found '0.5'." in capsys.readouterr().out


def test_failures_are_in_the_table_and_in_the_exit_code(
    server_url: str, digits: list[tuple[int, bytes]], tmp_path: Path, capsys: CaptureFixture[str]
) -> None:
    """A refused picture's row names the file and why; the exit code is 1, and lines of JSON say the same."""
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(digits[0][1])
    bad.write_text("not a picture")
    assert main([str(good), str(bad), "--url", server_url]) == 1
    row = capsys.readouterr().out.splitlines()[2]
    assert row.startswith(str(bad))
    assert "error: " in row
    assert main([str(good), str(bad), "--url", server_url, "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["file"], first["digit"]) == (str(good), digits[0][0])
    assert (second["file"], second["error"]["status"]) == (str(bad), 415)


def test_usage_and_unreachable(capsys: CaptureFixture[str]) -> None:
    """No picture or a bad URL is usage, exit code 2; no service is exit code 1 with the URL."""
    for arguments in ([], ["a.png", "--url", "localhost:8000"], ["a.png", "--url", "http://localhost:port"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    url = f"http://127.0.0.1:{free_port()}"
    assert main([__file__, "--url", url]) == 1
    assert url in capsys.readouterr().err


def test_reads_stdin_with_the_standard_library_alone(server_url: str, digits: list[tuple[int, bytes]]) -> None:
    """`python -m service.client -` answers the picture on stdin, in an interpreter without site-packages."""
    label, data = digits[0]
    command = [sys.executable, "-S", "-m", "service.client", "-", "--url", server_url, "--json"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["digit"] == label


@pytest.mark.parametrize("buffered", [True, False])
def test_a_pipe_that_nobody_reads_ends_it_without_a_word(server_url: str, tmp_path: Path, buffered: bool) -> None:
    """As other programs end by `| head`: no stack, and the code of that signal."""
    with Image.new("L", (28, 28)) as image:
        image.save(tmp_path / "digit.png")
    command = [
        sys.executable,
        *([] if buffered else ["-u"]),
        "-m",
        "service.client",
        str(tmp_path),
        "--url",
        server_url,
    ]
    reading, writing = os.pipe()
    os.close(reading)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
