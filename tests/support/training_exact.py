"""Fits a small network in float64, alone or as torchrun starts it, where sums in another order hardly differ.

python -m tests.support.training_exact FILE: the first process leaves the network's tensors there.
"""

from __future__ import annotations

import sys

import torch
from safetensors.torch import save_file

from training import data
from training.config import Config, default_data_dir
from training.loop import distributed
from training.loop.checkpoint import Checkpointer
from training.loop.fit import fit
from training.network.mlp import Network

# 16 steps an epoch, on batches whose two parts differ in size. Plain SGD, since AdamW makes whole steps of what
# rounding leaves of a gradient of 0.
CONFIG = Config(hidden=(32, 16), epochs=2, batch_size=511, loss="mse", optimizer="sgd", learning_rate=0.5)


def main(path: str) -> None:
    torch.set_num_threads(1)
    digits = data.load(default_data_dir()).train
    train, validation = digits.take(torch.arange(8192)), digits.take(torch.arange(8192, 8692))
    network = Network.of(CONFIG).double()
    with distributed.process_group(torch.device("cpu")):
        list(fit(network, train, validation, CONFIG, Checkpointer(None, 0)))
    if distributed.is_main():
        save_file(network.state_dict(), path)


if __name__ == "__main__":
    main(sys.argv[1])
