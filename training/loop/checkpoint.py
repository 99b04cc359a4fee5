"""Checkpoints, from which an interrupted run resumes as if nothing had happened.

In: tensors by name, and the position in the loop. Out: a safetensors file in the run's folder, always complete.
SIGTERM and Ctrl-C lead to one last checkpoint.
"""

from __future__ import annotations

import json
import signal
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from .. import files
from ..errors import CheckpointError, Stopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from torch import Tensor

NAME: Final = "checkpoint.safetensors"
TEACHER: Final = "teacher-checkpoint.safetensors"  # of the teacher's loop, and at its end the teacher


@dataclass(frozen=True)
class Position:
    """A place in the loop: `batch` batches of epoch number `epoch` are done, after `seconds` of training."""

    epoch: int = 1
    batch: int = 0
    seconds: float = 0.0


class Checkpoint(NamedTuple):
    """The position, and every tensor that the next step depends on."""

    position: Position
    tensors: dict[str, Tensor]


class Checkpointer:
    """Saves a checkpoint every so many seconds, and when the process is asked to end.

    A context manager: within it, SIGTERM and SIGINT request a last checkpoint, after which `Stopped` is raised. Without
    a folder nothing is written, as in all processes but the main one: they all hold the same tensors.
    """

    def __init__(self, folder: Path | None, seconds: float, name: str = NAME, *, stop_requested: bool = False) -> None:
        self.stop_requested = stop_requested
        self._folder, self._name = folder, name
        self._seconds = seconds
        self._saved = time.monotonic()
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        self._before = {name: signal.signal(name, self._request_stop) for name in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _request_stop(self, *_: object) -> None:
        self.stop_requested = True

    def is_due(self, *, at_end: bool) -> bool:
        """Whether to save a checkpoint now; the end of a teacher always is, since its network learns from it."""
        on_time = time.monotonic() - self._saved >= self._seconds or (at_end and self._name == TEACHER)
        return self.stop_requested or (self._folder is not None and on_time)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the last checkpoint.

        Raises `CheckpointError` where the disk does not take it, and then the last one is untouched; `Stopped` after
        the checkpoint is saved, if the process was asked to end.
        """
        if self._folder:
            _write(self._folder, self._name, checkpoint)
        self._saved = time.monotonic()
        if self.stop_requested:
            raise Stopped(f"stopped, and nothing is lost: go on with --resume {self._folder}")

    def load(self) -> Checkpoint | None:
        """Return the last checkpoint, or None before the first. Raises `UsageError` for a file that is not one."""
        if not self._folder or not (self._folder / self._name).exists():
            return None
        path = self._folder / self._name
        try:
            with safe_open(path, "pt") as file:
                position = Position(**json.loads(file.metadata()["position"]))
                return Checkpoint(position, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
            raise UsageError(f"{path} is not a checkpoint of this program: {error}") from error


def _write(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    content = to_bytes(checkpoint.tensors, {"position": json.dumps(asdict(checkpoint.position))})
    try:
        files.replace(folder / name, content)
    except OSError as error:
        earlier = any((folder / each).exists() for each in (TEACHER, NAME))
        whole = f"go on with --resume {folder}" if earlier else "there is no earlier checkpoint"
        raise CheckpointError(
            f"{folder / name}, {len(content):,} bytes, cannot be written: {error.strerror}; {whole}"
        ) from error


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that has ended."""
    for name in (TEACHER, NAME):
        (folder / name).unlink(missing_ok=True)
