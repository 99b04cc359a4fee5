"""What it takes to go on with a run as if nothing had happened, and when to note it.

In: tensors by name, and the position in the loop. Out: checkpoint.safetensors in the run's folder, of which there is
always a whole one. SIGTERM and Ctrl-C become one last checkpoint. It knows nothing of networks, optimizers and epochs.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import files as disk
from ..errors import CheckpointError, Stopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from torch import Tensor

NAME: Final = "checkpoint.safetensors"


@dataclass(frozen=True)
class Position:
    """Where in the loop: `batch` batches of epoch number `epoch` are done, after `seconds` of training."""

    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0


class Checkpoint(NamedTuple):
    """The position, and every tensor that the next step depends on."""

    position: Position
    tensors: dict[str, Tensor]


class Keeper:
    """Keeps checkpoints of a loop, every so many seconds and when the process is asked to end.

    A context manager: within it, SIGTERM and SIGINT ask for a last checkpoint, after which `Stopped` is raised. Without
    a folder nothing is written: for the processes beside the first, which all hold the same.
    """

    def __init__(self, folder: Path | None, seconds: float) -> None:
        self.asked = False  # to end
        self._folder = folder
        self._seconds = seconds
        self._kept = time.monotonic()
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        self._before = {name: signal.signal(name, self._ask) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        on_time = self._folder is not None and time.monotonic() - self._kept >= self._seconds
        return self.asked or on_time

    def keep(self, checkpoint: Checkpoint) -> None:
        """Put a checkpoint in the place of the last one.

        Raises `CheckpointError` where the disk does not take it, the last one untouched; `Stopped` once it is kept, if
        the process was asked to end.
        """
        if self._folder:
            _write(self._folder, checkpoint)
        self._kept = time.monotonic()
        if self.asked:
            raise Stopped(f"stopped, and nothing is lost: go on with --resume {self._folder}")

    def last(self) -> Checkpoint | None:
        """The last checkpoint, or None before the first. Raises `UsageError` for a file that is none."""
        if not self._folder or not (self._folder / NAME).exists():
            return None
        path = self._folder / NAME
        try:
            with safe_open(path, "pt") as file:
                position = Position(**json.loads(file.metadata()["position"]))
                return Checkpoint(position, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise UsageError(f"{path} is no checkpoint of this program: {error}") from error


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    content = save(checkpoint.tensors, {"position": json.dumps(asdict(checkpoint.position))})
    try:
        disk.replace(folder / NAME, content)
    except OSError as error:
        whole = f"go on with --resume {folder}" if (folder / NAME).exists() else "there is none before it"
        raise CheckpointError(
            f"{folder / NAME}, {len(content):,} bytes, cannot be written: {error.strerror}; {whole}"
        ) from error


def forget(folder: Path) -> None:
    """Remove the checkpoint of a run: it has come to its end."""
    (folder / NAME).unlink(missing_ok=True)
