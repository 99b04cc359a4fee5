"""The ways a training job ends early, and the exit code of each.

    data        DataError 1     no source has the digits, or a file is not what it says it is
    flags       UsageError 2    a knob has a value that cannot work, or a folder holds no run to go on with
                Busy 1          another process trains in the folder
    fit         Diverged 1      the loss is no number any more
                CheckpointError 1  the disk does not take a checkpoint
                Stopped 130     SIGTERM or Ctrl-C, after a last checkpoint
    processes   Lost 1          another process of a run of several has ended
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


class Busy(TrainingError):
    """Another process trains in the folder of the run: names it."""


class Diverged(TrainingError):
    """The loss is no number any more: names the epoch, and what to change."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written: names the file and the reason; the one before it is whole."""


class Stopped(TrainingError):
    """The process was asked to end, and kept a checkpoint first: names how to go on."""

    exit_code = 130


class Lost(TrainingError):
    """Another process of the run has ended: torchrun starts all of them anew, or tells why not."""


class GateError(TrainingError):
    """The model must not be published: names the gate, its limit and what was measured."""

    exit_code = 3
