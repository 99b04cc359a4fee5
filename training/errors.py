"""The ways a training job ends early, and the exit code of each.

    data        DataError 1     no source has the digits, or a file is not what it says it is
    flags       UsageError 2    a knob has a value that cannot work
    fit         Diverged 1      the loss is no number any more
                CheckpointError 1  the disk does not take a checkpoint, or the file is none
                Stopped 130     SIGTERM or Ctrl-C, after a last checkpoint
    export      GateError 3     the model is not good enough, or ONNX Runtime and PyTorch disagree

`training.__main__` prints the sentence and ends with the code. It knows nothing of who raises them.
"""

from __future__ import annotations


class TrainingError(Exception):
    """A training job that ends early: one sentence a person can act on, and the exit code."""

    exit_code = 1


class DataError(TrainingError):
    """The digits cannot be had: names the file or the source, what was expected and what was found."""


class UsageError(TrainingError):
    """A knob has a value that cannot work: names the flag and the value."""

    exit_code = 2


class Diverged(TrainingError):
    """The loss is no number any more: names the epoch, and what to change."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written or read: names the file and the reason; the one before it is whole."""


class Stopped(TrainingError):
    """The process was asked to end, and kept a checkpoint first: names how to go on."""

    exit_code = 130


class GateError(TrainingError):
    """The model must not be published: names the gate, its limit and what was measured."""

    exit_code = 3
