"""Exit codes: how a command ends that fails.

In: the command's name and its work. Out: the exit code of the work; or one line on stderr and 2 for a bad setting, 3
for a model that must not serve, 4 for a refusal of the system; or a stack and 1 for a bug; or nothing and 141 where
nobody reads its output any more. It knows no command.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

from ..errors import ModelError, SettingsError
from ..observability import logs

if TYPE_CHECKING:
    from collections.abc import Callable

UNREAD = 128 + signal.SIGPIPE  # as shells show the end by this signal


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


def run_printing(name: str, work: Callable[[], int]) -> int:
    """Do the work of a command that prints its result on stdout, as `run_command`, and write out what it has printed.

    Where nobody reads stdout any more, as behind `| head`, it ends without a word.
    """

    def work_and_write() -> int:
        try:
            code = work()
            if sys.stdout is not None:
                sys.stdout.flush()  # the process may end without Python's own end, which does it
        except BrokenPipeError:
            if _stdout_is_read():
                raise
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - for what is left in the buffer
                os.dup2(nowhere.fileno(), 1)
            return UNREAD
        return code

    return run_command(name, work_and_write)


def _stdout_is_read() -> bool:
    poll = select.poll()
    poll.register(1, 0)
    return not poll.poll(0)


def _report(name: str, error: Exception, code: int) -> int:
    logs.print_for_people(f"{name}: {error}", sys.stderr)
    return code
