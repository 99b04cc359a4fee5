"""How a command of the service ends that cannot do its work: with one clear line, and a code for what kept it from it.

In: the command's name and its work. Out: the work's exit code, or a line on stderr and 2 for a setting that cannot be
used, 3 for a model that must not serve, 4 for what the system refuses; or the stack and 1 for a fault of ours. It
knows no command.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from ..errors import ModelError, SettingsError
from ..observability import logs

if TYPE_CHECKING:
    from collections.abc import Callable


def run_command(name: str, work: Callable[[], int]) -> int:
    """The exit code of a command."""
    try:
        return work()
    except SettingsError as error:
        return _complain(name, error, 2)
    except ModelError as error:
        return _complain(name, error, 3)
    except OSError as error:
        return _complain(name, error, 4)
    except Exception:
        logging.getLogger("service").exception("%s has failed", name)
        return 1


def _complain(name: str, error: Exception, code: int) -> int:
    logs.say(f"{name}: {error}", sys.stderr)
    return code
