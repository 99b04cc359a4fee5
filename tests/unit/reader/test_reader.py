"""Readers: processes that decode strangers' pictures within limits, and are replaced when they end."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from service.errors import NotAPicture, ServiceError, TooLarge
from service.observability.metrics import Metrics
from service.reader import readers
from service.reader.readers import Readers, Reading
from service.settings import Settings
from service.system import signals
from service.system.spool import Spool
from tests.support import formats
from tests.support.pictures import drawn, png
from tests.support.processes import children, command, is_worker, parent, readers_of, warm_reader
from tests.support.service import running_service, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pictures import Digits


def read(*bodies: bytes, kind: str = "predict", **about: str) -> list[Reading | ServiceError]:
    """What readers make of these bodies, all at once."""

    async def one(found: Readers, body: bytes) -> Reading | ServiceError:
        spool = Spool(body)
        try:
            return await found.read(spool, kind, **about)
        except ServiceError as error:
            return error
        finally:
            spool.close()

    async def story() -> list[Reading | ServiceError]:
        found = Readers(Settings.model_validate({"workers": 1}), Metrics(CollectorRegistry()).worker.reader_ends)
        async with found.running():
            return await asyncio.gather(*(one(found, body) for body in bodies))

    return asyncio.run(story())


def png_of_chunks(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG with this header and these bytes of rows, compressed."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    )


def test_a_killed_reader_is_replaced_and_its_picture_answered() -> None:
    """Each reader is killed again and again while 40 photographs are asked for: all are answered, and right."""
    body = png(drawn(2000))
    with running_service(max_wait_seconds=60) as service, ThreadPoolExecutor(5) as pool:
        warm_reader(service)

        def ask(_: int) -> tuple[int, object]:
            answer = httpx.post(f"{service.url}/predict", content=body, timeout=60)
            return answer.status_code, answer.json().get("predictions", [answer.json()])[0].get("digit", answer.text)

        asked = [pool.submit(ask, number) for number in range(40)]
        while not all(one.done() for one in asked):
            for reader in readers_of(service.process.pid):
                os.kill(reader, signal.SIGKILL)
            time.sleep(0.3)
        assert {one.result() for one in asked} == {(200, 1)}
        assert [child for child in children(service.process.pid) if not command(child)] == []


def test_the_process_that_forks_readers_is_replaced() -> None:
    """It is killed, and with it all readers: the next picture is answered, by others."""
    with running_service() as service:
        warm_reader(service)
        before = {child for child in children(service.process.pid) if b"service.reader" in command(child)}
        os.kill(next(child for child in before if parent(child) == service.process.pid), signal.SIGKILL)
        warm_reader(service)
        until(lambda: before.isdisjoint(children(service.process.pid)), "they are left as zombies")


def test_signals_to_all_processes_end_no_reader() -> None:
    """As Ctrl-C at a terminal: they are blocked from a reader's first instruction on, and the worker ends it."""
    with running_service() as service:
        warm_reader(service)
        started = [child for child in children(service.process.pid) if b"service.reader" in command(child)]
        assert len(started) > 1
        for pid in started:
            (line,) = [x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("SigBlk:")]
            blocked = int(line.split()[1], 16)
            assert all(blocked >> (number - 1) & 1 for number in signals.BLOCKED)


@pytest.mark.parametrize("workers", [1, 2])
def test_readers_end_with_their_worker(workers: int) -> None:
    """However it ends, nothing of it is left; a service whose worker was killed goes on."""
    with running_service(workers=workers) as service:
        for _ in range(4):
            warm_reader(service)
        pid = service.process.pid
        started = children(pid)
        worker = pid if workers == 1 else next(filter(is_worker, started))
        until(lambda: children(worker), "it has no readers")
        doomed = children(worker)
        os.kill(worker, signal.SIGKILL)
        until(lambda: not any(map(command, doomed)), "its readers go on")
        if workers > 1:
            warm_reader(service)
            until(lambda: all(map(command, children(pid))), "a zombie is left")


def test_a_reader_that_is_stopped_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no CPU time, and so the clock ends it: the job runs again."""
    monkeypatch.setattr(readers, "HANGS_SECONDS", 0.2)

    async def story() -> Reading:
        found = Readers(Settings.model_validate({"workers": 1}), Metrics(CollectorRegistry()).worker.reader_ends)
        async with found.running():
            first = await found.read(Spool(png(drawn(300))), "predict", content_type="")
            for reader in readers_of(os.getpid()):
                os.kill(reader, signal.SIGSTOP)
            again = await found.read(Spool(png(drawn(300))), "predict", content_type="")
            assert (again.items[0].pixels == first.items[0].pixels).all()  # type: ignore[union-attr]
            return again

    assert len(asyncio.run(story()).items) == 1


def test_what_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has so much and no more; the sentence names it, and others' pictures are read."""
    monkeypatch.setattr(readers, "PIXEL_BYTES", 1)
    rows = (b"\0" + bytes(4 * 6000)) * 6000
    refused, fine = read(png_of_chunks(6000, 6000, 8, 6, rows), png(drawn(300)), content_type="")
    assert isinstance(refused, Reading)
    assert isinstance(refused.items[0], TooLarge)
    assert str(refused.items[0]).startswith("The picture takes more than 95 MiB or 4 s to read, which is the limit.")
    assert isinstance(fine, Reading)


def test_json_that_takes_too_much_memory_is_refused() -> None:
    """It is as large as a body may be, and JSON: so it is not called malformed."""
    (refused,) = read(b'{"image":"%b"}' % (b"A" * 31_000_000), content_type="application/json")
    assert isinstance(refused, TooLarge)
    assert str(refused).startswith("The body takes more than ")


def test_what_takes_too_much_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """First it is left to a reader with more time; where that is not enough, it is refused, by a limit in CPU time."""
    monkeypatch.setattr(readers, "SECONDS", 0.03)
    monkeypatch.setattr(readers, "LARGE_SECONDS", 0.04)
    rows = (b"\0" + bytes(4 * 2800)) * 2800
    slow, fine = read(png_of_chunks(2800, 2800, 8, 6, rows), png(drawn(20)), content_type="")
    assert isinstance(slow, Reading)
    assert isinstance(slow.items[0], TooLarge)
    assert "more than 262 MiB or 0.04 s" in str(slow.items[0])
    assert isinstance(fine, Reading)
    assert not isinstance(fine.items[0], ServiceError)


def test_a_picture_that_ends_its_reader_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a hole in a decoder does: after some tries the picture is refused."""
    monkeypatch.setattr(readers, "LOSSES", 1)
    worst = Spool(png_of_chunks(7000, 7000, 8, 6, (b"\0" + bytes(4 * 7000)) * 7000))

    async def story() -> Reading:
        found = Readers(Settings.model_validate({"workers": 1}), Metrics(CollectorRegistry()).worker.reader_ends)
        async with found.running():
            job = asyncio.ensure_future(found.read(worst, "predict", content_type=""))
            while not job.done():
                for reader in readers_of(os.getpid()):
                    os.kill(reader, signal.SIGSEGV)
                await asyncio.sleep(0.2)  # it has begun with the picture, and takes a second or more for it
            return await job

    (item,) = asyncio.run(story()).items
    assert isinstance(item, NotAPicture)


def test_a_library_prints_nothing_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Of a TIFF whose strip breaks off, libtiff prints an error, which would be a stranger's line in the log."""
    strip = formats.tiff(formats.grey_tiff(40, 30, t259=32_773, t279=5), bytes(5))
    (error,) = read(strip, content_type="image/tiff")
    assert isinstance(error, Reading)
    assert isinstance(error.items[0], NotAPicture)
    assert capfd.readouterr().err == ""


def test_in_a_batch_the_worst_picture_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others in its request are answered, and in their order."""
    monkeypatch.setattr(readers, "LARGE_SECONDS", 0.04)
    pictures = [png(drawn(300)), png(drawn(6000)), png(drawn(400))]
    part = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a.png"\r\n\r\n%b\r\n'
    body = b"".join(part % picture for picture in pictures) + b"--b--\r\n"
    (reading,) = read(body, content_type="multipart/form-data; boundary=b")
    assert isinstance(reading, Reading)
    assert [isinstance(item, TooLarge) for item in reading.items] == [False, True, False]


def test_others_are_answered_while_the_worst_is_read(digits: Digits) -> None:
    """Beside pictures of 49 megapixels photographs and small pictures are answered before these are."""
    worst = png(np.zeros((7000, 7000), np.uint8))
    with running_service() as service, ThreadPoolExecutor(6) as pool:
        warm_reader(service)
        post: Callable[[bytes], httpx.Response] = lambda body: httpx.post(  # noqa: E731 - short
            f"{service.url}/predict", content=body, timeout=60
        )
        busy = [pool.submit(post, worst) for _ in range(4)]
        answered = [post(body).status_code for body in (png(drawn(1500)), png(digits.images[0])) for _ in range(3)]
        left = [one for one in busy if not one.done()]
        assert answered == [200] * 6
        assert left
        assert {one.result().status_code for one in busy} == {200}


def test_a_photograph_of_many_segments_is_read() -> None:
    """A film or a depth map beside the picture is some fifty segments; a thousand and more are refused."""
    stream = io.BytesIO()
    Image.fromarray(drawn(300)).save(stream, "JPEG")
    picture = stream.getvalue()
    segment = b"\xff\xe2" + (65_535).to_bytes(2) + b"http://ns.adobe.com/xmp/extension/\0".ljust(65_533, b"x")
    fine, refused = read(
        picture[:2] + segment * 100 + picture[2:],
        picture[:2] + b"\xff\xe0\0\2" * 100_000 + picture[2:],
        content_type="",
    )
    assert isinstance(fine, Reading)
    assert not isinstance(fine.items[0], ServiceError)
    assert isinstance(refused, Reading)
    assert str(refused.items[0]) == "The JPEG has more than 1,000 segments before its first scan, which is the limit."
