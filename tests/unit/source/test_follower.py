"""What `service.source.follower` pulls from a web server, and what a bad source leaves behind: nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from service.model import artefact, layout
from service.settings import Settings
from service.source import follower as follower_module
from service.source import pull, state
from service.source.follower import Follower
from service.source.process import _poll
from service.source.remote import open_remote
from service.versions import choice
from tests.support.service import MODELS
from tests.support.sources import WebHandler, WebServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with WebServer(tmp_path_factory.mktemp("www")) as server:
        yield server


@pytest.fixture
def web(server: WebServer) -> WebServer:
    """A web server that offers version 2."""
    shutil.rmtree(server.folder)
    server.folder.mkdir()
    server.faults.clear()
    server.credentials = None
    offer(server, 2)
    return server


def offer(web: WebServer, *numbers: int, signed: tuple[int, ...] = ()) -> None:
    """Versions under these numbers, with an index of them."""
    for number in numbers:
        if not (web.folder / str(number)).exists():
            shutil.copytree(MODELS / "2", web.folder / str(number))
            card = json.loads((MODELS / "2" / "model.json").read_text()) | {"version": number}
            (web.folder / str(number) / "model.json").write_text(json.dumps(card))
    for number in signed:
        (web.folder / f"{number}.sig").write_text(f"signature of {number}")
    index(web, {"versions": numbers, "signatures": signed})


def index(web: WebServer, value: object) -> None:
    (web.folder / "versions.json").write_text(json.dumps(value))


def follow(web: WebServer, cache: Path, serving: int = 0, **settings: object) -> Follower:
    cache.mkdir(exist_ok=True)
    given = Settings.model_validate({"model_dir": cache, "model_source": web.url, **settings})
    return Follower(given, partial(open_remote, web.url), lambda: serving)


def names(cache: Path) -> set[str]:
    """What is in a folder, but for the file of what was pulled."""
    return {path.name for path in cache.iterdir()} - {state.NAME}


def test_a_version_is_pulled_whole(web: WebServer, tmp_path: Path) -> None:
    """All its files are there, byte for byte; a poll that finds nothing new asks for the index alone."""
    follower = follow(web, tmp_path)
    assert follower.poll() == ""
    assert names(tmp_path) == {"2"}
    for file in (web.folder / "2").iterdir():
        assert (tmp_path / "2" / file.name).read_bytes() == file.read_bytes()
    assert state.read(tmp_path) == {2}
    web.requests.clear()
    assert follower.poll() == ""
    assert web.requests == ["/versions.json"]


def cut(handler: WebHandler, data: bytes) -> None:
    handler.answer(data[: len(data) // 2], len(data))


def altered(handler: WebHandler, data: bytes) -> None:
    handler.answer(data[:-1] + bytes([data[-1] ^ 1]), len(data))


def huge(handler: WebHandler, data: bytes) -> None:
    handler.answer(data, 33 * 2**20)


def endless(handler: WebHandler, data: bytes) -> None:
    """Without a length, more than the largest file may have."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(34):
        handler.wfile.write(bytes(2**20))


def failing(handler: WebHandler, data: bytes) -> None:
    handler.send_error(503)


def gone(handler: WebHandler, data: bytes) -> None:
    handler.send_error(404)


def silent(handler: WebHandler, data: bytes) -> None:
    handler.connection.close()


FAULTS = [
    (cut, "model.onnx", "the connection was cut after"),
    (cut, "README.md", "the connection was cut after"),
    (altered, "model.onnx", "2/model.onnx: expected sha256"),
    (altered, "golden.npz", "2/golden.npz: expected sha256"),
    (cut, "model.json", "the connection was cut after"),
    (huge, "model.onnx", "2/model.onnx: expected at most 33,554,432 bytes, found more"),
    (endless, "model.onnx", "2/model.onnx: expected at most 33,554,432 bytes, found more"),
    (endless, "golden.npz", "2/golden.npz: expected at most 1,048,576 bytes, found more"),
    (failing, "golden.npz", "2/golden.npz: the server answers 503"),
    (gone, "model.onnx", "not found: 2/model.onnx"),
    (silent, "model.onnx", "2/model.onnx: Remote end closed connection without response"),
]


@pytest.mark.parametrize(
    ("fault", "file", "problem"), FAULTS, ids=[f"{fault.__name__}-{file}" for fault, file, _ in FAULTS]
)
def test_a_bad_file_changes_nothing(
    web: WebServer, tmp_path: Path, fault: Callable[[WebHandler, bytes], None], file: str, problem: str
) -> None:
    """Nothing of the version stays; the others are pulled; the problem is named; mended, the version is pulled."""
    offer(web, 1, 2)
    web.faults[f"/2/{file}"] = fault
    found = follow(web, tmp_path).poll()
    assert found.startswith(f"{web.url}/2: ")
    assert problem in found
    assert names(tmp_path) == {"1"}
    web.faults.clear()
    assert follow(web, tmp_path).poll() == ""
    assert names(tmp_path) == {"1", "2"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([1, 2], "versions.json: expected an object with versions, found list"),
        ({"versions": 2}, "versions.json: expected versions to be a list, found int"),
        ({"versions": [*range(1, 10_002)]}, "expected at most 10,000 entries, found more"),
    ],
)
def test_a_bad_index_is_named(web: WebServer, tmp_path: Path, value: object, problem: str) -> None:
    index(web, value)
    assert follow(web, tmp_path).poll() == f"{web.url}: {problem}"
    assert names(tmp_path) == set()


def test_names_that_are_no_version_are_passed_over(web: WebServer, tmp_path: Path) -> None:
    """No path leads out of the folder, whatever the index says."""
    index(web, {"versions": ["../2", "2/../../x", "/etc", 0, -2, 1e99, None, [2], "02", "2 ", 2]})
    assert follow(web, tmp_path).poll() == ""
    assert names(tmp_path) == {"2"}


def test_a_version_without_a_card_is_waited_for(
    web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody pushes it at this moment: that is no problem, and the next poll looks again."""
    caplog.set_level(logging.INFO, "service")
    web.faults["/2/model.json"] = gone
    follower = follow(web, tmp_path)
    assert follower.poll() == follower.poll() == ""
    assert names(tmp_path) == set()
    web.faults.clear()
    assert follower.poll() == ""
    assert [record.message for record in caplog.records] == [
        f"version 2 is not complete yet at {web.url}: it has no card",
        f"version 2 is pulled from {web.url}",
    ]


def test_the_time_of_a_success_is_kept(web: WebServer, tmp_path: Path) -> None:
    """It is that of the last poll without any problem, also of an earlier process; never is 0."""
    web.faults["/2/golden.npz"] = altered
    assert follow(web, tmp_path).poll() != ""
    assert state.last_success(tmp_path) == 0
    web.faults.clear()
    assert follow(web, tmp_path).poll() == ""
    os.utime(tmp_path / state.NAME, (1000, 1000))
    web.faults["/versions.json"] = failing
    follower = follow(web, tmp_path)
    assert follower.poll() != ""
    assert follower.failing
    assert state.last_success(tmp_path) == 1000
    web.faults.clear()
    assert follower.poll() == ""
    assert not follower.failing
    assert abs(state.last_success(tmp_path) - time.time()) < 60


def test_a_problem_is_logged_once(web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Then its end is logged."""
    caplog.set_level(logging.INFO, "service")
    (web.folder / "versions.json").unlink()
    follower = follow(web, tmp_path)
    assert (
        follower.poll() == follower.poll() == f"{web.url}: versions.json: expected an index of the versions, found none"
    )
    offer(web, 2)
    assert follower.poll() == ""
    assert [record.message for record in caplog.records] == [
        f"the source cannot be read: {web.url}: versions.json: expected an index of the versions, found none",
        f"version 2 is pulled from {web.url}",
        f"{web.url} can be pulled from again",
    ]


def test_a_bad_version_is_tried_again_after_a_pause(web: WebServer, tmp_path: Path) -> None:
    """A poll soon after asks for the index alone, and still names the problem."""
    web.faults["/2/golden.npz"] = altered
    follower = follow(web, tmp_path)
    problem = follower.poll()
    web.requests.clear()
    assert follower.poll() == problem != ""
    assert web.requests == ["/versions.json"]


def test_a_version_that_is_no_longer_offered_is_no_problem(web: WebServer, tmp_path: Path) -> None:
    """A bad version that its publisher has withdrawn leaves nothing to alert of."""
    web.faults["/2/golden.npz"] = altered
    follower = follow(web, tmp_path)
    assert follower.poll() != ""
    offer(web, 3)
    assert follower.poll() == ""
    assert state.last_success(tmp_path) > 0


def test_what_is_there_is_never_touched(web: WebServer, tmp_path: Path) -> None:
    """Neither a version with other files, nor one that the source no longer has."""
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "mine").write_text("mine")
    follower = follow(web, tmp_path)
    assert follower.poll() == ""
    offer(web, 3)
    assert follower.poll() == ""
    index(web, {"versions": []})
    assert follower.poll() == ""
    assert names(tmp_path) == {"2", "3"}
    assert names(tmp_path / "2") == {"mine"}


def test_what_a_killed_process_left_is_removed(web: WebServer, tmp_path: Path) -> None:
    (tmp_path / f"{pull.TEMPORARY}abc" / "2").mkdir(parents=True)
    assert follow(web, tmp_path).poll() == ""
    assert names(tmp_path) == {"2"}


@pytest.mark.parametrize("version", ["latest", "3"])
def test_a_version_at_which_a_process_was_killed_comes_last(web: WebServer, tmp_path: Path, version: str) -> None:
    """So that one whose bytes trickle for longer than a poll may take does not keep the others back."""
    offer(web, 1, 2, 3)
    (tmp_path / f"{pull.TEMPORARY}x" / "3").mkdir(parents=True)
    web.requests.clear()
    assert follow(web, tmp_path, model_version=version).poll() == ""
    numbers = [request.split("/")[1] for request in web.requests if request.count("/") == 2]
    assert list(dict.fromkeys(numbers)) == ["2", "1", "3"]
    web.requests.clear()
    assert follow(web, tmp_path / "other").poll() == ""
    assert web.requests[1].startswith("/3/")


def test_the_newest_and_the_named_are_pulled(web: WebServer, tmp_path: Path) -> None:
    """Three that `latest` may mean: neither held, nor the canary; and those that pin and canary name."""
    offer(web, *range(1, 10))
    follower = follow(web, tmp_path)
    settings = follower._settings
    choice.hold(settings, 8)
    choice.write_canary(settings, 9, 0)
    choice.pin(settings, "2")
    assert follower.missing() == {2, 9}
    assert follower.poll() == ""
    assert {int(name) for name in names(tmp_path) if name.isdigit()} == {2, 5, 6, 7, 9}
    assert follower.missing() == set()


def test_bad_versions_do_not_keep_others_back(web: WebServer, tmp_path: Path) -> None:
    """Where the newest cannot be pulled, older ones are."""
    offer(web, *range(1, 7))
    web.faults |= {"/6/model.onnx": altered, "/5/model.onnx": altered}
    assert follow(web, tmp_path).poll().count("expected sha256") == 2
    assert names(tmp_path) == {"2", "3", "4"}


def test_old_versions_are_removed(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that were pulled the newest stay, with what is named, wanted or serves; others' versions always do."""
    monkeypatch.setattr(follower_module, "KEPT", 3)
    offer(web, 1, 2, 3, signed=(1, 2))
    shutil.copytree(MODELS / "50", tmp_path / "50")
    (tmp_path / "PINNED").write_text("2")
    assert follow(web, tmp_path).poll() == ""
    offer(web, 1, 2, 3, 4, 5, 6, 7, signed=(1, 2))
    assert follow(web, tmp_path, serving=3).poll() == ""
    assert names(tmp_path) == {"2", "2.sig", "3", "5", "6", "7", "50", "PINNED"}
    assert state.read(tmp_path) == {2, 3, 5, 6, 7}


def test_a_signature_comes_first_and_is_never_replaced(web: WebServer, tmp_path: Path) -> None:
    """Without the signature that the source names, the version waits; one that comes later is added."""
    offer(web, 1, 2, signed=(2,))
    web.faults["/2.sig"] = failing
    assert "2.sig: the server answers 503" in follow(web, tmp_path).poll()
    assert names(tmp_path) == {"1"}
    web.faults.clear()
    (tmp_path / "2.sig").write_text("left by a process that was killed before it added the version")
    assert follow(web, tmp_path).poll() == ""
    offer(web, 1, 2, signed=(1, 2))
    (web.folder / "2.sig").write_text("another")
    assert follow(web, tmp_path).poll() == ""
    assert layout.signature_path(tmp_path, 1).read_text() == "signature of 1"
    assert layout.signature_path(tmp_path, 2).read_text() == "signature of 2"


def test_a_full_disk_is_a_problem_and_leaves_nothing(
    web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pull, "_write", full)
    assert "No space left on device" in follow(web, tmp_path).poll()
    assert names(tmp_path) == set()


def test_limits_are_those_of_the_artefact() -> None:
    assert {name: pull.FILES[name] for name in artefact.LIMITS} == artefact.LIMITS
    assert next(iter(pull.FILES)) == "model.json"  # a version without a card is not pulled at all


def test_a_password_goes_to_its_server_alone(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirection elsewhere is followed without it; never to another scheme, nor over HTTP to another machine."""
    with WebServer(web.folder) as other:

        def redirect(target: str, handler: WebHandler, data: bytes) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.end_headers()

        web.credentials = "Basic dGVzdGVyOmh1bnRlcjI="
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login tester password hunter2\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        web.faults["/versions.json"] = partial(redirect, f"{other.url}/versions.json")
        assert follow(web, tmp_path / "cache").poll() == ""
        assert other.authorisations == [None]
        web.faults["/versions.json"] = partial(redirect, "https://127.0.0.1:1/versions.json")
        assert "expected a redirection to http://, found another" in follow(web, tmp_path / "cache").poll()
        elsewhere = other.url.replace("127.0.0.1", "mnist.invalid")
        web.faults["/versions.json"] = partial(redirect, f"{elsewhere}/versions.json")
        beyond = "expected a redirection within this machine, found one over plain http:// to another"
        assert beyond in follow(web, tmp_path / "cache").poll()
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        assert "the server answers 401" in follow(web, tmp_path / "cache").poll()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_folder_that_cannot_be_locked_is_a_problem(
    web: WebServer, tmp_path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The process says so, and lives: it neither ends without a word nor waits."""
    make(tmp_path / pull.LOCK)
    follower = follow(web, tmp_path)
    for _ in range(2):
        assert _poll(follower, tmp_path).startswith(f"{web.url}: ")
        assert follower.failing
    assert [f"'{tmp_path / pull.LOCK}'" in record.getMessage() for record in caplog.records] == [True]
    (tmp_path / pull.LOCK).rename(tmp_path / "other")
    assert _poll(follower, tmp_path) == ""
    assert not follower.failing


def test_one_process_pulls_at_a_time(tmp_path: Path) -> None:
    """The second one on the same cache waits for the first, and then finds what it has pulled."""
    inside = threading.Event()

    def enter() -> None:
        with pull.locking(tmp_path):
            inside.set()

    with pull.locking(tmp_path):
        second = threading.Thread(target=enter)
        second.start()
        assert not inside.wait(3 * pull.LOCK_SECONDS)
    assert inside.wait(60)
    second.join()
