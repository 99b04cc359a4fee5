"""MNIST for the learners of others: the digits that `python -m training` learns, is judged on and is tested on.

In: the name of a file to be made. Out: that file, in NumPy's format, with the arrays of `contract.Digits`.

    python -m benchmarks.learners.digits digits.npz
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks.learners.contract import Digits
from training import data
from training.config import Config, default_data_dir
from training.errors import TrainingError


def main(path: str) -> None:
    """Write the file."""
    dataset = data.load(default_data_dir())
    for warning in dataset.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    parts = (*data.split(dataset.train, Config().validation_share), dataset.test)
    arrays = [array for part in parts for array in (part.images[:, 0].numpy(), part.labels.numpy())]
    np.savez(path, **Digits(*arrays)._asdict())


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except TrainingError as error:
        sys.exit(f"error: {error}")
