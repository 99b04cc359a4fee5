"""A search for better hyperparameters: many short trainings, compared by their validation NLL.

In: the flags of a training job to start from, and the names of the hyperparameters to search. Out: an Optuna study in a
SQLite file, and on the screen the best trial as flags. The same command resumes an interrupted study. It uses no test
digits: a choice by them would make them useless as a test.

    python -m training sweep --search learning_rate,hidden --trials 20 --epochs 5
"""

from __future__ import annotations

import shlex
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from . import data
from .choices import ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES
from .config import make_parser, parse
from .errors import Diverged, Stopped, UsageError
from .loop.checkpoint import Checkpointer
from .loop.fit import fit
from .network.mlp import Network
from .optional import require
from .synthesis import rendered

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from .config import Config
    from .data import Digits
    from .parser import Parser

HELP: Final = "search for better hyperparameters, resumably"
RANGES: Final = {  # uniform; for the learning rate its logarithm is
    "learning_rate": (1e-3, 1.0),
    "rotation": (0.0, 20.0),
    "scale": (0.0, 0.3),
    "shear": (0.0, 0.3),
    "shift": (0.0, 3.0),
    "elastic": (0.0, 2.0),
    "stroke": (0.0, 1.0),
    "blur": (0.0, 1.0),
}
CHOICES: Final = {
    "hidden": ("128", "256", "512", "256,256", "512,256", "512,512", "384,256,128", "512,256,128", "256,256,256"),
    "activation": tuple(ACTIVATIONS),
    "loss": tuple(LOSSES),
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
    "batch_size": ("64", "128", "256", "512", "1024"),
    "weight_decay": ("0", "1e-4", "1e-3", "1e-2", "1e-1"),
}
NAMES: Final = sorted({*RANGES, *CHOICES})
UNPRUNED: Final = 5  # complete trials before any is pruned: later ones must reach their median


def add_arguments(parser: Parser) -> None:
    """Add the sweep's own flags; all other flags are those of the training jobs."""
    parser.passed_on = make_parser()
    parser.epilog = f"Add any flag of train to start from. Hyperparameters to search: {', '.join(NAMES)}."
    parser.add_argument(
        "--search", default="learning_rate,hidden", help="hyperparameters to search, with commas [%(default)s]"
    )
    parser.add_argument("--trials", type=int, default=20, help="to complete or prune, in all [%(default)s]")
    parser.add_argument(
        "--storage", type=Path, default=Path("runs/sweep.db"), help="SQLite file of the study [%(default)s]"
    )


def run(given: dict[str, Any]) -> None:
    """Run the sweep. Raises `TrainingError`; `Stopped` on Ctrl-C."""
    require("sweep", "sweep", "optuna")
    search, trials, flags = given["search"].replace("-", "_").split(","), given["trials"], given["flags"]
    if unknown := [name for name in search if name not in NAMES]:
        raise UsageError(f"--search {','.join(unknown)}: only these can be searched: {', '.join(NAMES)}")
    if trials < 1:
        raise UsageError(f"--trials must be 1 or more, not {trials}")
    config = parse(flags)
    if config.resume or config.run_dir:
        raise UsageError("a sweep leaves no run: leave out --run-dir and --resume; the same command resumes a sweep")
    if config.teacher_epochs:
        raise UsageError("a sweep has no time for a teacher: add --teacher-epochs 0")
    study = _open(given["storage"], config, search, flags)
    missing = trials - len(_finished(study))
    if missing > 0:
        digits = _load_digits(config)
        _optimize(study, lambda trial: run_trial(trial, flags, search, *digits), missing)
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        raise Diverged("no trial is complete: start from a lower --learning-rate, or search it")
    best = study.best_trial
    print(f"best of {len(_finished(study))} trials: number {best.number + 1}, validation NLL {best.value:.4f}")
    print(shlex.join(["python", "-m", "training", *flags, *best.user_attrs["flags"]]))


def _optimize(study: Study, objective: Callable[[Trial], float], missing: int) -> None:
    """Run the missing trials; raises `Stopped` on Ctrl-C and SIGTERM.

    Within a trial the signal is a KeyboardInterrupt, which Optuna records as a failed trial. Between two trials it
    waits for the next: a trial that Optuna has begun, but not run, would stay in the state RUNNING.
    """
    names = (signal.SIGINT, signal.SIGTERM)
    requested: list[int] = []

    def wait(number: int, _: object) -> None:
        requested.append(number)

    def run_one(trial: Trial) -> float:
        for name in names:
            signal.signal(name, signal.default_int_handler)
        try:
            if requested:
                raise KeyboardInterrupt
            return objective(trial)
        finally:
            for name in names:
                signal.signal(name, wait)

    before = {name: signal.signal(name, wait) for name in names}
    try:
        study.optimize(run_one, missing, callbacks=[lambda _, trial: _print(trial)])
    except KeyboardInterrupt as stop:
        kept = len(_finished(study))
        raise Stopped(f"stopped; the {kept} finished trials are kept, and the same command resumes") from stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def run_trial(trial: Trial, flags: list[str], search: list[str], training: Digits, validation: Digits) -> float:
    """Train with a trial's hyperparameters; returns the last epoch's validation NLL. Raises `TrialPruned`."""
    from optuna import TrialPruned  # noqa: PLC0415  # an optional library

    chosen = [word for name in search for word in (_flag(name), _suggest(trial, name))]
    trial.set_user_attr("flags", chosen)
    config = parse([*flags, *chosen])
    network = Network.of(config)
    nll = float("nan")
    with tempfile.TemporaryDirectory() as folder:
        try:
            for epoch in fit(network, training, validation, config, Checkpointer(Path(folder), float("inf"))):
                nll = epoch.validation_nll
                trial.report(nll, epoch.epoch)
                if trial.should_prune():
                    raise TrialPruned
        except Diverged as end:
            raise TrialPruned from end
    return nll


def _suggest(trial: Trial, name: str) -> str:
    """Return the trial's value as a flag's word, of three digits, so that the printed flags are those of the trial."""
    if name in CHOICES:
        return str(trial.suggest_categorical(name, CHOICES[name]))
    low, high = RANGES[name]
    return f"{trial.suggest_float(name, low, high, log=name == 'learning_rate'):.3g}"


def _open(path: Path, config: Config, search: list[str], flags: list[str]) -> Study:
    """Open the study in a file, new or resumed; raises `UsageError` for a file of other flags, or of another kind."""
    import optuna  # noqa: PLC0415  # an optional library
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=config.name,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED, n_warmup_steps=1),
        )
    except DatabaseError as error:
        raise UsageError(f"--storage {path} holds no study: {error.orig}") from error
    # The number of trials is part of the seed; otherwise a resumed study would draw its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    asked = {"flags": flags, "search": search}
    if study.user_attrs.get("asked", asked) != asked:
        there = study.user_attrs["asked"]
        raise UsageError(
            f"--storage {path} holds a sweep of --search {','.join(there['search'])} {shlex.join(there['flags'])}: "
            "use the same flags, or name another file"
        )
    study.set_user_attr("asked", asked)
    if all(trial.state.name in {"RUNNING", "FAIL"} for trial in study.trials):
        study.enqueue_trial(_start(config, search))
    return study


def _start(config: Config, search: list[str]) -> dict[str, float | str]:
    """Return the values to start from, as far as they can be searched: the first trial, to compare the best with."""
    values: dict[str, float | str] = {}
    for name in search:
        value = getattr(config, name)
        if name in RANGES and RANGES[name][0] <= value <= RANGES[name][1]:
            values[name] = value
        for choice in CHOICES.get(name, ()):
            if getattr(parse([_flag(name), choice]), name) == value:
                values[name] = choice
    return values


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _finished(study: Study) -> list[FrozenTrial]:
    """Return the trials that are complete or pruned."""
    return [trial for trial in study.trials if trial.state.name in {"COMPLETE", "PRUNED"}]


def _load_digits(config: Config) -> tuple[Digits, Digits]:
    """Return the digits that a training job trains on, and MNIST's validation digits."""
    torch.set_num_threads(config.threads)
    training, validation = data.split(data.load(config.data_dir).train, config.validation_share)
    return training.concatenate(rendered.load()[0].take(torch.arange(config.seen))), validation


def _print(trial: FrozenTrial) -> None:
    """Print a line for a trial."""
    ended = f"validation NLL {trial.value:.4f}" if trial.state.name == "COMPLETE" else "pruned"
    after = f"after epoch {trial.last_step}" if trial.last_step else "in its first epoch"
    print(f"trial {trial.number + 1}: {ended} {after}  {' '.join(trial.user_attrs['flags'])}", flush=True)
