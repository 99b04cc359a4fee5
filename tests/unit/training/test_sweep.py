"""`python -m training sweep`: a study that goes on, prunes, and ends in flags to train with."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import optuna
import pytest
import torch

from tests.support.training import run_command
from training import sweep
from training.config import parse
from training.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.mnist import Dataset

SWEEP = (sys.executable, "-m", "training", "sweep")
FAST = "--epochs 1 --hidden 16 --batch-size 1024 --validation-share 0.9 --seen 0 --elastic 0 --seed 3".split()
SEARCH = "--search learning_rate,activation".split()


def _run(storage: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*SWEEP, f"--storage={storage}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _trials(storage: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="mnist-mlp", storage=f"sqlite:///{storage}").trials


@pytest.mark.usefixtures("dataset")
def test_the_same_command_goes_on_and_ends_in_flags(tmp_path: Path) -> None:
    """The first trial has the values that the flags start from; the same command with more trials runs only those that
    are missing, and prints the best of all as flags that the training job reads; with other flags it is refused."""
    storage = tmp_path / "new" / "sweep.db"
    first = _run(storage, *SEARCH, *FAST, "--trials=2")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith("trial 1: validation NLL ")
    assert _trials(storage)[0].params == {"learning_rate": 0.012, "activation": "relu"}

    second = _run(storage, *SEARCH, *FAST, "--trials=3")
    assert second.returncode == 0, second.stderr
    *told, best, command = second.stdout.splitlines()
    assert [line.partition(":")[0] for line in told] == ["trial 3"]
    trials = _trials(storage)
    assert len({trial.params["learning_rate"] for trial in trials}) == 3
    winner = min(trials, key=lambda trial: trial.value or 0.0)
    assert best == f"best of 3 trials: number {winner.number + 1}, validation NLL {winner.value:.4f}"
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "training"]
    config = parse(words[3:])
    assert (config.activation, config.hidden) == (winner.params["activation"], (16,))
    assert config.learning_rate == pytest.approx(winner.params["learning_rate"], rel=0.005)

    other = _run(storage, *SEARCH, *FAST, "--trials=3", "--epochs=2")
    assert other.returncode == 2
    assert "holds a sweep of --search learning_rate,activation --epochs 1" in other.stderr


@pytest.mark.usefixtures("dataset")
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_it_keeps_its_trials(tmp_path: Path, name: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with code 130 and one line; the trials before it are kept, and none seems to run."""
    storage = tmp_path / "sweep.db"
    command = [*SWEEP, f"--storage={storage}", "--trials=1000", *SEARCH, *FAST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stderr
        assert "trial 1" in running.stdout.readline()
        running.send_signal(name)
        assert running.wait() == 130
        assert running.stderr.read().endswith(" are kept, and the same command resumes\n")
    states = [trial.state.name for trial in _trials(storage)]
    assert states[0] == "COMPLETE"
    assert "RUNNING" not in states


def _judge(dataset: Dataset, pruner: optuna.pruners.BasePruner, words: str) -> optuna.trial.FrozenTrial:
    """One trial on a few digits."""
    some = dataset.train.take(torch.arange(2048))
    flags = [*FAST, "--batch-size=512", *words.split()]
    study = optuna.create_study(pruner=pruner)
    study.optimize(lambda trial: sweep.run_trial(trial, flags, ["rotation"], some, some), 1)
    return study.trials[0]


def test_a_trial_that_does_badly_is_pruned_after_an_epoch(dataset: Dataset) -> None:
    """The NLL is reported after each epoch, and the pruner's word is the end; without it all epochs are run."""
    strict, never = optuna.pruners.ThresholdPruner(upper=0.01), optuna.pruners.NopPruner()
    pruned = _judge(dataset, strict, "--epochs=3")
    whole = _judge(dataset, never, "--epochs=3")
    assert (pruned.state.name, pruned.last_step) == ("PRUNED", 1)
    assert (whole.state.name, whole.last_step) == ("COMPLETE", 3)
    assert whole.value == whole.intermediate_values[3]


def test_a_trial_whose_loss_is_no_number_is_pruned(dataset: Dataset) -> None:
    """An absurd learning rate ends its trial, not the sweep."""
    # Units of a leaky ReLU do not die of it, so that the loss grows without end.
    wild = "--activation=leaky_relu --optimizer=sgd --learning-rate=100 --no-batch-norm --hidden=64,32 "
    wild += "--batch-size=256 --epochs=3 --no-deslant"
    assert _judge(dataset, optuna.pruners.NopPruner(), wild).state.name == "PRUNED"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--search hidden,colour", "--search colour: only these can be searched: activation, "),
        ("--trials 0", "--trials must be 1 or more, not 0"),
        ("--run-dir runs/a", "leave out --run-dir and --resume"),
        ("--components 0 --teacher-epochs 9", "a sweep has no time for a teacher: add --teacher-epochs 0"),
        ("--epochs 0", "--epochs must be between 1 and"),
    ],
)
def test_words_that_cannot_work_are_named(tmp_path: Path, words: str, said: str) -> None:
    """One sentence that names the word, before there is a study."""
    with pytest.raises(UsageError) as refusal:
        run_command("sweep", f"--storage={tmp_path}/sweep.db", *words.split())
    assert said in str(refusal.value)
    assert not (tmp_path / "sweep.db").exists()


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    """A file of another kind is refused with one line, and stays as it is."""
    (tmp_path / "notes").write_text("x" * 4096)
    refused = _run(tmp_path / "notes")
    assert refused.returncode == 2
    assert refused.stderr == f"error: --storage {tmp_path}/notes holds no study: file is not a database\n"
    assert (tmp_path / "notes").read_text() == "x" * 4096


def test_without_optuna_it_says_what_to_install() -> None:
    """Where Optuna is not installed: one line that names the extra, and code 2."""
    program = "import sys; sys.modules['optuna'] = None; from training.__main__ import main; sys.exit(main(['sweep']))"
    refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: sweep needs a library that is not here: pip install '.[sweep]'")
    assert refused.stderr.count("\n") == 1
