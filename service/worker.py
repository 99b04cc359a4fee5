"""One of several worker processes: its app, and its end when the process that started it is gone.

In: settings. Out: the app that uvicorn runs. It knows that it has a parent, and nothing of requests.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
from typing import TYPE_CHECKING

from service.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI

    from service.orders import Orders
    from service.settings import Settings

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def worker_app(settings: Settings, parent: int, orders: Orders) -> FastAPI:
    """The app of one worker of the process `parent`: each loads the model for itself, or waits for one."""
    end_with(parent)
    with uncollected():
        # Imported here: the parent, which hands this function over, has no use for the app.
        from service import metrics  # noqa: PLC0415
        from service.app import create_app  # noqa: PLC0415
        from service.drain import Drain  # noqa: PLC0415
        from service.lifecycle import Models  # noqa: PLC0415

        models = Models(settings, orders)
        if not orders.unloaded:
            with contextlib.suppress(ModelError):  # what kept one version from serving must not end the others
                models.start()
        return create_app(settings, models, metrics.registry(), Drain(settings.drain_seconds))


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """What is made meanwhile stays to the end: the garbage collector need not look through it, now or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_with(parent: int) -> None:
    """Have this process get SIGTERM when its parent dies, however it dies; on other systems than Linux nothing.

    Else workers whose parent was killed would hold the port, and no new service could start.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be asked
            os.kill(os.getpid(), signal.SIGTERM)
