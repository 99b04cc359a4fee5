"""The log: what a request's line says, whichever way it came, and one format for everything that the service writes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from service import __version__
from service.access import keys
from service.model.classifier import Classifier
from tests.support.grpc import MODEL, infer, request
from tests.support.pictures import SEVEN, drawn, png
from tests.support.processes import BLOCKING, worker_pids
from tests.support.service import MODELS, PATIENCE, ROOT, VERSION, running_service, until

if TYPE_CHECKING:
    from pathlib import Path

STAGES = {"decode_ms", "queue_ms", "inference_ms", "encode_ms"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("fast_path", [True, False])
def test_a_requests_line_says_the_same_on_every_way(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], fast_path: bool
) -> None:
    """Fast path, ASGI, reader and gRPC: key, bytes, version, digits, batch, stages and trace, beside what all have."""
    key, entry = keys.new("shop", "infer", None)
    (tmp_path / "keys.txt").write_text(entry)
    message = request(bytes(2 * 784), shape=[2, 1, 28, 28])
    large, pair = png(drawn(300)), [("file", ("7.png", SEVEN, "image/png"))] * 2
    with running_service(
        access_log=1, fast_path=fast_path, grpc_port=0, api_keys_file=tmp_path / "keys.txt"
    ) as service:
        headers = PARENT | {"X-API-Key": key}
        with httpx.Client(base_url=service.url, headers=headers) as client:
            client.post("/predict", content=SEVEN, headers={"X-Request-ID": "one"}).raise_for_status()
            client.post("/predict", content=large, headers={"X-Request-ID": "large"}).raise_for_status()
            form = client.post("/predict", files=pair, headers={"X-Request-ID": "form"}).raise_for_status()
            blank = png(drawn(28) * 0)
            client.post("/predict", content=blank, headers={"X-Request-ID": "blank"}).raise_for_status()
            client.post("/predict", content=b"x", headers={"X-Request-ID": "refused"})
            client.get("/livez", headers={"X-Request-ID": "probe", "traceparent": "00-none"})
        with grpc.insecure_channel(service.grpc) as channel:
            metadata = [*PARENT.items(), ("x-api-key", key), ("x-request-id", "call")]
            infer(channel, message, metadata=metadata)
    logged = {line["request_id"]: line for line in lines(capfd.readouterr().err) if "request_id" in line}
    every = {"time", "level", "logger", "message", "request_id", "method", "route", "status", "ms", "client"}
    sent = every | {"bytes", "key", "trace_id"}
    digits = sent | {"version", "digits", "decode_ms", "encode_ms"}
    for name, size, count in (
        ("one", len(SEVEN), 1),
        ("large", len(large), 1),
        ("form", int(form.request.headers["Content-Length"]), 2),
        ("call", message.ByteSize(), 2),
    ):
        line = logged[name]
        assert set(line) == digits | STAGES | {"batch"}
        assert (line["bytes"], line["digits"], line["batch"]) == (size, count, count)
        assert (line["version"], line["key"], line["trace_id"]) == (VERSION, "shop", TRACE)
        assert (line["client"], line["status"], line["method"]) == ("127.0.0.1", 200, "POST")
        assert 0 < sum(line[stage] for stage in STAGES) < line["ms"]
    assert set(logged["blank"]) == digits
    assert logged["blank"]["digits"] == 0
    assert set(logged["refused"]) == sent
    assert set(logged["probe"]) == every


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "127.0.0.1"),
        (["203.0.113.7"], "203.0.113.7"),
        (["1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    ],
)
def test_calls_over_grpc_have_their_client_behind_trusted_proxies(
    capfd: pytest.CaptureFixture[str], forwarded: list[str], client: str
) -> None:
    """As over HTTP: the last address that is not a trusted proxy's."""
    settings: dict[str, Any] = {"access_log": 1, "grpc_port": 0, "trusted_proxies": "127.0.0.1,10.0.0.0/8"}
    with running_service(**settings) as service, grpc.insecure_channel(service.grpc) as channel:
        infer(channel, request(bytes(3 * 784)), metadata=[("x-forwarded-for", value) for value in forwarded])
    (line,) = [line for line in lines(capfd.readouterr().err) if line.get("route", "").endswith("ModelInfer")]
    assert line["client"] == client


def test_what_serves_is_told_in_fields(capfd: pytest.CaptureFixture[str]) -> None:
    """Addresses and workers in one line; model, checksum, costs and versions in another."""
    with running_service(grpc_port=0) as service:
        pass
    told = {line["message"]: line for line in lines(capfd.readouterr().err)}
    line = told["listening"]
    assert (line["url"], line["metrics"]) == (service.url, f"{service.url}/metrics")
    assert (line["grpc"], line["workers"]) == (int(service.grpc.rpartition(":")[2]), 1)
    line = told[f"serving model {MODEL} version {VERSION}"]
    expected = {
        "model": MODEL,
        "version": VERSION,
        "sha256": Classifier.load(MODELS, VERSION).sha256,
        "service": __version__,
        "python": sys.version.split()[0],
    }
    assert expected.items() <= line.items()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", line["onnxruntime"])
    assert list(line["run_ms"]) == ["1", "2", "4", "8", "16", "32", "64"]
    assert all(milliseconds > 0 for milliseconds in line["run_ms"].values())


NOISE = """\
import sys
exec(open({blocking!r}).read())
if sys.orig_argv[1:] == ["-m", "service"]:
    import logging, os, threading, time, warnings
    class Unraisable:
        def __del__(self):
            raise RuntimeError("a destructor")
    def noise(inherited):
        while logging.getLogger().handlers == inherited:
            time.sleep(0.01)
        warnings.warn("a warning")
        Unraisable()
        raise RuntimeError("a thread")
    def in_worker():
        threading.Thread(target=noise, args=[logging.getLogger().handlers]).start()
    os.register_at_fork(after_in_child=in_worker)
"""


def output_of(monkeypatch: pytest.MonkeyPatch, folder: Path, log_format: str) -> tuple[str, str]:
    """All that a service of two workers writes: at its start, under noise, at faults, and at its end."""
    (folder / "sitecustomize.py").write_text(NOISE.format(blocking=str(BLOCKING / "sitecustomize.py")))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("MNIST_LOG_FORMAT", log_format)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = {"PORT": port, "WORKERS": 2, "MODEL_DIR": MODELS, "ACCESS_LOG": 1, "STALL_SECONDS": 2, "UNHEARD_OF": "x"}
    environment = os.environ | {f"MNIST_{name}": str(value) for name, value in settings.items()}
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            service = type("Started", (), {"process": process})()
            until(lambda: (folder / "err").read_text().count("serving model") == 2, "it does not start")
            httpx.post(f"{url}/predict", content=SEVEN).raise_for_status()
            for text, count in (("RuntimeError: a thread", 2), ("/predict", 1)):
                until(lambda text=text, count=count: (folder / "err").read_text().count(text) == count, text)  # type: ignore[misc]
            killed, stuck = worker_pids(service)
            os.kill(killed, signal.SIGKILL)
            os.kill(stuck, signal.SIGUSR2)
            until(lambda: (folder / "err").read_text().count("serving model") == 4, "they are not replaced")
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return (folder / "out").read_text(), (folder / "err").read_text()


EVENTS = (
    "MNIST_UNHEARD_OF is not a setting",
    "listening",
    "serving model",
    "a warning",
    "an error that nothing handles",
    "has sent no heartbeat",
    "SIGKILL; in succession: 1",
)


def test_everything_is_json_where_the_setting_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing on stdout; each line on stderr is an object with time, level, logger and message: also warnings, faults
    of threads and destructors, and the stacks of a worker that hangs."""
    out, err = output_of(monkeypatch, tmp_path, "json")
    assert out == ""
    told = lines(err)
    for line in told:
        assert re.fullmatch(TIME, line["time"])
        assert {"level", "logger", "message"} <= line.keys()
    messages = "\n".join(line["message"] for line in told)
    for event in EVENTS:
        assert event in messages, event
    assert any("a destructor" in line.get("exception", "") for line in told)
    (hung,) = [line for line in told if "has sent no heartbeat" in line["message"]]
    assert any('"<string>"' in line for line in hung["stacks"]), hung  # where the process is blocked


def test_everything_is_text_where_the_setting_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The addresses on stdout; lines on stderr begin with their time, and stacks follow them."""
    out, err = output_of(monkeypatch, tmp_path, "text")
    assert re.search(r"^  page     http://127\.0\.0\.1:\d+/$", out, re.MULTILINE)
    assert "{" not in re.sub(r"run_ms=\S+", "", err)
    for event in EVENTS:
        assert re.search(rf"^{TIME} \w+ +.*{re.escape(event)}", err, re.MULTILINE), event
    line = rf"^{TIME} info     request request_id=\S+ method=POST route=/predict status=200 ms=\S+ client=127.0.0.1 .*"
    found = re.search(line, err, re.MULTILINE)
    assert found
    assert f" version={VERSION} digits=1 batch=1 decode_ms=" in found[0]


def test_lines_are_text_at_a_terminal() -> None:
    """Without a setting, a person who starts the service reads text, and the addresses."""
    ours, theirs = pty.openpty()
    settings = {"MNIST_PORT": "0", "MNIST_WORKERS": "1", "MNIST_MODEL_DIR": str(MODELS)}
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while not all(text in seen for text in (b"serving model", b"listening", b"Ctrl-C ends it.")):
            seen += os.read(ours, 4096)
        process.terminate()
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    assert re.search(rf"^{TIME} info     listening url=http://".encode(), seen, re.MULTILINE)
    assert b"\n  page     http://" in seen


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prot", "0"], 2, "error: unknown argument --prot; did you mean --port?"),
        (["--timeout-seconds", "soon"], 2, "service: MNIST_TIMEOUT_SECONDS: "),
        (["--model-dir", "/nowhere"], 3, "service: /nowhere"),
        (["--host", "192.0.2.1"], 4, "service: MNIST_PORT: cannot listen on 192.0.2.1"),
    ],
)
@pytest.mark.parametrize("how", ["variable", "flag"])
def test_a_start_that_fails_is_one_line_of_json(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str, how: str
) -> None:
    """With the same exit code as always, also where the settings cannot be read, whoever names the format."""
    flags = ["--log-format=json"] if how == "flag" else []
    if how == "variable":
        monkeypatch.setenv("MNIST_LOG_FORMAT", "json")
    command = [sys.executable, "-m", "service", "--port", "0", *flags, *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (code, "")
    (line,) = lines(ended.stderr)
    assert message in line["message"]
    assert (line["level"], line["logger"]) == ("error", "service")
