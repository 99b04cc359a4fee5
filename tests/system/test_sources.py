"""A service that pulls its versions from elsewhere: real stores, and the command that pushes versions there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support import batch as support
from tests.support.pictures import drawn, png
from tests.support.processes import children, command
from tests.support.service import MODELS, PATIENCE, ROOT, Service, running_service, until
from tests.support.signing import make_keys, sign
from tests.support.sources import PLACES, SECRET, Place, WebServer
from tests.support.versions import wait_for_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Each kind of place, with version 1 in it."""
    with PLACES[request.param](tmp_path_factory.mktemp(request.param)) as place, pytest.MonkeyPatch.context() as patch:
        for name, value in place.environment.items():
            patch.setenv(name, value)
        assert push(MODELS / "1", place).stdout == f"version 1 is pushed to {place.target}\n"
        yield place


def push(version: Path, place: Place) -> subprocess.CompletedProcess[str]:
    """As the command does, without the seconds in which it imports PyTorch for the other commands."""
    code = (
        "import pathlib, sys; from training.errors import TrainingError; from training.export import push\n"
        "try: push.run({'folder': pathlib.Path(sys.argv[1]), 'target': sys.argv[2]})\n"
        "except TrainingError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, str(version), place.target]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert SECRET not in run.stdout + run.stderr
    return run


def test_a_pushed_version_serves(place: Place, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The first start pulls what is there; what is pushed later serves at the next poll, byte for byte."""
    cache = tmp_path / "cache"
    with running_service(
        model_source=place.source, model_source_seconds=1, model_dir=cache, model_version="latest"
    ) as service:
        wait_for_version(service, "1")
        assert push(MODELS / "2", place).stdout == f"version 2 is pushed to {place.target}\n"
        wait_for_version(service, "2")
        assert httpx.post(f"{service.url}/predict", content=png(drawn(300))).status_code == 200
    for version in ("1", "2"):
        for file in (MODELS / version).iterdir():
            assert (cache / version / file.name).read_bytes() == file.read_bytes()
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    messages = [line["message"] for line in lines]
    assert f"version 2 is pulled from {place.source}" in messages
    assert not [message for message in messages if SECRET in message]
    assert [line["level"] for line in lines if line["level"] not in {"info"}] == []


def test_a_pushed_version_is_never_changed(place: Place, tmp_path: Path) -> None:
    """The same files are there already, another file is refused, and a signature may come later."""
    assert push(MODELS / "1", place).stdout == f"version 1 is there already: {place.target}\n"
    mine = shutil.copytree(MODELS / "1", tmp_path / "1")
    (tmp_path / "1.sig").write_text("signature")
    assert push(mine, place).stdout == f"version 1 was there; its signature is pushed to {place.target}\n"
    assert push(mine, place).stdout == f"version 1 is there already: {place.target}\n"
    (mine / "README.md").write_text("mine")
    run = push(mine, place)
    assert run.returncode == 1
    assert run.stderr == (
        "there is another version 1 already, with another README.md; "
        "a version is never changed: publish yours under a number of its own\n"
    )


def test_a_missing_file_is_told_apart_from_a_failing_source(place: Place) -> None:
    """Each library raises the same error for a file that is not there: a version may have no README.md."""
    code = (
        "import sys; from service.source.remote import open_remote\n"
        "remote = open_remote(sys.argv[1]); assert 1 in remote.offer().versions\n"
        "for number in (1, 7):\n"
        "    try: remote.read(number, 'nothing', 10)\n"
        "    except FileNotFoundError: print(number, 'has none')\n"
        "try: remote.read(1, 'model.onnx', 10)\n"
        "except Exception as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, place.source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout == "1 has none\n7 has none\n1/model.onnx: expected at most 10 bytes, found more\n", run.stderr


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server that offers version 1."""
    with WebServer(tmp_path / "www") as server:
        offer(server, 1)
        yield server


def offer(web: WebServer, *versions: int) -> None:
    """Committed versions, with an index of them."""
    for version in versions:
        shutil.copytree(MODELS / str(version), web.folder / str(version), dirs_exist_ok=True)
    (web.folder / "versions.json").write_text(json.dumps({"versions": versions}))


def following(web: WebServer, cache: Path, **settings: object) -> AbstractContextManager[Service]:
    given: dict[str, Any] = {"model_source": web.url, "model_source_seconds": 1, "model_version": "latest"}
    return running_service(**given | {"model_dir": cache} | settings)


def fetchers(service: Service) -> list[int]:
    return [pid for pid in children(service.process.pid) if b"source.process" in command(pid)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_dies_is_replaced(web: WebServer, tmp_path: Path, workers: int) -> None:
    """Requests go on, the next one follows the source, and it ends with the service."""
    with following(web, tmp_path / "cache", workers=workers) as service:
        (first,) = fetchers(service)
        os.kill(first, signal.SIGKILL)
        until(lambda: fetchers(service) not in ([], [first]), "no other process follows the source")
        offer(web, 1, 2)
        wait_for_version(service, "2")
        (second,) = fetchers(service)
        metrics = httpx.get(service.metrics).text
        polled = re.search(r"^mnist_model_source_last_success_timestamp_seconds (\S+)$", metrics, re.MULTILINE)
        assert polled is not None
        assert abs(time.time() - float(polled[1])) < PATIENCE
    until(lambda: command(second) == b"", "the process outlives the service")


def test_a_cached_version_serves_without_the_source(
    web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The source is gone at the start: the log says so, and what was pulled before serves."""
    with following(web, tmp_path / "cache"):
        pass
    web.close()
    with following(web, tmp_path / "cache") as service:
        wait_for_version(service, "1")
    log = capfd.readouterr().err
    assert log.count(f"the source cannot be read: {web.url}: versions.json: [Errno 111] Connection refused") == 1


def test_a_folder_whose_name_is_no_utf_8(web: WebServer, tmp_path: Path) -> None:
    """All processes of the service find it."""
    with following(web, tmp_path / os.fsdecode(b"cach\xe9"), workers=2) as service:
        wait_for_version(service, "1")
        offer(web, 1, 2)
        wait_for_version(service, "2")


def test_a_silent_source_delays_a_start_by_seconds(
    web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A source that takes connections and says nothing holds up neither a start nor requests."""
    with following(web, tmp_path / "cache"):
        pass
    released = threading.Event()
    web.faults["versions.json"] = lambda *_: released.wait(PATIENCE)
    with following(web, tmp_path / "cache") as service:
        wait_for_version(service, "1")
        assert len(fetchers(service)) == 1
        released.set()
        web.faults.clear()
        offer(web, 1, 2)
        wait_for_version(service, "2")


def test_a_signed_version_serves_and_another_one_does_not(web: WebServer, tmp_path: Path) -> None:
    """A version comes with its signature; one without is refused, until its signature comes."""
    keys = make_keys(tmp_path)
    mine = shutil.copytree(MODELS / "1", tmp_path / "mine" / "1")
    sign(mine, keys)
    shutil.copytree(MODELS / "2", tmp_path / "mine" / "2")
    here = Place(web.url, str(web.folder))
    shutil.rmtree(web.folder)
    assert push(tmp_path / "mine" / "1", here).returncode == 0
    with following(web, tmp_path / "cache", model_public_key=keys.public) as service:
        wait_for_version(service, "1")
        assert push(tmp_path / "mine" / "2", here).returncode == 0
        until((tmp_path / "cache" / "2").exists, "version 2 is not pulled")
        until(
            lambda: "expected a signature" in httpx.post(f"{service.url}/v2/repository/index").text, "it is not refused"
        )
        wait_for_version(service, "1")
        sign(tmp_path / "mine" / "2", keys)
        assert push(tmp_path / "mine" / "2", here).returncode == 0
        wait_for_version(service, "2")


def start(web: WebServer, cache: Path, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Starts a service that cannot start."""
    given = {"model_source": web.url, "model_dir": cache, "port": 0, "workers": 1} | settings
    environment = os.environ | {f"MNIST_{name.upper()}": str(value) for name, value in given.items()}
    command = [sys.executable, "-m", "service", *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_a_start_without_source_and_cache_ends(web: WebServer, tmp_path: Path) -> None:
    """The one line for people names the source and its problem; check, status and a batch say the same."""
    web.faults["versions.json"] = lambda handler, _: handler.send_error(503)
    words_of_batch = ("batch", str(ROOT / "service/page/seven.png"), "--out", str(tmp_path / "out"))
    for words, name in (((), "service"), (("check",), "check"), (("status",), "status"), (words_of_batch, "batch")):
        run = start(web, tmp_path / "cache", *words)
        assert run.returncode == 3
        assert run.stderr.splitlines()[-1] == (
            f"{name}: {web.url}: versions.json: the server answers 503 Service Unavailable; {tmp_path}/cache: "
            "expected numbered version folders (1, 2, …), found none"
        )


def test_status_shows_the_source(web: WebServer, tmp_path: Path) -> None:
    """When it was polled last without a problem, and the problem of the last poll until a poll succeeds."""
    cache = tmp_path / "cache"

    def source() -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(start(web, cache, "status", "--json").stdout)
        found: dict[str, Any] = facts["source"]
        return found

    with following(web, cache):
        until((cache / ".pulled").exists, "no poll succeeds")
        reached = source()
        assert (reached["address"], reached["problem"]) == (web.url, "")
        assert abs(time.time() - datetime.fromisoformat(reached["last_success"]).timestamp()) < PATIENCE
        web.faults["versions.json"] = lambda handler, _: handler.send_error(503)
        problem = f"{web.url}: versions.json: the server answers 503 Service Unavailable"
        until(lambda: source()["problem"] == problem, "the problem is not kept")
        table = start(web, cache, "status").stdout
        assert re.search(rf"^source +{re.escape(web.url)}$", table, re.MULTILINE)
        assert re.search(r"^last pull +20\S+\+00:00$", table, re.MULTILINE)
        assert re.search(rf"^problem +{re.escape(problem)}$", table, re.MULTILINE)
        web.faults.clear()
        until(lambda: source()["problem"] == "", "the problem stays")
    web.faults["versions.json"] = lambda handler, _: handler.send_error(503)
    shutil.copytree(MODELS / "1", tmp_path / "never" / "1")
    assert start(web, tmp_path / "never", "check").returncode == 0
    assert re.search(r"^last pull +never", start(web, tmp_path / "never", "status").stdout, re.MULTILINE)


def batch(cache: Path, out: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """A batch of one picture."""
    return support.batch(ROOT / "service/page/seven.png", "--out", out, model_dir=cache, workers=1, **settings)


def model_of(out: Path) -> str:
    (row,) = support.rows(out)
    assert (row["digit"], row["error"]) == (7, None)
    return str(row["model"])


def test_a_batch_pulls_first(place: Place, tmp_path: Path) -> None:
    """It reads its pictures with the newest version of the source, and leaves no process behind."""
    run = batch(tmp_path / "cache", tmp_path / "out", model_source=place.source, model_version="latest")
    assert run.returncode == 0, run.stderr
    assert SECRET not in run.stdout + run.stderr
    newest = max(int(path.name) for path in (tmp_path / "cache").iterdir() if path.name.isdigit())
    assert model_of(tmp_path / "out") == f"mnist-mlp/{newest}"
    for file in (MODELS / str(newest)).iterdir():
        assert (tmp_path / "cache" / str(newest) / file.name).read_bytes() == file.read_bytes()


def test_a_batch_has_the_cache_where_the_source_fails(web: WebServer, tmp_path: Path) -> None:
    """And it refuses what a service refuses: a version without the signature that is demanded."""
    given: dict[str, Any] = {"model_source": web.url, "model_version": "latest"}
    assert batch(tmp_path / "cache", tmp_path / "first", **given).returncode == 0
    keys = make_keys(tmp_path)
    unsigned = batch(tmp_path / "cache", tmp_path / "signed", model_public_key=keys.public, **given)
    assert (unsigned.returncode, "expected a signature" in unsigned.stderr) == (3, True)
    web.close()
    run = batch(tmp_path / "cache", tmp_path / "second", **given)
    assert (run.returncode, "Connection refused" in run.stderr) == (0, True)
    assert model_of(tmp_path / "second") == "mnist-mlp/1"


def test_a_waiting_start_waits_for_the_source(web: WebServer, tmp_path: Path) -> None:
    """With MNIST_MODEL_WAIT the service starts, is not ready, and serves as soon as it has pulled a version."""
    web.faults["versions.json"] = lambda handler, _: handler.send_error(503)
    with following(web, tmp_path / "cache", model_wait=True) as service:
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        web.faults.clear()
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200, "no version is pulled")


def test_a_cache_that_cannot_be_written_ends_the_start(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    run = start(web, tmp_path / "cache")
    assert run.returncode == 4
    assert str(tmp_path / "cache") in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_polls_at_once(web: WebServer, tmp_path: Path, workers: int) -> None:
    with following(web, tmp_path / "cache", model_source_seconds=3600, workers=workers) as service:
        offer(web, 1, 2)
        service.process.send_signal(signal.SIGHUP)
        wait_for_version(service, "2")


def test_a_signal_ends_the_wait_for_a_source(web: WebServer, tmp_path: Path) -> None:
    """A start that waits for its first version ends at once, with exit code 0."""
    asked, released = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        asked.set()
        released.wait(PATIENCE)

    web.faults["versions.json"] = hang
    environment = os.environ | {"MNIST_MODEL_SOURCE": web.url, "MNIST_MODEL_DIR": str(tmp_path / "cache")}
    environment["MNIST_PORT"] = "0"
    with subprocess.Popen([sys.executable, "-m", "service"], cwd=ROOT, env=environment) as process:
        assert asked.wait(PATIENCE)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not released.is_set()
        released.set()


def test_a_pinned_version_is_pulled_at_once(web: WebServer, tmp_path: Path) -> None:
    """An operator who names a version that is not there does not wait for the next poll."""
    offer(web, 1, 2)
    cache = tmp_path / "cache"
    with following(web, cache, model_source_seconds=3600) as service:
        shutil.rmtree(cache / "1")
        (cache / "PINNED").write_text("1\n")
        wait_for_version(service, "1")


def test_a_poll_without_end_ends_its_process(web: WebServer, tmp_path: Path) -> None:
    """A source that sends a byte a second reaches the time limit of a poll; the process that hung is replaced."""
    web.faults["versions.json"] = lambda *_: time.sleep(PATIENCE)
    patched = "from service.source import process; process.MAX_POLL_SECONDS = 1; process.main()"
    program = f"""
import sys
from service.settings import Settings
from service.source import fetcher
from service.versions.shared_state import SharedState

fetcher.COMMAND = [sys.executable, "-c", {patched!r}]
settings = Settings.model_validate({{"model_dir": sys.argv[1], "model_source": sys.argv[2]}})
print(fetcher.Fetcher(settings, SharedState(shared=True)).wait())
"""
    # A process of its own, with which the fetcher ends.
    words = [sys.executable, "-c", program, str(tmp_path / "cache"), web.url]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=2 * PATIENCE)
    problem = run.stdout.strip()
    assert problem == "the process that pulls versions has ended: SIGALRM"
