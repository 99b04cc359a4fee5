"""Fits a teacher and a small network in float64, alone or as torchrun starts it, where sums in another order hardly
differ.

python -m tests.support.training_exact FILE: the first process leaves the tensors of both there.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from safetensors.torch import save_file

from training import data
from training.config import Config, default_data_dir
from training.loop import distributed
from training.loop.checkpoint import Checkpointer
from training.loop.fit import fit
from training.network.mlp import Network
from training.network.teacher import Teacher

# 16 steps an epoch, on batches whose two parts differ in size. Plain SGD, since AdamW makes whole steps of what
# rounding leaves of a gradient of 0.
CONFIG = Config(hidden=(32, 16), epochs=2, batch_size=511, loss="mse", optimizer="sgd", learning_rate=0.5)
TEACHER = replace(CONFIG, components=0, epochs=1, batch_size=63, loss="cross_entropy", learning_rate=0.05)


def main(path: str) -> None:
    torch.set_num_threads(1)
    digits = data.load(default_data_dir()).train
    train, validation = digits.take(torch.arange(8192)), digits.take(torch.arange(8192, 8692))
    network, teacher = Network.of(CONFIG).double(), Teacher.of(TEACHER).double()
    with distributed.process_group(torch.device("cpu")):
        list(fit(network, train, validation, CONFIG, Checkpointer(None, 0)))
        list(fit(teacher, train.take(torch.arange(256)), validation, TEACHER, Checkpointer(None, 0)))
    if distributed.is_main():
        save_file(network.state_dict() | teacher.state_dict(prefix="teacher."), path)


if __name__ == "__main__":
    main(sys.argv[1])
