"""What was pulled, when the source was polled last with success, and its problem: hidden files in the model's folder.

In: numbers of versions, and sentences. Out: numbers, Unix time, and the last poll's sentence. The first file's time is
that of the last successful poll, so that it outlives restarts. It imports no library of a source: workers read the time
for their metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..model.layout import NUMBER
from ..quoting import printable
from ..system import files
from ..versions import operator_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

NAME = ".pulled"  # in the model's folder
PROBLEM = ".pull-problem"
MAX_BYTES = 2**17  # more numbers than a model's folder may have entries
MAX_PROBLEM_BYTES = 2**14
POLL_SECONDS = 2.0


def read(model_dir: Path) -> set[int]:
    """Return the numbers of the versions that were pulled; none where the file cannot be read."""
    with contextlib.suppress(ModelError):
        words = operator_files.read(model_dir / NAME, follow=False, limit=MAX_BYTES)
        if words is not None:
            return {int(word) for word in words.text.split() if re.fullmatch(NUMBER, word)}
    return set()


def write(model_dir: Path, numbers: set[int]) -> None:
    """Keep the numbers of the versions that were pulled; raises `OSError`."""
    operator_files.write(model_dir / NAME, "\n".join(map(str, sorted(numbers))))


def succeeded(model_dir: Path) -> None:
    """Keep the time of a successful poll; raises `OSError`."""
    if not (model_dir / NAME).exists():
        write(model_dir, set())
    os.utime(model_dir / NAME)


def last_success(model_dir: Path) -> float:
    """Return when the source was polled last with success, Unix time; 0: never."""
    state = files.state(model_dir / NAME)
    return 0.0 if state is None else state[0] / 1e9


def read_problem(model_dir: Path) -> str:
    """Return the problem of the last poll, empty for none."""
    with contextlib.suppress(ModelError):
        words = operator_files.read(model_dir / PROBLEM, follow=False, limit=MAX_PROBLEM_BYTES)
        if words is not None:
            return printable(words.text, "?")
    return ""


def write_problem(model_dir: Path, problem: str) -> None:
    """Keep the problem of the last poll, where there is room for it."""
    with contextlib.suppress(OSError):
        if not problem:
            (model_dir / PROBLEM).unlink(missing_ok=True)
        elif problem != read_problem(model_dir):
            operator_files.write(model_dir / PROBLEM, problem)


@contextlib.contextmanager
def naming(problem: str) -> Iterator[None]:
    """Name the source's problem in a `ModelError` of the open context, such as for a folder without versions."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{problem}; {error}" if problem else str(error)) from None


@contextlib.asynccontextmanager
async def following(model_dir: Path, on_polled: Callable[[float], object]) -> AsyncIterator[None]:
    """Call `on_polled` with the time of the last success every few seconds while the context is open."""

    async def follow() -> None:
        while True:
            on_polled(last_success(model_dir))
            await asyncio.sleep(POLL_SECONDS)

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
