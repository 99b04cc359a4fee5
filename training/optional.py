"""Libraries that only some jobs need, looked for at the start: what is missing is to end no long training.

In: what was asked for, and its modules. Out: nothing, or a `UsageError` that says what to install. It knows nothing of
what the libraries are for.
"""

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
