"""Every knob of a training job, in one frozen dataclass; flags are made from its fields, recipes are values of it.

In: command-line words, and MNIST_DATA_DIR. Out: a `Config`. It knows what the knobs mean, and nothing of their use.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from .errors import UsageError

Activation = Literal["relu", "leaky_relu", "gelu", "tanh", "sigmoid"]
Loss = Literal["cross_entropy", "mse"]
Optimizer = Literal["sgd", "momentum", "adamw"]
Precision = Literal["fp32", "int8"]
Device = Literal["auto", "cpu", "cuda"]


@dataclasses.dataclass(frozen=True)
class Config:
    """One training job. Each knob carries its reason, which is its flag's help as well.

    Raises `UsageError` for a value that cannot work, naming its flag.
    """

    recipe: Annotated[str, "the values that the other flags start from"] = "quick"

    # Where things are: the knobs that the card leaves out, because they belong to this machine.
    data_dir: Annotated[Path | None, "folder of MNIST's four files; else MNIST_DATA_DIR, cache or fetched"] = None
    run_dir: Annotated[
        Path | None, "folder for the facts of this run, new or of the same run cut off; else runs/<UTC time>"
    ] = None
    resume: Annotated[Path | None, "folder of a run that was cut off: goes on, to the same bits"] = None
    models_dir: Annotated[Path, "the version is published below this folder"] = Path("models")
    name: Annotated[str, "of the model: its versions are MODELS_DIR/NAME/1, 2, …"] = "mnist-mlp"

    checkpoint_seconds: Annotated[float, "between checkpoints: what a crash can cost at most; 0 for every step"] = 30.0

    # The network.
    deslant: Annotated[bool, "a fixed first layer makes digits stand: worth most where epochs are few"] = True
    shifts: Annotated[bool, "answers are the mean over nine places of the digit, a pixel apart: 9 times the cost"] = (
        False
    )
    hidden: Annotated[tuple[int, ...], "sizes of the hidden layers: narrow wins, with more epochs in the time"] = (
        256,
        256,
    )
    activation: Annotated[Activation, "relu is the fastest, and the others bought nothing with warps on"] = "relu"
    batch_norm: Annotated[bool, "fewer epochs for the same accuracy, and folded away at export"] = True

    # The loop.
    loss: Annotated[Loss, "mse is the Brier score of the softmax; cross_entropy learns faster"] = "cross_entropy"
    optimizer: Annotated[Optimizer, "adamw needs the least tuning; momentum is Nesterov's"] = "adamw"
    learning_rate: Annotated[float, "peak of the one-cycle schedule; else what suits the optimizer"] = 8e-3
    weight_decay: Annotated[float, "bought nothing with warps on"] = 0.0
    epochs: Annotated[int, "99.1 % and more in some 12 s on two cores"] = 5
    batch_size: Annotated[int, "many steps an epoch, and matrix products still efficient"] = 256
    validation_share: Annotated[float, "5,000 of the 60,000: temperature and choices are made on these"] = 1 / 12
    seen: Annotated[int, "pictures as the service sees people's, beside MNIST's; two of seven are no digits"] = 15_120
    seed: Annotated[int, "same command, same machine: same bits"] = 0
    device: Annotated[
        Device, "cuda is a GPU for each process, auto is that where there is one; the steps are the same"
    ] = "auto"
    threads: Annotated[int, "of PyTorch in each process; sums are split between them, so they are part of the bits"] = 2

    # Augmentation, drawn anew for every digit and epoch; it never ships.
    rotation: Annotated[float, "degrees, uniform in ±; more makes sevens of ones"] = 5.0
    scale: Annotated[float, "relative size, uniform in ±"] = 0.1
    shear: Annotated[float, "slant, uniform in ±: little, once digits are made to stand"] = 0.05
    shift: Annotated[float, "pixels, uniform in ±: digits are centred, here and when served"] = 0.5
    elastic: Annotated[float, "pixels, standard deviation of a smooth displacement"] = 0.6
    stroke: Annotated[float, "0 to 1, uniform in ±: how far to a stroke 2 pixels thicker or thinner"] = 0.0
    blur: Annotated[float, "0 to 1, uniform from 0: how far to a 3-pixel binomial blur"] = 0.0

    tensorboard: Annotated[bool, "curves, knobs and scores as event files in the run's folder"] = False
    mlflow: Annotated[bool, "the same in mlflow.db in the run's folder"] = False

    precision: Annotated[Precision, "of what ships; int8 only if it is as right on the test digits, to 0.05 point"] = (
        "fp32"
    )
    min_accuracy: Annotated[float, "on the test digits, or nothing is published: broken runs miss it"] = 0.9

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{_flag(name)} must be between {low:g} and {high:g}, not {value:g}")
        if not self.hidden or min(self.hidden) < 1:
            raise UsageError(
                f"--hidden must be sizes of 1 or more, like 512,256, not {_text(self.hidden) or 'nothing'}"
            )
        if self.shifts and not self.deslant:
            raise UsageError("--shifts needs --deslant: only digits that stand leave room at the sides to be moved")
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\\0"):
            raise UsageError(f"--name must be the plain name of a folder, not {self.name!r}")

    def knobs(self) -> dict[str, Any]:
        """Every knob but the places of this machine, as JSON values."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in PLACES}


PLACES = ("data_dir", "run_dir", "resume", "models_dir", "checkpoint_seconds")  # of this machine, not of the result

_BOUNDS = {
    "checkpoint_seconds": (0, 86_400),
    "learning_rate": (1e-8, 100),
    "weight_decay": (0, 10),
    "epochs": (1, 100_000),
    "batch_size": (2, 60_000),
    "validation_share": (0.001, 0.9),
    "seen": (0, 15_120),
    "seed": (0, 2**31 - 1),
    "threads": (1, 1024),
    "rotation": (0, 180),
    "scale": (0, 0.9),
    "shear": (0, 1),
    "shift": (0, 14),
    "elastic": (0, 14),
    "stroke": (0, 1),
    "blur": (0, 1),
    "min_accuracy": (0, 1),
}

LEARNING_RATES = {"sgd": 0.5, "momentum": 0.2, "adamw": 8e-3}  # adamw's chosen on validation; the others train well

RECIPES = {
    "flash": Config(
        recipe="flash",
        hidden=(160,),
        batch_norm=False,
        learning_rate=1e-2,
        epochs=1,
        batch_size=192,
        seen=0,
        rotation=0,
        scale=0,
        shear=0,
        shift=0,
        elastic=0,
    ),
    "quick": Config(),
    "good": Config(
        recipe="good", hidden=(256, 192), epochs=45, rotation=8.0, scale=0.12, shear=0.08, shift=0.6, elastic=0.8
    ),
    "tiny": Config(recipe="tiny", hidden=(50,), shifts=True, epochs=100, seen=0, precision="int8"),
    "best": Config(
        recipe="best",
        hidden=(512, 512, 512),
        shifts=True,
        epochs=100,
        seen=0,
        rotation=10,
        scale=0.15,
        shear=0.1,
        shift=0.75,
        elastic=1.1,
    ),
}


def parse(words: list[str]) -> Config:
    """The `Config` of a command line: a recipe's values, changed by the other flags.

    Words that cannot be read end the process with code 2 and one line, as argparse does; bad values raise `UsageError`.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train, prove and publish one model version.", allow_abbrev=False
    )
    hints = get_type_hints(Config, include_extras=True)
    for field in dataclasses.fields(Config):
        kind, reason = get_args(hints[field.name])
        default = "" if field.default is None else f" [{_text(field.default)}]"
        text = (reason + default).replace("%", "%%")
        parser.add_argument(_flag(field.name), help=text, default=argparse.SUPPRESS, **_reader(field.name, kind))
    given = vars(parser.parse_args(words))
    if "optimizer" in given:
        given.setdefault("learning_rate", LEARNING_RATES[given["optimizer"]])
    given.setdefault("data_dir", default_data_dir())
    if folder := given.get("resume"):
        return _resumed(folder, given)
    return dataclasses.replace(RECIPES[given.get("recipe", "quick")], **given)


def default_data_dir() -> Path | None:
    """The folder that MNIST_DATA_DIR names, if any."""
    folder = os.environ.get("MNIST_DATA_DIR")
    return Path(folder) if folder else None


def _resumed(folder: Path, given: dict[str, Any]) -> Config:
    """The `Config` of the run in a folder, on this machine."""
    if others := [_flag(name) for name in given if name not in PLACES or name == "run_dir"]:
        raise UsageError(f"--resume takes the knobs and the folder of the run: leave out {', '.join(others)}")
    path = folder / "config.json"
    try:
        knobs = json.loads(path.read_text())
        return Config(**{**knobs, "hidden": tuple(knobs["hidden"])}, **given)
    except OSError as error:
        raise UsageError(f"--resume {folder} is no folder of a run: {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"--resume {folder}: {path} holds other knobs than this program's: {error}") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _reader(name: str, kind: Any) -> dict[str, Any]:
    """How argparse reads a field of this type."""
    if name == "recipe":
        return {"choices": list(RECIPES)}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind == tuple[int, ...]:
        return {"type": _sizes, "metavar": "N,N"}
    return {"type": Path if kind == Path | None else kind}


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


_sizes.__name__ = "list of sizes"  # argparse names the type in its message
