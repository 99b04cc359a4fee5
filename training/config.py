"""All hyperparameters of a training job in one frozen dataclass. Flags are made from its fields; recipes are presets.

In: command-line words, and MNIST_DATA_DIR. Out: a `Config`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from .choices import ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES
from .errors import UsageError
from .parser import Parser

if TYPE_CHECKING:
    from collections.abc import Mapping

Precision = Literal["fp32", "int8"]
Device = Literal["auto", "cpu", "cuda"]


@dataclasses.dataclass(frozen=True)
class Config:
    """One training job. The annotation of a field is the help of its flag.

    Raises `UsageError` for a value that cannot work, naming its flag.
    """

    recipe: Annotated[str, "preset that the other flags change"] = "quick"

    # Places on this machine. The card leaves them out.
    data_dir: Annotated[Path | None, "folder of MNIST's four files; default: MNIST_DATA_DIR, or they are fetched"] = (
        None
    )
    run_dir: Annotated[
        Path | None, "folder for the facts of this run: new, or of the same run interrupted; default: runs/<UTC time>"
    ] = None
    resume: Annotated[Path | None, "folder of an interrupted run, which goes on to the same bits"] = None
    models_dir: Annotated[Path, "the version is published below this folder"] = Path("models")
    name: Annotated[str, "of the model: its versions are the folders MODELS_DIR/NAME/<number>"] = "mnist-mlp"
    version_number: Annotated[
        int | None, "of the version; default: the next from 101 on, since the project's own versions are below"
    ] = None

    promote: Annotated[bool, "services answer with the version, even if it is worse than the one that serves"] = False
    publish: Annotated[bool, "make a version; after --no-publish, --resume makes it"] = True
    sign_key: Annotated[
        Path | None, "private key (PEM) that signs the version; its password: MNIST_SIGNING_PASSWORD; default: unsigned"
    ] = None

    checkpoint_seconds: Annotated[float, "between checkpoints: what a crash can cost at most; 0 for every step"] = 30.0

    # The network.
    deslant: Annotated[bool, "a fixed first layer removes the slant: most useful with few epochs"] = True
    components: Annotated[
        int, "principal components that the first weights see, or 0 for all pixels: fewer sums; folded away at export"
    ] = 64
    shifts: Annotated[bool, "average the logits over nine places of the digit, a pixel apart: 9 times the cost"] = False
    hidden: Annotated[
        tuple[int, ...], "sizes of the hidden layers, or none: narrow ones allow more epochs in the same time"
    ] = (256, 256)
    activation: Annotated[str, "relu is the fastest; with augmentation the others gained nothing", ACTIVATIONS] = "relu"
    batch_norm: Annotated[bool, "same accuracy in fewer epochs; folded away at export"] = True

    # The loop.
    loss: Annotated[str, "mse is the Brier score of the softmax; cross_entropy learns faster", LOSSES] = "cross_entropy"
    optimizer: Annotated[str, "adamw needs the least tuning; momentum is Nesterov's", OPTIMIZERS] = "adamw"
    schedule: Annotated[
        str, "of the learning rate: one_cycle rises and falls, and needs fewer epochs than constant", SCHEDULES
    ] = "one_cycle"
    learning_rate: Annotated[float, "peak of the schedule; default: what suits the optimizer"] = 1.2e-2
    weight_decay: Annotated[float, "gained nothing with augmentation"] = 0.0
    teacher_epochs: Annotated[
        int, "of a convolutional network, whose answers the network then learns; 0: it learns labels, in less time"
    ] = 0
    epochs: Annotated[int, "7 reach about 99.2 % in some 10 s on two cores"] = 7
    batch_size: Annotated[int, "small enough for many steps an epoch, large enough for fast matrix products"] = 256
    validation_share: Annotated[float, "5,000 of the 60,000: temperature and choices are made on these"] = 1 / 12
    seen: Annotated[
        int, "rendered pictures to train on besides MNIST's, as the service sees them; two of seven show no digit"
    ] = 22_400
    seed: Annotated[int, "same command, same machine: same bits"] = 0
    device: Annotated[
        Device, "cuda: a GPU for each process; auto: the same where there is one; the steps do not change"
    ] = "auto"
    threads: Annotated[int, "of PyTorch in each process; they split sums, so their number changes the bits"] = 2

    # Augmentation, random for every digit and epoch; it never ships.
    rotation: Annotated[float, "degrees, uniform in ±; more turns ones into sevens"] = 5.0
    scale: Annotated[float, "relative size, uniform in ±"] = 0.1
    shear: Annotated[float, "slant, uniform in ±: little, because digits are deslanted"] = 0.05
    shift: Annotated[float, "pixels, uniform in ±: digits are centred, here and when served"] = 0.5
    elastic: Annotated[float, "pixels, standard deviation of a smooth displacement"] = 0.6
    stroke: Annotated[float, "0 to 1, uniform in ±: how far to a stroke 2 pixels thicker or thinner"] = 0.0
    blur: Annotated[float, "0 to 1, uniform from 0: how far to a 3-pixel binomial blur"] = 0.0

    tensorboard: Annotated[bool, "curves, hyperparameters and scores as event files in the run's folder"] = False
    mlflow: Annotated[bool, "the same in mlflow.db in the run's folder"] = False

    precision: Annotated[Precision, "of what ships; int8 may lose 0.05 point of test accuracy at most"] = "fp32"
    min_accuracy: Annotated[float, "on the test digits; a lower one publishes nothing"] = 0.9

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UsageError(f"{_flag(name)} must be between {low:.10g} and {high:.10g}, not {value:.10g}")
        for name, table in _TABLES.items():
            if getattr(self, name) not in table:
                raise UsageError(f"{_flag(name)} must be one of {', '.join(table)}, not {getattr(self, name)}")
        if min(self.hidden, default=1) < 1:
            raise UsageError(f"--hidden must be sizes of 1 or more, like 512,256, or none, not {_text(self.hidden)}")
        if self.shifts and not self.deslant:
            raise UsageError("--shifts needs --deslant: only deslanted digits leave room at the sides for shifts")
        if self.teacher_epochs and self.components:
            raise UsageError("--teacher-epochs needs --components 0: a convolution sees pixels")
        if self.teacher_epochs and self.loss != "cross_entropy":
            raise UsageError(f"--loss {self.loss} needs --teacher-epochs 0: with a teacher, its answers make the loss")
        if self.promote and not self.publish:
            raise UsageError("--promote needs a version to promote: leave out --no-publish")
        if self.sign_key and not self.publish:
            raise UsageError("--sign-key needs a version to sign: leave out --no-publish, and give it to --resume")
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\\0"):
            raise UsageError(f"--name must be the plain name of a folder, not {self.name!r}")

    def hyperparameters(self) -> dict[str, Any]:
        """Return all fields but the places on this machine, as JSON values."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in PLACES}


# Fields of this machine, which do not change the result.
PLACES = (
    "data_dir",
    "run_dir",
    "resume",
    "models_dir",
    "version_number",
    "promote",
    "publish",
    "sign_key",
    "checkpoint_seconds",
)

_TABLES: dict[str, Mapping[str, object]] = {
    "activation": ACTIVATIONS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
}
_BOUNDS = {
    "version_number": (1, 10**9 - 1),
    "checkpoint_seconds": (0, 86_400),
    "components": (0, 572),
    "learning_rate": (1e-8, 100),
    "weight_decay": (0, 10),
    "teacher_epochs": (0, 100_000),
    "epochs": (1, 100_000),
    "batch_size": (2, 60_000),
    "validation_share": (0.001, 0.9),
    "seen": (0, 22_400),
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

_MNIST_ALONE = Config(batch_norm=False, seen=0, rotation=0, scale=0, shear=0, shift=0, elastic=0)
_PLAIN = dataclasses.replace(  # what textbooks begin with: one small step after another
    _MNIST_ALONE, deslant=False, components=0, optimizer="sgd", schedule="constant", epochs=30, batch_size=10
)
_PIXELS = Config(components=0, learning_rate=8e-3)

RECIPES = {
    "softmax": dataclasses.replace(_PLAIN, recipe="softmax", hidden=(), learning_rate=0.003),
    "article": dataclasses.replace(
        _PLAIN, recipe="article", hidden=(30,), activation="sigmoid", loss="mse", learning_rate=0.15
    ),
    "flash": dataclasses.replace(
        _MNIST_ALONE, recipe="flash", components=48, hidden=(128,), learning_rate=5e-2, epochs=2, batch_size=1024
    ),
    "quick": Config(),
    "good": dataclasses.replace(
        _PIXELS,
        recipe="good",
        deslant=False,
        hidden=(384, 256, 128),
        epochs=60,
        rotation=8,
        shear=0.1,
        shift=1,
        elastic=0.8,
    ),
    "tiny": dataclasses.replace(
        _PIXELS, recipe="tiny", hidden=(80, 64, 32), shifts=True, epochs=100, seen=0, precision="int8"
    ),
    "best": dataclasses.replace(
        _PIXELS,
        recipe="best",
        hidden=(1024, 768, 512),
        shifts=True,
        learning_rate=4e-3,
        teacher_epochs=40,
        epochs=100,
        seen=0,
        rotation=10,
        scale=0.12,
        shear=0.1,
        shift=1,
        elastic=0.8,
    ),
}

RECIPE_HELP = {
    "softmax": "multinomial logistic regression: 784-10, no hidden layer; 92.5 % in a minute",
    "article": "the network of textbooks: 784-30-10, sigmoid, mean squared error, plain SGD; 95.7 %",
    "flash": "97.8 % in half a second: one hidden layer, two epochs, no augmentation",
    "quick": "99.2 % in some 10 s; the default",
    "good": "99.4 % in 2 minutes, and the best with people's own pictures: what the service should answer with",
    "tiny": "99.3 % from a file of 64 kB, in int8",
    "best": "99.6 %, the fewest errors on MNIST, from a teacher, in 50 minutes",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field of `Config` to a parser, and a line for each recipe below them."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "recipes:\n" + "\n".join(f"  {name:<8} {RECIPE_HELP[name]}" for name in RECIPES)
    parser.usage = "%(prog)s [-h] [--FLAG VALUE ...]"  # all of them would be twenty lines
    hints = get_type_hints(Config, include_extras=True)
    for field in dataclasses.fields(Config):
        kind, reason, *choices = get_args(hints[field.name])
        default = "" if field.default is None else f" [{_text(field.default)}]"
        text = (reason + default).replace("%", "%%")
        options = {"choices": list(choices[0])} if choices else _options(field.name, kind)
        parser.add_argument(_flag(field.name), help=text, default=argparse.SUPPRESS, **options)


def describe_fields() -> dict[str, str]:
    """Return the help of each field of `Config`."""
    hints = get_type_hints(Config, include_extras=True)
    return {field.name: get_args(hints[field.name])[1] for field in dataclasses.fields(Config)}


def from_flags(given: dict[str, Any]) -> Config:
    """Return the `Config` of the flags that were given: a recipe's values, changed by the others.

    Raises `UsageError` for bad values.
    """
    if "optimizer" in given:
        given.setdefault("learning_rate", OPTIMIZERS[given["optimizer"]].learning_rate)
    given.setdefault("data_dir", default_data_dir())
    if folder := given.get("resume"):
        return _resume(folder, given)
    return dataclasses.replace(RECIPES[given.get("recipe", "quick")], **given)


def parse(words: list[str]) -> Config:
    """Return the `Config` of a command line.

    Words that cannot be read end the process with code 2 and one line, as argparse does; bad values raise `UsageError`.
    """
    return from_flags(vars(make_parser().parse_args(words)))


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(prog="python -m training train")
    add_flags(parser)
    return parser


def default_data_dir() -> Path | None:
    """Return the folder that MNIST_DATA_DIR names, if any."""
    folder = os.environ.get("MNIST_DATA_DIR")
    return Path(folder) if folder else None


def _resume(folder: Path, given: dict[str, Any]) -> Config:
    """Return the `Config` of the run in a folder, on this machine."""
    if superfluous := [_flag(name) for name in given if name not in PLACES or name == "run_dir"]:
        raise UsageError(
            f"--resume uses the hyperparameters and the folder of the run: leave out {', '.join(superfluous)}"
        )
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text())
        return Config(**{**values, "hidden": tuple(values["hidden"])}, **given)
    except OSError as error:
        raise UsageError(f"--resume {folder} is not a run's folder: cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"--resume {folder}: {path} has hyperparameters of another version: {error}") from error


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(value: object) -> str:
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _options(name: str, kind: Any) -> dict[str, Any]:
    """Return how argparse reads a field of this type."""
    if name == "recipe":
        return {"choices": list(RECIPES)}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind)}
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind == tuple[int, ...]:
        return {"type": _sizes, "metavar": "N,N"}
    return {"type": next((part for part in get_args(kind) if part is not type(None)), kind)}  # of T | None: T


def _sizes(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(size) for size in text.split(","))


_sizes.__name__ = "list of sizes"  # argparse puts the type's name into its message
