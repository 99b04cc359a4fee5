"""Fits a small network, a teacher, and a network that learns from it, in float64, where sums in another order hardly
differ; alone or as torchrun starts it.

python -m tests.support.training_exact FILE: the first process leaves the tensors of all three there.
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
TAUGHT = replace(CONFIG, components=0, epochs=1, batch_size=63, loss="cross_entropy", learning_rate=0.05)


def main(path: str) -> None:
    torch.set_num_threads(1)
    digits = data.load(default_data_dir()).train
    train, validation = digits.take(torch.arange(8192)), digits.take(torch.arange(8192, 8692))
    few = train.take(torch.arange(256)), validation
    network, pupil, teacher = Network.of(CONFIG).double(), Network.of(TAUGHT).double(), Teacher.of(TAUGHT).double()
    with distributed.process_group(torch.device("cpu")):
        list(fit(network, train, validation, CONFIG, Checkpointer(None, 0)))
        list(fit(teacher, *few, TAUGHT, Checkpointer(None, 0)))
        list(fit(pupil, *few, TAUGHT, Checkpointer(None, 0), teacher=teacher))
    if distributed.is_main():
        every = {"network": network, "teacher": teacher, "pupil": pupil}
        save_file(
            {f"{who}.{name}": value for who, net in every.items() for name, value in net.state_dict().items()}, path
        )


if __name__ == "__main__":
    main(sys.argv[1])
