from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from benchmarks import learning
from training.config import RECIPES, Config, parse
from training.errors import UsageError


def test_no_words_are_the_quick_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flags the job is the quick recipe, and that is the defaults."""
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    assert parse([]) == RECIPES["quick"] == Config()


def test_the_benchmark_knows_all_recipes() -> None:
    """`make bench-learning` runs every recipe that takes minutes; it imports none, because its memory would count."""
    assert tuple(RECIPES) == learning.RECIPES + learning.LONG


def test_flags_change_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags of every kind are read, and what they leave alone is the recipe's, or suits what they say."""
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    words = "--recipe good --hidden 64,32 --activation gelu --loss mse --optimizer sgd --no-batch-norm --epochs 3"
    changed = dataclasses.replace(
        RECIPES["good"],
        hidden=(64, 32),
        activation="gelu",
        loss="mse",
        optimizer="sgd",
        learning_rate=0.5,
        batch_norm=False,
        epochs=3,
    )
    assert parse(words.split()) == changed


def test_the_data_folder_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST_DATA_DIR is the data folder, unless a flag names another."""
    monkeypatch.setenv("MNIST_DATA_DIR", "/from/environment")
    assert parse([]).data_dir == Path("/from/environment")
    assert parse(["--data-dir", "/from/flag"]).data_dir == Path("/from/flag")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--epochs 0", "--epochs must be between 1 and 100000, not 0"),
        ("--learning-rate -1", "--learning-rate must be between 1e-08 and 100, not -1"),
        ("--learning-rate nan", "not nan"),
        ("--hidden 64,0", "--hidden must be sizes of 1 or more, like 512,256, or none, not 64,0"),
        ("--name ../elsewhere", "--name must be the plain name of a folder"),
        ("--version-number 0", "--version-number must be between 1 and"),
        ("--version-number 1000000000", "--version-number must be between 1 and 999999999, not 1000000000"),
        ("--validation-share 1", "--validation-share must be between 0.001 and 0.9, not 1"),
        ("--components 0 --teacher-epochs 1 --loss mse", "--loss mse needs --teacher-epochs 0"),
        ("--teacher-epochs 1", "--teacher-epochs needs --components 0: a convolution sees pixels"),
        ("--no-publish --sign-key key.pem", "--sign-key needs a version to sign: leave out --no-publish"),
    ],
)
def test_a_value_that_cannot_work_is_named(words: str, said: str) -> None:
    """A bad value is refused with its flag, the limit and the value."""
    with pytest.raises(UsageError) as refusal:
        parse(words.split())
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "words", ["--hidden 64x32", "--activation swish", "--recipe slow", "--epochs many", "--epochs 1 --wrong"]
)
def test_words_that_cannot_be_read_end_with_code_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unreadable word ends with code 2 and a line that names it."""
    with pytest.raises(SystemExit) as end:
        parse(words.split())
    assert end.value.code == 2
    assert words.rsplit(maxsplit=1)[-1] in capsys.readouterr().err.splitlines()[0]


def test_help_gives_each_knob_its_reason_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists every knob of the dataclass."""
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = capsys.readouterr().out
    for field in dataclasses.fields(Config):
        assert "--" + field.name.replace("_", "-") in said
    for recipe in RECIPES:
        assert re.search(rf"^  {recipe} +\S.{{30}}", said, re.MULTILINE), recipe


def test_a_network_may_have_no_hidden_layer() -> None:
    """`--hidden none` is what the recipe `softmax` has."""
    assert parse(["--hidden", "none"]).hidden == parse(["--recipe", "softmax"]).hidden == ()


def test_knobs_are_json_and_tell_nothing_of_the_machine() -> None:
    """What the card repeats of a config has no folder in it."""
    knobs = Config(data_dir=Path("/secret"), run_dir=Path("/secret"), models_dir=Path("/secret")).hyperparameters()
    assert "secret" not in json.dumps(knobs)
    assert knobs["hidden"] == (256, 256)
