"""What was pulled, and when the source was polled last with success: a hidden file in the model's folder.

In: numbers of versions. Out: numbers, and Unix time. The file's time is that of the last successful poll, so that it
outlives restarts. It imports no library of a source: workers read the time for their metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from typing import TYPE_CHECKING

from ..errors import ModelError
from ..model.layout import NUMBER
from ..system import files
from ..versions import operator_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

NAME = ".pulled"  # in the model's folder
MAX_BYTES = 2**17  # more numbers than a model's folder may have entries
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
