"""Import the app of a process in less time and memory.

In: nothing. Out: contexts to import it in. They know no module of the service.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection while the context is open, then freeze: objects made in it live until the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def without_validators() -> Iterator[None]:
    """Leave the validators of pydantic models that are imported in the context to their first use.

    FastAPI has 40 models of OpenAPI, which the service needs for its document alone: a tenth of the app's imports.
    """
    from pydantic import BaseModel  # noqa: PLC0415 - the command line needs the other context before pydantic

    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
