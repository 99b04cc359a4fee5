"""The memory of the whole service has a limit, whatever is sent: the one that the documents name."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from benchmarks.attacks import held, processes
from service.connection.connections import DEFAULT_BYTES
from service.reader.readers import AT_ONCE, MEBIBYTE, MEMORY, large_memory
from service.settings import Settings
from tests.support.http import connect, post
from tests.support.pictures import drawn, png
from tests.support.processes import warm_reader
from tests.support.service import ROOT, running_service

if TYPE_CHECKING:
    from tests.support.service import Service

# MiB (PSS): of the parent, which shares its modules with the workers; of a worker besides these; of the process that
# starts its readers; and of each of these.
PARENT, WORKER, FORKS, READER = 85, 32, 14, 11
SETTINGS = Settings.model_validate({"workers": 2})


def limit(workers: int) -> float:
    """MiB of a service with default settings: what its processes take, and what their budgets let them hold."""
    budget = (SETTINGS.max_body_bytes + DEFAULT_BYTES) / MEBIBYTE
    readers = AT_ONCE if workers == 1 else 1  # on two cores
    each = WORKER + budget + FORKS + readers * (READER + MEMORY / MEBIBYTE)
    return PARENT + workers * each + large_memory(SETTINGS) / MEBIBYTE


def pictures() -> list[bytes]:
    """Of 49 megapixels: those that take most memory to decode."""
    found = []
    for mode, kind, options in (
        ("RGBA", "PNG", {}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"progressive": True}),
    ):
        stream = io.BytesIO()
        Image.new(mode, (7000, 7000)).save(stream, kind, **options)
        found.append(stream.getvalue())
    return found


class Watch:
    """The most memory that the processes of a service have held together, in MiB, while the context is open."""

    def __init__(self, service: Service) -> None:
        self._group = service.process.pid
        self._over = threading.Event()
        self.most = 0.0

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, held(processes(self._group)) / MEBIBYTE)


def asked(service: Service, body: bytes) -> int:
    """The status of the answer to a picture."""
    return httpx.post(f"{service.url}/predict", content=body, timeout=60).status_code


def test_the_service_keeps_within_its_limit() -> None:
    """Huge bodies that do not end, pictures of 49 megapixels and photographs at once: less than the budgets say."""
    with running_service(workers=2) as service, contextlib.ExitStack() as opened:
        for _ in range(4):
            warm_reader(service)
        with Watch(service) as watch, ThreadPoolExecutor(20) as pool:
            for _ in range(8):
                connection = opened.enter_context(connect(service))
                connection.settimeout(1)
                with contextlib.suppress(OSError):  # it is refused
                    connection.sendall(post(bytes(30 * MEBIBYTE))[:-1])
            bodies = [*pictures() * 2, *[png(drawn(2800))] * 8]
            answers = list(pool.map(lambda body: asked(service, body), bodies))
            time.sleep(0.2)
        assert 200 in answers
        assert set(answers) <= {200, 413, 503, 504}
        assert asked(service, png(drawn(300))) == 200
    assert watch.most < limit(2) < 700


def test_the_documents_name_the_limit() -> None:
    """One figure, in each of them; the compose file's is of one worker, and leaves some room."""
    told = f"{limit(2):.0f} MiB"
    assert told in (ROOT / "docs" / "operations" / "limits.md").read_text()
    assert told in (ROOT / "SECURITY.md").read_text()
    container = re.findall(r"memory: (\d+)m", (ROOT / "docker-compose.yml").read_text())[0]  # of the service
    assert limit(1) < int(container) < 2 * limit(1)
