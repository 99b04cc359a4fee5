"""A search for better knobs: many short trainings, each judged by its validation NLL.

In: the flags of a training job to start from, and the names of the knobs to search. Out: an Optuna study in a SQLite
file, and on the screen the best trial as flags. The same command goes on where it was cut off. It sees no test digits:
whoever chooses by them can no longer be judged by them.

    python -m training sweep --search learning_rate,hidden --trials 20 --epochs 5
"""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import torch

from . import data
from .config import Activation, Loss, Optimizer, parse
from .errors import Diverged, Stopped, UsageError
from .loop.checkpoint import Keeper
from .loop.fit import fit
from .network.mlp import Network
from .optional import require
from .synthesis import rendered as seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

    from .config import Config
    from .data.mnist import Digits

RANGES: Final = {  # uniform, but for the rate, which is so in its logarithm
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
    "activation": get_args(Activation),
    "loss": get_args(Loss),
    "optimizer": get_args(Optimizer),
    "batch_size": ("64", "128", "256", "512", "1024"),
    "weight_decay": ("0", "1e-4", "1e-3", "1e-2", "1e-1"),
}
UNCUT: Final = 5  # trials that run to their end before any is pruned: their median is what the others must reach


def main(words: list[str]) -> None:
    """Run the sweep that the command line asks for. Raises `TrainingError`; `Stopped` on Ctrl-C."""
    require("sweep", "sweep", "optuna")
    options, flags = _read(words)
    config = parse(flags)
    if config.resume or config.run_dir:
        raise UsageError("a sweep leaves no run: leave out --run-dir and --resume; the same command goes on by itself")
    study = _open(options.storage, config, options.search, flags)
    missing = options.trials - len(_judged(study))
    if missing > 0:
        digits = _digits(config)
        _optimize(study, lambda trial: judge(trial, flags, options.search, *digits), missing)
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):
        raise Diverged("no trial came to its end: start from a lower --learning-rate, or search it")
    best = study.best_trial
    print(f"best of {len(_judged(study))} trials: number {best.number + 1}, validation NLL {best.value:.4f}")
    print(shlex.join(["python", "-m", "training", *flags, *best.user_attrs["flags"]]))


def _optimize(study: Study, objective: Callable[[Trial], float], missing: int) -> None:
    """Run the trials that are missing; raises `Stopped` on Ctrl-C and SIGTERM.

    Within a trial they are a KeyboardInterrupt, which Optuna notes as a failed trial. Between two they wait for the
    next: one that is begun, but not run yet, would seem to run for ever.
    """
    names = (signal.SIGINT, signal.SIGTERM)
    asked: list[int] = []

    def wait(number: int, _: object) -> None:
        asked.append(number)

    def trial_of(trial: Trial) -> float:
        for name in names:
            signal.signal(name, signal.default_int_handler)
        try:
            if asked:
                raise KeyboardInterrupt
            return objective(trial)
        finally:
            for name in names:
                signal.signal(name, wait)

    before = {name: signal.signal(name, wait) for name in names}
    try:
        study.optimize(trial_of, missing, callbacks=[lambda _, trial: _tell(trial)])
    except KeyboardInterrupt as stop:
        kept = len(_judged(study))
        raise Stopped(f"stopped, and the {kept} trials before are kept: the same command goes on") from stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def judge(trial: Trial, flags: list[str], search: list[str], training: Digits, validation: Digits) -> float:
    """Train with the knobs of a trial; returns the validation NLL after its last epoch. Raises `TrialPruned`."""
    from optuna import TrialPruned  # noqa: PLC0415  # an extra

    chosen = [word for name in search for word in (_flag(name), _suggest(trial, name))]
    trial.set_user_attr("flags", chosen)
    config = parse([*flags, *chosen])
    network = Network.of(config)
    nll = float("nan")
    with tempfile.TemporaryDirectory() as folder:
        try:
            for epoch in fit(network, training, validation, config, Keeper(Path(folder), float("inf"))):
                nll = epoch.validation_nll
                trial.report(nll, epoch.epoch)
                if trial.should_prune():
                    raise TrialPruned
        except Diverged as end:
            raise TrialPruned from end
    return nll


def _suggest(trial: Trial, name: str) -> str:
    """The trial's value of a knob as a flag's word; three digits, so that what is printed is what was trained."""
    if name in CHOICES:
        return str(trial.suggest_categorical(name, CHOICES[name]))
    low, high = RANGES[name]
    return f"{trial.suggest_float(name, low, high, log=name == 'learning_rate'):.3g}"


def _read(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The sweep's own options, and the flags of the training jobs."""
    knobs = sorted({*RANGES, *CHOICES})
    parser = argparse.ArgumentParser(
        prog="python -m training sweep",
        description=__doc__.partition("\n")[0],
        epilog=f"Every flag of python -m training says what to start from. Knobs to search: {', '.join(knobs)}.",
        allow_abbrev=False,
    )
    parser.add_argument("--search", default="learning_rate,hidden", help="knobs to search, with commas [%(default)s]")
    parser.add_argument("--trials", type=int, default=20, help="to run to their end or prune, in all [%(default)s]")
    parser.add_argument(
        "--storage", type=Path, default=Path("runs/sweep.db"), help="SQLite file of the study [%(default)s]"
    )
    options, flags = parser.parse_known_args(words)
    options.search = options.search.replace("-", "_").split(",")
    if unknown := [name for name in options.search if name not in knobs]:
        raise UsageError(f"--search {','.join(unknown)}: only these can be searched: {', '.join(knobs)}")
    if options.trials < 1:
        raise UsageError(f"--trials must be 1 or more, not {options.trials}")
    return options, flags


def _open(path: Path, config: Config, search: list[str], flags: list[str]) -> Study:
    """The study in a file, new or to go on with; raises `UsageError` for a file of other flags, or of another kind."""
    import optuna  # noqa: PLC0415  # an extra
    from sqlalchemy.exc import DatabaseError  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=config.name,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=UNCUT, n_warmup_steps=1),
        )
    except DatabaseError as error:
        raise UsageError(f"--storage {path} holds no study: {error.orig}") from error
    # Seeded with the number of trials as well: else a study that goes on would draw its first trials again.
    study.sampler = optuna.samplers.TPESampler(seed=config.seed + len(study.trials))
    asked = {"flags": flags, "search": search}
    if study.user_attrs.get("asked", asked) != asked:
        there = study.user_attrs["asked"]
        raise UsageError(
            f"--storage {path} holds a sweep of --search {','.join(there['search'])} {shlex.join(there['flags'])}: "
            "go on with the same flags, or name another file"
        )
    study.set_user_attr("asked", asked)
    if all(trial.state.name in {"RUNNING", "FAIL"} for trial in study.trials):
        study.enqueue_trial(_start(config, search))
    return study


def _start(config: Config, search: list[str]) -> dict[str, float | str]:
    """The values to start from, as far as they can be searched: the first trial, so that the best can be held to it."""
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


def _judged(study: Study) -> list[FrozenTrial]:
    """The trials that came to their end, or were pruned."""
    return [trial for trial in study.trials if trial.state.name in {"COMPLETE", "PRUNED"}]


def _digits(config: Config) -> tuple[Digits, Digits]:
    """What a training job trains on, and MNIST's validation digits."""
    torch.set_num_threads(config.threads)
    training, validation = data.split(data.load(config.data_dir).train, config.validation_share)
    return training.and_also(seen.load()[0].take(torch.arange(config.seen))), validation


def _tell(trial: FrozenTrial) -> None:
    """A line for each trial."""
    ended = f"validation NLL {trial.value:.4f}" if trial.state.name == "COMPLETE" else "pruned"
    after = f"after epoch {trial.last_step}" if trial.last_step else "in its first epoch"
    print(f"trial {trial.number + 1}: {ended} {after}  {' '.join(trial.user_attrs['flags'])}", flush=True)
