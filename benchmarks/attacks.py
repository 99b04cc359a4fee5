"""Attacks on the whole service: what each costs, what others notice of it, and whether the service can be ended.

In: names of attacks, all of them without any. Out: a table. Each attack has a service of its own, with default settings
and two workers, and is sent for some seconds by a few clients, while another client asks for a small digit and for a
photograph, again and again.

    python -m benchmarks.attacks                        all of them
    python -m benchmarks.attacks --only jpeg,scrape     those whose name holds one of these
    python -m benchmarks.attacks --checkout DIR         the service of another checkout
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.attack_bodies import Attack, attacks, photograph

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator
    from concurrent.futures import Executor

SECONDS = 12.0
SEVEN = Path("service/page/seven.png").read_bytes()
COLUMNS = "{:<34}{:>12} {:<22}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>7}  {}"
HEAD = ("attack", "bytes", "answers", "worst s", "KiB out", "MiB", "small s", "photo s", "refused", "end s", "ended")


@dataclass
class Seen:
    """What one attack did."""

    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0  # seconds, of the attack's own answers
    largest: int = 0  # bytes of one of them
    memory: int = 0  # bytes (PSS) of all processes together, at most
    ending: float = 0.0  # seconds from SIGTERM to the end
    ended: list[str] = field(default_factory=list)  # processes that ended before


class Answer(NamedTuple):
    """What came back."""

    status: str
    seconds: float
    size: int


def processes(group: int) -> dict[int, str]:
    """The service's processes, each with its command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(path.name)) == group and (line := (path / "cmdline").read_bytes()):
                found[int(path.name)] = line.replace(b"\0", b" ").decode()
    return found


def held(pids: dict[int, str]) -> int:
    """Bytes that they hold together, what they share counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.findall(r"Pss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())[0]) * 1024
    return total


async def exchange(port: int, sent: bytes, *, slow: bool = False) -> Answer:
    """Send bytes on a connection of their own, and read the answer; `slow` clients read nothing for a while."""
    began, received = time.perf_counter(), b""
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
            try:
                sending = asyncio.create_task(_send(writer, sent))
                if slow:
                    await asyncio.sleep(SECONDS / 2)
                received = await _response(reader)
                sending.cancel()
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        return Answer(type(error).__name__, time.perf_counter() - began, len(received))
    return Answer(received[9:12].decode(), time.perf_counter() - began, len(received))


async def _send(writer: asyncio.StreamWriter, sent: bytes) -> None:
    with contextlib.suppress(OSError):
        for at in range(0, len(sent), 2**18):
            writer.write(sent[at : at + 2**18])
            await writer.drain()


async def _response(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def _attack(attack: Attack, port: int, end: float, seen: Seen) -> None:
    while time.perf_counter() < end:
        answer = await exchange(port, attack.sent, slow=attack.slow)
        seen.statuses[answer.status] += 1
        seen.slowest = max(seen.slowest, answer.seconds)
        seen.largest = max(seen.largest, answer.size)


class Others(NamedTuple):
    """What others notice."""

    small: float  # seconds, the slowest of their small requests
    photograph: float  # and of their photographs
    refused: int  # with another status than 200


def _others(port: int) -> Others:
    """Small digits all the time, and a photograph now and then; in a process of its own, as others are."""
    end = time.perf_counter() + SECONDS

    async def ask(body: bytes, pause: float) -> list[Answer]:
        answers = []
        while time.perf_counter() < end:
            answers.append(await exchange(port, post("/predict", body)))
            await asyncio.sleep(pause)
        return answers

    async def both() -> tuple[list[Answer], list[Answer]]:
        return await asyncio.gather(ask(SEVEN, 0.02), ask(photograph(), 0.3))

    asked = asyncio.run(both())
    refused = sum(answer.status != "200" for answers in asked for answer in answers)
    small, photographs = (max(answer.seconds for answer in answers) for answers in asked)
    return Others(small, photographs, refused)


async def _watch(group: int, started: dict[int, str], end: float, seen: Seen) -> None:
    while time.perf_counter() < end:
        now = processes(group)
        seen.memory = max(seen.memory, held(now))
        seen.ended = [name for pid, name in started.items() if pid not in now]
        await asyncio.sleep(0.1)


async def _play(attack: Attack, port: int, group: int, seen: Seen, others: Executor) -> Others:
    await exchange(port, post("/predict", photograph()))  # readers are there
    started = {pid: name for pid, name in processes(group).items() if "service.reader" not in name}
    end = time.perf_counter() + SECONDS
    sent: list[Awaitable[None]] = [_attack(attack, port, end, seen) for _ in range(attack.clients)]
    with contextlib.ExitStack() as held_open:
        for connection in attack.connections(port):
            held_open.enter_context(connection)
        asked = asyncio.get_running_loop().run_in_executor(others, _others, port)
        await asyncio.gather(_watch(group, started, end, seen), *sent)
        return await asked


@contextlib.contextmanager
def _service(checkout: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    environment = os.environ | {"MNIST_PORT": "0", "MNIST_WORKERS": "2"}
    with subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        text = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
        try:
            time.sleep(2)  # both workers are there
            yield process, int(re.findall(r"page +http://.*:(\d+)/", text)[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def meet(attack: Attack, checkout: Path, executor: Executor) -> tuple[Seen, Others]:
    """Start a service, attack it, and end it."""
    seen = Seen()
    with _service(checkout) as (process, port):
        others = asyncio.run(_play(attack, port, process.pid, seen, executor))
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        seen.ending = time.monotonic() - began
    return seen, others


def main(arguments: list[str]) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks")
    parser.add_argument("--only", default="", help="parts of names, with commas between them")
    parser.add_argument("--checkout", type=Path, default=Path(), help="where the service lies; default: here")
    options = parser.parse_args(arguments)
    print(COLUMNS.format(*HEAD))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        executor.submit(photograph).result()  # it takes a second
        for attack in attacks():
            if not any(part in attack.name for part in options.only.split(",")):
                continue
            seen, others = meet(attack, options.checkout, executor)
            answers = " ".join(f"{status}:{count}" for status, count in seen.statuses.most_common(3))
            print(
                COLUMNS.format(
                    attack.name,
                    f"{len(attack.sent):,}",
                    answers[:21],
                    f"{seen.slowest:.2f}",
                    f"{seen.largest / 1024:.0f}",
                    f"{seen.memory / 2**20:.0f}",
                    f"{others.small:.2f}",
                    f"{others.photograph:.2f}",
                    others.refused,
                    f"{seen.ending:.1f}",
                    len(seen.ended) or "none",
                ),
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
