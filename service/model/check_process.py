"""The process that checks a version's files: it loads the model and runs it, where that can hurt nobody.

In: the parent's process id, a limit of memory, a number of pictures and the folder's name as arguments, and the bytes
of the files on stdin. Out: `+` on stdout, or `-` and one sentence. While the model is there it can open no file. It
ends with its parent. How long it may take is the parent's to say.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

from ..errors import ModelError
from ..system import confinement
from .check import GOOD, LENGTHS, MAX_WORDS

NO_MEMORY = re.compile("alloc|MemoryError", re.IGNORECASE)  # std::bad_alloc, "Failed to allocate memory"


def main(parent: str, memory: str, pictures: str, folder: str) -> bytes:
    """Check what is on stdin; the verdict."""
    confinement.end_with(int(parent))
    import numpy as np  # noqa: PLC0415 - it must end with its parent before it begins

    from . import artefact  # noqa: PLC0415
    from .classifier import Classifier  # noqa: PLC0415

    files = artefact.Files(Path(folder), *_parts())
    confinement.limit_memory(int(memory))
    try:
        checked = artefact.check(files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # whatever the model names, the runtime opens no file
        classifier = Classifier(checked)
        classifier.predict(np.zeros((int(pictures), 1, 28, 28), np.uint8))
    except Exception as error:  # noqa: BLE001 - the runtime raises a dozen unrelated classes
        return f"-{_sentence(error, folder, int(memory))}".encode()[:MAX_WORDS]
    return GOOD


def _parts() -> list[bytes]:
    """Card, model and golden batch."""
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
    os._exit(0)  # at once: what the model has left behind is not taken down by the runtime
