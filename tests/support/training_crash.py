"""A job that is killed by SIGKILL before one of the system calls of a function, or halfway through a write.

As a program: the training job, killed before the first such call, then, started again on what that has left on the
disk, before the second, …, before the last, or as far as there are any; and then whole. A process is forked for each,
so that PyTorch is imported once.

    python -m tests.support.training_crash training.loop.checkpoint:_write LAST --epochs 1 …
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

CALLS = set("open write flush fsync close replace rename mkdir chmod __exit__".split())  # as Python names them


def is_killed(job: Callable[[], object], place: str = "", number: int = 0, skipped: int = 0) -> bool:
    """Whether a job, in a process of its own, is killed at the call of this number in a function, `module:name`.

    The function's first runs in the process are left alone, as many as are to be skipped. Prints the call.
    """
    child = os.fork()
    if not child:
        if place:
            _sabotage(place, number, skipped)
        job()
        sys.stdout.flush()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def _sabotage(place: str, number: int, skipped: int) -> None:
    """Let the function kill this process at its call of this number: before it, or in the middle of a write."""
    module, name = place.split(":")
    *owners, name = name.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    function, runs, calls = getattr(owner, name), 0, 0

    def hook(frame: FrameType, event: str, called: Any) -> None:
        nonlocal calls
        if event == "c_call" and called.__name__ in CALLS:
            calls += 1
            if calls == number:
                print(called.__name__, flush=True)
                if called.__name__ == "write":
                    content = frame.f_locals["content"]
                    called(content[: len(content) // 2])
                    called.__self__.flush()
                os.kill(os.getpid(), signal.SIGKILL)

    def deadly(*words: Any, **named: Any) -> Any:
        nonlocal runs
        runs += 1
        sys.setprofile(hook if runs == skipped + 1 else None)
        try:
            return function(*words, **named)
        finally:
            sys.setprofile(None)

    setattr(owner, name, deadly)


if __name__ == "__main__":
    import torch

    from training.__main__ import main

    torch.set_num_threads(1)  # a process of several threads cannot be forked
    place, last, *words = sys.argv[1:]
    skipped = int(place.endswith("_write"))  # so that each process gets on by a checkpoint
    if all(is_killed(lambda: main(words), place, number, skipped) for number in range(1, int(last) + 1)):
        is_killed(lambda: main(words))
