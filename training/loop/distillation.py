"""Distillation: a network learns the answers of a teacher, instead of the labels (Hinton, Vinyals and Dean 2015).

In: a job's hyperparameters, and logits of network and teacher. Out: hyperparameters for the teacher, and the network's
loss. It knows no data set and no file.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from ..config import Config
    from ..network.teacher import Teacher

TEMPERATURE: Final = 3.0  # of both softmaxes: it shows which wrong digits the teacher finds likely


def configure_teacher(config: Config) -> Config:
    """Return the hyperparameters with which the teacher of a training job is trained: a job like any other."""
    return dataclasses.replace(
        config,
        epochs=config.teacher_epochs,
        teacher_epochs=0,
        batch_size=128,
        optimizer="adamw",
        schedule="one_cycle",
        learning_rate=6e-3,
        weight_decay=0.02,
    )


def distillation(teacher: Teacher, seen: Tensor, logits: Tensor) -> Tensor:
    """Return the mean divergence, in nats, of a network's probabilities from the teacher's, at `TEMPERATURE`.

    `seen` [N,inputs] is what both see, and `logits` [N,10] the network's answer. The factor makes the gradients as
    large as without a temperature (section 2 of the paper).
    """
    with torch.no_grad():
        targets = functional.log_softmax(teacher.classify(seen) / TEMPERATURE, dim=1)
    answers = functional.log_softmax(logits / TEMPERATURE, dim=1)
    return functional.kl_div(answers, targets, reduction="batchmean", log_target=True) * TEMPERATURE**2
