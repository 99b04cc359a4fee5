"""Every knob of a training job, in one frozen dataclass; flags are made from its fields, recipes are values of it.

In: command-line words. Out: a `Config`. It knows what the knobs mean, and nothing of how they are used.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from training.errors import UsageError

Activation = Literal["relu", "leaky_relu", "gelu", "tanh", "sigmoid"]
Loss = Literal["cross_entropy", "mse"]
Optimizer = Literal["sgd", "momentum", "adamw"]

T = TypeVar("T")


def knob(default: T, reason: str) -> T:
    """A field with its default and its reason; the reason is the flag's help as well, so that it is written once."""
    field: T = dataclasses.field(default=default, metadata={"help": reason})
    return field


@dataclasses.dataclass(frozen=True)
class Config:
    """One training job. Raises `UsageError` for a value that cannot work, naming its flag."""

    recipe: str = knob("quick", "the recipe whose values the other flags change")

    # Where things are; the only knobs that the card leaves out, because they belong to the machine.
    data_dir: Path | None = knob(None, "folder of the four MNIST files, .gz or not; without it: the cache, then fetched")
    run_dir: Path | None = knob(None, "folder for this run's facts, new for each run; without it: runs/<UTC time>")
    models_dir: Path = knob(Path("models"), "the new version is published below this folder")
    name: str = knob("mnist-mlp", "the model's name: versions are models-dir/name/1, 2, …")

    # The network.
    hidden: tuple[int, ...] = knob((512, 256), "sizes of the hidden layers: 60 µs an answer, the best of 20 s of training")
    activation: Activation = knob("relu", "the fastest to train and to serve; GELU bought nothing with warps on")
    batch_norm: bool = knob(True, "trains in fewer epochs, and costs nothing to serve: folded into the weights at export")

    # The loop.
    loss: Loss = knob("cross_entropy", "mse is the Brier score of the softmax: slower to train, as well calibrated")
    optimizer: Optimizer = knob("adamw", "needs the least tuning; sgd is plain, momentum is Nesterov's")
    learning_rate: float = knob(4e-3, "peak of the one-cycle schedule, chosen on validation for adamw and batch norm")
    weight_decay: float = knob(0.01, "hardly matters with warps on; keeps the weights small where nothing else does")
    epochs: int = knob(8, "what fits into 20 s on two cores")
    batch_size: int = knob(256, "small enough for many steps an epoch, big enough for the matrix product to be efficient")
    validation_share: float = knob(1 / 12, "5,000 of the 60,000: choices and the temperature are made on these")
    seed: int = knob(0, "split, weights, order and warps follow from it: same command, same machine, same bits")
    threads: int = knob(2, "of PyTorch; part of the bits, since sums are split between threads")

    # Augmentation, drawn anew for each digit and epoch; never ships.
    rotation: float = knob(8.0, "degrees, uniform in ±: more turns 4 into 9 and 1 into 7")
    scale: float = knob(0.10, "relative size, uniform in ±")
    shear: float = knob(0.10, "slant, uniform in ±: writers differ most in this")
    shift: float = knob(1.0, "pixels, uniform in ±: digits are centred, at training and at serving")
    elastic: float = knob(0.8, "pixels, standard deviation of a smooth random displacement (Simard et al. 2003)")

    # Gates: what a version must pass to be published.
    min_accuracy: float = knob(0.95, "on the test digits: every recipe passes it, a broken run does not")

    def __post_init__(self) -> None:
        for name, low, high in _BOUNDS:
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{_flag(name)} must be between {low:g} and {high:g}, not {getattr(self, name):g}")
        if not self.hidden or min(self.hidden) < 1:
            raise UsageError(f"--hidden must be sizes of at least 1, like 512,256, not {self.hidden}")
        if not self.name or set(self.name) & set("/\\\0") or self.name.startswith("."):
            raise UsageError(f"--name must be a plain folder name, not {self.name!r}")

    def knobs(self) -> dict[str, Any]:
        """Every knob but the places of this machine, as JSON values."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if not key.endswith("_dir")}


_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("learning_rate", 1e-8, 100),
    ("weight_decay", 0, 10),
    ("epochs", 1, 100_000),
    ("batch_size", 2, 60_000),
    ("validation_share", 0.001, 0.9),
    ("seed", 0, 2**31 - 1),
    ("threads", 1, 1024),
    ("rotation", 0, 180),
    ("scale", 0, 0.9),
    ("shear", 0, 1),
    ("shift", 0, 14),
    ("elastic", 0, 14),
    ("min_accuracy", 0, 1),
)

RECIPES = {
    "quick": Config(),
    "good": Config(recipe="good", hidden=(512, 512), epochs=60),
}


def parse(words: list[str]) -> Config:
    """The `Config` of a command line; argparse ends the process with code 2 and one line where it cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train, export and publish one model version.")
    hints = get_type_hints(Config)
    for field in dataclasses.fields(Config):
        text = f"{field.metadata['help']} [{_text(field.default)}]".replace("%", "%%")
        parser.add_argument(_flag(field.name), help=text, default=argparse.SUPPRESS, **_reader(field.name, hints[field.name]))
    given = vars(parser.parse_args(words))
    recipe = RECIPES[given.get("recipe", "quick")]
    return dataclasses.replace(recipe, **given)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text(default: object) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _reader(name: str, hint: Any) -> dict[str, Any]:
    """How argparse reads a field of this type."""
    if name == "recipe":
        return {"choices": sorted(RECIPES)}
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint == tuple[int, ...]:
        return {"type": _sizes, "metavar": "N,N"}
    return {"type": Path if hint == Path | None else hint}


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


_sizes.__name__ = "list of sizes"  # argparse names the type in its message
