"""The golden batch: a few digits, and the probabilities that the trained network gave them.

In: the bytes of `golden.npz`. Out: images and probabilities, or one `ModelError`. Sizes are checked before anything is
unpacked: each array takes `MAX_BYTES` of memory at most.
"""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np
from numpy.lib import format as npy

from ..errors import ModelError

MAX_MEMBERS = 16  # of the archive; three are known
MAX_BYTES = 2**20  # of an array: 1,337 digits
HEADER = 10_000  # bytes of an array's description; NumPy reads no more
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # NumPy's own; zipfile cannot limit what it unpacks of others


def read(name: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8[M,1,28,28] and probabilities float32[M,10]; raises `ModelError`, which names the file."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise ValueError(f"more than {MAX_MEMBERS} members")
            images, probabilities = _array(archive, "images"), _array(archive, "probabilities").astype(np.float32)
            count = len(images)
    except Exception as error:  # noqa: BLE001 - zipfile, zlib and NumPy raise a dozen unrelated classes
        found = " ".join(f"{type(error).__name__} {error}".split())[:160]
        raise ModelError(f"{name}: expected arrays images and probabilities, found {found}") from None
    if count == 0 or images.dtype != np.uint8 or images.shape != (count, 1, 28, 28):
        raise ModelError(f"{name}: expected images uint8[M,1,28,28], found {images.dtype}{list(images.shape)}")
    if probabilities.shape != (count, 10):
        raise ModelError(f"{name}: expected probabilities [{count},10], found {list(probabilities.shape)}")
    return images, probabilities


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in METHODS:
        raise ValueError(f"{name} packed in an unknown way")
    if member.file_size > MAX_BYTES + HEADER:
        raise ValueError(f"{name} of {member.file_size:,} bytes")
    with archive.open(member) as packed:
        file = io.BytesIO(packed.read(MAX_BYTES + HEADER))  # without a number it would unpack everything
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = header(file)
    if len(shape) > 4 or math.prod(shape) * max(dtype.itemsize, 1) > MAX_BYTES:
        raise ValueError(f"{name} of shape {str(shape)[:40]}")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)
