"""Libraries that only some jobs need, checked at the start, so that a missing one does not end a long training."""

from __future__ import annotations

import importlib

from .errors import UsageError


def require(asked: str, extra: str, *modules: str) -> None:
    """Import the modules; raises `UsageError` where one is not installed, naming the extra of pyproject.toml."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"{asked} needs a library that is not here: pip install '.[{extra}]' ({error})") from error
