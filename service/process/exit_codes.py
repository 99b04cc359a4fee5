"""Exit codes: how a command ends that fails.

In: the command's name and its work. Out: the exit code of the work; or one line on stderr and 2 for a bad setting, 3
for a model that must not serve, 4 for a refusal of the system; or a stack and 1 for a bug. It knows no command.
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
    """Do the work of a command, report its error, and return its exit code."""
    try:
        return work()
    except SettingsError as error:
        return _report(name, error, 2)
    except ModelError as error:
        return _report(name, error, 3)
    except OSError as error:
        return _report(name, error, 4)
    except Exception:
        logging.getLogger("service").exception("%s has failed", name)
        return 1


def _report(name: str, error: Exception, code: int) -> int:
    logs.print_for_people(f"{name}: {error}", sys.stderr)
    return code
