"""The process that checks a version's files: load the model and run it, isolated from the service.

In: the parent's process id, limits of CPU time and memory, a number of pictures and the folder's name as arguments, and
the bytes of the files on stdin. Out: `+` on stdout, or `-` and one sentence. It can open no file once the model is
loaded, and it ends with its parent, which limits its time on the clock.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

from ..errors import ModelError
from ..system import confinement
from .check import GOOD, LENGTHS, MAX_VERDICT_BYTES

NO_MEMORY = re.compile("alloc|MemoryError", re.IGNORECASE)  # std::bad_alloc, "Failed to allocate memory"


def main(parent: str, cpu_seconds: str, memory: str, pictures: str, folder: str) -> bytes:
    """Check the files on stdin; return the verdict."""
    confinement.end_with(int(parent))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds), int(cpu_seconds) + 1))  # SIGXCPU, then SIGKILL
    import numpy as np  # noqa: PLC0415 - `end_with` must come before slow imports

    from . import artefact  # noqa: PLC0415
    from .classifier import Classifier  # noqa: PLC0415

    files = artefact.Files(Path(folder), *_parts())
    if files.keys:
        from . import verification  # noqa: F401, PLC0415 - the extra's library is loaded before memory is limited
    confinement.limit_memory(int(memory))
    try:
        checked = artefact.check(files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # the runtime can open no file that a model names
        classifier = Classifier(checked)
        classifier.predict(np.zeros((int(pictures), 1, 28, 28), np.uint8))
    except Exception as error:  # noqa: BLE001 - the runtime raises a dozen unrelated classes
        return f"-{_sentence(error, folder, int(memory))}".encode()[:MAX_VERDICT_BYTES]
    return GOOD


def _parts() -> list[bytes]:
    """Read card, model, golden batch, signature and keys."""
    with os.fdopen(0, "rb") as file:
        return [file.read(length) for length in LENGTHS.unpack(file.read(LENGTHS.size))]


def _sentence(error: Exception, folder: str, memory: int) -> str:
    sentence = " ".join(str(error).split())
    if NO_MEMORY.search(f"{type(error).__name__} {sentence}"):
        return f"{folder}: expected a model that loads and runs in {memory >> 20} MiB, found that it needs more"
    if isinstance(error, ModelError):
        return sentence
    return f"{folder}: loading it failed with {type(error).__name__} {sentence}"


if __name__ == "__main__":
    os.write(1, main(*sys.argv[1:]))
    os._exit(0)  # at once, without the runtime's clean-up of the model
