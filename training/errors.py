"""The ways in which a training job ends early, and the exit code of each.

    data        DataError 1        no source has the digits, or a file has the wrong content
    flags       UsageError 2       a hyperparameter cannot work, or a folder holds no run to resume
                Busy 1             another process trains in the folder
    fit         Diverged 1         the loss is not a number
                CheckpointError 1  the disk does not take a checkpoint
                Stopped 130        SIGTERM or Ctrl-C, after a last checkpoint
    processes   Lost 1             another process of a distributed run has ended
    export      GateError 3        the model is not good enough, or ONNX Runtime and PyTorch disagree
                ChoiceError 1      PINNED, CANARY or HELD beside the versions cannot be read
    push        PushError 1        the target has another version of this number, or takes no files

`training.__main__` prints the sentence and ends with the code.
"""

from __future__ import annotations


class TrainingError(Exception):
    """A training job that ends early: one sentence a person can act on, and the exit code."""

    exit_code = 1


class DataError(TrainingError):
    """The digits are not available. Names the file or the source, what was expected and what was found."""


class UsageError(TrainingError):
    """A hyperparameter has a value that cannot work. Names the flag and the value."""

    exit_code = 2


class Busy(TrainingError):
    """Another process trains in the run's folder. Names the folder."""


class Diverged(TrainingError):
    """The loss is not a number. Names the epoch, and what to change."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written. Names the file and the reason; the checkpoint before it is complete."""


class Stopped(TrainingError):
    """The process was asked to end, and saved a checkpoint first. Names how to go on."""

    exit_code = 130


class Lost(TrainingError):
    """Another process of the run has ended. torchrun restarts all of them, or says why not."""


class GateError(TrainingError):
    """The model must not be published. Names the gate, its limit and the measured value."""

    exit_code = 3


class ChoiceError(TrainingError):
    """It is unknown which version services choose in a model's folder. Names the file, and what was expected."""


class PushError(TrainingError):
    """A version is not pushed. Names the version, and what the target has or says."""
