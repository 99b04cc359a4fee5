"""Faults at every step of what starts, watches and ends processes, one after another, until no step is left.

As SQLite tests its input and output: step 1 fails, then step 2, … and each time the service either ends, with a
documented exit code and a line that says why, or answers; and then it ends as it should. It never hangs, and leaves no
process and no folder behind. Here some of the steps have a fault each; with FAULTS=all each step has every one.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from tests.support.processes import processes_of_session
from tests.support.service import MODELS, ROOT, VERSION, until

if TYPE_CHECKING:
    from collections.abc import Iterator

FAULTS = ROOT / "tests" / "support" / "faults"
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
ERRORS = ("EMFILE", "ENOSPC", "ENOMEM", "EAGAIN")
WAIT = 60  # seconds, far more than anything takes


class Where(NamedTuple):
    """Which processes have steps, and when."""

    workers: int
    inside: str  # the main process, or a worker
    begin: str  # the start, or the stop


@dataclass
class Outcome:
    """What became of a service with a fault."""

    step: str  # that it was injected at; empty: there are not so many
    ready: bool
    code: int
    errors: str
    left: list[str]  # processes and folders


def is_ready(process: subprocess.Popen[str]) -> bool:
    """Whether it answers; False where it has ended instead."""
    assert process.stdout is not None
    url = next((line.split()[1] for line in process.stdout if line.startswith("  page ")), None)
    deadline = time.monotonic() + WAIT
    while url is not None and process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}readyz", timeout=5).status_code == 200:
                return True
        time.sleep(0.02)
    process.wait(WAIT)
    return False


def run(fault: str, at: int, where: Where, folder: Path) -> Outcome:
    """One start and one end of a service, with a fault at a step."""
    log, errors = folder / f"{fault}-{at}.log", folder / f"{fault}-{at}.err"
    settings = {
        "PORT": 0,
        "WORKERS": where.workers,
        "MODEL_DIR": MODELS,
        "MODEL_VERSION": VERSION,
        "SHUTDOWN_SECONDS": 10,
    }
    environment = os.environ | {f"MNIST_{name}": str(value) for name, value in settings.items()}
    environment |= {
        "FAULT": fault,
        "FAULT_AT": str(at),
        "FAULT_IN": where.inside,
        "FAULT_FROM": where.begin,
        "FAULT_LOG": str(log),
    }
    environment["PYTHONPATH"] = str(FAULTS)
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            ready = is_ready(process)
            if ready:
                process.send_signal(signal.SIGTERM)
            code = process.wait(WAIT)
            with contextlib.suppress(AssertionError):
                until(lambda: not processes_of_session(process.pid), "processes are left")
            left = [str(pid) for pid in processes_of_session(process.pid)]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    lines = log.read_text().splitlines() if log.exists() else []
    # A folder stays where the fault was in its removal.
    left += (
        []
        if where.begin == "stop" and not fault.startswith("SIG")
        else [path for path in (line[5:] for line in lines if line.startswith("made ")) if Path(path).exists()]
    )
    step = next((line[3:] for line in lines if line.startswith("at ")), "")
    return Outcome(step, ready, code, errors.read_text(), left)


def outcomes(faults: tuple[str, ...], where: Where, folder: Path) -> Iterator[tuple[str, Outcome]]:
    """Of each step's fault, until there is no such step."""
    everything = os.environ.get("FAULTS") == "all"
    stride = 1 if everything else 5 if where.begin == "stop" else 13
    with ThreadPoolExecutor(2) as pool:
        for batch in itertools.count():
            indices = range(4 * batch, 4 * batch + 4)
            chosen = [
                (fault, 1 + stride * index)
                for index in indices
                for fault in (faults if everything else (faults[index % len(faults)],))
            ]
            found = list(pool.map(lambda each: run(each[0], each[1], where, folder), chosen))
            for (fault, at), outcome in zip(chosen, found, strict=True):
                yield f"{fault} at step {at}, {outcome.step}: {outcome}", outcome
            if not found[-1].step:
                return


PLACES = [
    Where(*place)
    for place in (
        (1, "main", "start"), (2, "main", "start"), (2, "worker", "start"),
        (1, "main", "stop"), (2, "main", "stop"), (2, "worker", "stop"),
    )
]  # fmt: skip


@pytest.mark.parametrize("where", PLACES, ids=lambda where: "-".join(map(str, where)))
def test_a_signal_at_any_step(where: Where, tmp_path: Path) -> None:
    """SIGTERM and SIGINT end it with exit code 0, at the start too; SIGHUP ends nothing; a worker is replaced."""
    for what, outcome in outcomes(SIGNALS, where, tmp_path):
        assert outcome.code == 0, what
        assert outcome.ready or "SIGHUP" not in what, what
        assert outcome.ready or where.inside == "main", what
        assert "Traceback" not in outcome.errors, what
        assert outcome.left == [], what


@pytest.mark.parametrize("where", PLACES, ids=lambda where: "-".join(map(str, where)))
def test_an_error_at_any_step(where: Where, tmp_path: Path) -> None:
    """No descriptor, disk, memory or process is to be had: it says so and ends, or it answers."""
    for what, outcome in outcomes(ERRORS, where, tmp_path):
        if outcome.ready:
            assert outcome.code == 0, what
        else:
            assert outcome.code in {1, 2, 3, 4}, what
            assert re.search(r"^service: .|\"level\":\"(error|critical)\"", outcome.errors, re.MULTILINE), what
        assert not outcome.errors.startswith("Traceback"), what
        assert outcome.left == [], what
