"""`training.export.promotion`: a version that is worse than the one that serves is published, and held."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from training import files
from training.export import choice
from training.export.promotion import Figures, RenderedSet, judge, judge_and_publish

if TYPE_CHECKING:
    from collections.abc import Callable

PYTHON = Path(sys.executable).relative_to(Path.cwd()) if Path(sys.executable).is_relative_to(Path.cwd()) else "python"
SERVED = Figures(mnist=0.9941, rendered=0.9775, ece=0.0021, bytes=1000)
POINT = 0.01
SAME_SET = "the pictures of today"


def measure(model: bytes) -> float:
    """No test's model can answer pictures."""
    raise ValueError(f"its model does not run: {len(model)} bytes")


PICTURES = RenderedSet(SAME_SET, measure)


def card(figures: Figures, run: str = "new") -> dict[str, Any]:
    test = {"accuracy": figures.mnist, "ece": figures.ece}
    metrics = {"test": test, "rendered": {"accuracy": figures.rendered, "ece": 1.0}}
    return {"schema": "mnist-mlp/1", "run": run, "metrics": metrics, "data": {"rendered_sha256": SAME_SET}}


def put(folder: Path, number: int, figures: Figures) -> Path:
    """A version with these figures."""
    version = folder / str(number)
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"x" * figures.bytes)
    (version / "golden.npz").touch()
    (version / "model.json").write_text(json.dumps(card(figures, run=f"of {number}")))
    return version


def publish(folder: Path, figures: Figures, *, run: str = "new", promote: bool = False) -> tuple[str, list[str]]:
    """The number of the version that is published, and the lines about it."""
    version, lines = judge_and_publish(
        folder, b"x" * figures.bytes, b"", card(figures, run), str, pictures=PICTURES, number=None, promote=promote
    )
    return version.name, lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with version 2, which serves."""
    put(tmp_path, 2, SERVED)
    return tmp_path


@pytest.mark.parametrize(
    "figures",
    [
        SERVED,
        Figures(1, 1, 0, 1),
        SERVED._replace(mnist=0.9931),  # 0.1 point, which is 0.0010000000000000009 in floats
        SERVED._replace(rendered=0.9765),
        SERVED._replace(ece=0.0071),
        SERVED._replace(bytes=2000),
        Figures(0.9931, 0.9765, 0.0071, 2000),
    ],
)
def test_a_version_within_the_limits_is_not_held(folder: Path, figures: Figures) -> None:
    """At each limit it is still good enough; nothing is said of it."""
    assert publish(folder, figures) == ("101", [])
    assert choice.read_held(folder) == set()
    assert choice.chosen_version(folder) == 101


@pytest.mark.parametrize(
    ("figures", "reasons"),
    [
        (SERVED._replace(mnist=0.9930), ["MNIST: 99.30%, 0.11 points lower (limit 0.1)"]),
        (SERVED._replace(rendered=0.9683), ["rendered pictures: 96.83%, 0.92 points lower (limit 0.1)"]),
        (SERVED._replace(ece=0.0072), ["calibration error: 0.72%, 0.51 points higher (limit 0.5)"]),
        (SERVED._replace(bytes=2001), ["file: 2,001 bytes, 2.0 times as large as 1,000 (limit 2)"]),
        (
            Figures(0.5, 1, 0.5, 1),
            [
                "MNIST: 50.00%, 49.41 points lower (limit 0.1)",
                "calibration error: 50.00%, 49.79 points higher (limit 0.5)",
            ],
        ),
    ],
)
def test_a_version_that_is_worse_is_held(folder: Path, figures: Figures, reasons: list[str]) -> None:
    """Beyond one limit it is held, and the lines say what is worse, by how much, and how to promote it."""
    assert publish(folder, figures) == (
        "101",
        [
            "version 101 is held: no service answers with it by itself. Compared with version 2, which serves:",
            *(f"  {reason}" for reason in reasons),
            f"{PYTHON} -m service promote 101 --model-dir {folder} makes it serve",
        ],
    )
    assert choice.read_held(folder) == {101}
    assert choice.chosen_version(folder) == 2


def test_it_is_compared_with_what_services_choose(folder: Path) -> None:
    """The pin's version, or the latest that is neither held nor the canary; without one, nothing is held."""
    worse, poor = SERVED._replace(mnist=0.97), SERVED._replace(mnist=0.9)
    assert publish(folder, worse, run="a") == ("101", publish(folder, worse, run="a")[1])
    assert len(publish(folder, poor, run="b")[1]) == 3  # beside 2, not 101, which is held
    (folder / "PINNED").write_text("101")
    assert publish(folder, worse, run="c") == ("103", [])
    (folder / "PINNED").unlink()
    (folder / "CANARY").write_text("103 10")
    assert "Compared with version 2," in publish(folder, worse, run="d")[1][0]
    assert choice.read_held(folder) == {101, 102, 104}
    assert publish(folder / "new", poor) == ("101", [])


def test_the_commands_default_folder_is_left_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In models/mnist-mlp the command needs no flag; and the program is named as it is from here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    put(models := Path("models/mnist-mlp"), 2, SERVED)
    _, lines = publish(models, SERVED._replace(mnist=0.9))
    assert lines[-1] == "bin/python -m service promote 101 makes it serve"
    monkeypatch.setattr(sys, "executable", "/elsewhere/bin/python")
    assert publish(models, SERVED._replace(mnist=0.9))[1][-1] == "python -m service promote 101 makes it serve"


def without(*path: str) -> Callable[[Path], None]:
    """Take a figure off the card."""

    def change(file: Path) -> None:
        facts = inner = json.loads(file.read_text())
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        file.write_text(json.dumps(facts))

    return change


def instead(content: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(content)


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def with_accuracy(value: object) -> Callable[[Path], object]:
    return lambda file: file.write_text(json.dumps(card(SERVED._replace(mnist=value), run="of 2")))  # type: ignore[arg-type]


CARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (instead(""), "it is not JSON: Expecting value: line 1 column 1 (char 0)"),
    "not text": (lambda file: file.write_bytes(b"\xff"), "'utf-8' codec can't decode byte 0xff in position 0"),
    "a list": (instead("[]"), "it is not a card of schema mnist-mlp/1"),
    "deep": (instead("[" * 100_000), "maximum recursion depth exceeded"),
    "large": (instead(" " * (2**20 + 1)), "more than 1,048,576 bytes"),
    "a pipe": (pipe, "not a regular file"),
    "foreign": (instead('{"schema": "other/1"}'), "it is not a card of schema mnist-mlp/1"),
    "without metrics": (without("metrics"), "it has no metrics.test.accuracy from 0 to 1"),
    "without rendered": (without("metrics", "rendered"), "it has no metrics.rendered.accuracy from 0 to 1"),
    "without ece": (without("metrics", "test", "ece"), "it has no metrics.test.ece from 0 to 1"),
    "a word": (with_accuracy("good"), "it has no metrics.test.accuracy from 0 to 1"),
    "percent": (with_accuracy(99.41), "it has no metrics.test.accuracy from 0 to 1"),
    "no number": (with_accuracy(float("nan")), "it has no metrics.test.accuracy from 0 to 1"),
    "true": (with_accuracy(True), "it has no metrics.test.accuracy from 0 to 1"),
}


@pytest.mark.parametrize("kind", CARDS)
def test_a_version_that_cannot_be_compared_is_held(folder: Path, kind: str) -> None:
    """Whatever the card of the version that serves is: one line names it and what is wrong."""
    change, wrong = CARDS[kind]
    path = folder / "2" / "model.json"
    change(path)
    _, (first, reason, command) = publish(folder, SERVED)
    assert first.startswith("version 101 is held")
    assert reason.startswith(f"  {path} cannot be compared: ")
    assert wrong in reason
    assert "promote 101" in command
    assert choice.read_held(folder) == {101}


def test_a_card_of_other_rendered_pictures_is_not_believed(folder: Path) -> None:
    """Another release drew other pictures: the model that serves answers today's, and that is what is compared."""
    today = RenderedSet("drawn again", lambda model: 0.93 if len(model) == SERVED.bytes else 0.99)
    new = SERVED._replace(rendered=0.931)
    assert judge(folder, new, PICTURES).reasons == ("rendered pictures: 93.10%, 4.65 points lower (limit 0.1)",)
    assert judge(folder, new, today).reasons == ()
    (reason,) = judge(folder, new, RenderedSet("drawn again", measure)).reasons
    assert reason == f"{folder}/2/model.json cannot be compared: its model does not run: 1000 bytes"


def test_a_pin_to_a_missing_version_holds_too(folder: Path) -> None:
    """It is unknown what serves there."""
    (folder / "PINNED").write_text("7")
    _, lines = publish(folder, SERVED)
    assert lines[1] == f"  {folder}/7/model.json cannot be compared: it is not there"


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(folder: Path) -> None:
    """Published before it was killed, it finds its version, held or not, and says the same; a promotion stays."""
    worse = SERVED._replace(mnist=0.9)
    first = publish(folder, worse, run="a")
    assert publish(folder, worse, run="a") == first
    assert choice.read_held(folder) == {101}
    assert publish(folder, SERVED, run="b") == publish(folder, SERVED, run="b") == ("102", [])
    choice.promote(folder, 101)
    assert publish(folder, worse, run="a") == ("101", [])
    assert choice.read_held(folder) == set()


def test_a_promoted_version_serves_whatever_its_figures_are(folder: Path) -> None:
    """Over the gate and the pin; the lines name the best published version by both accuracies, and how to serve it."""
    put(folder, 1, SERVED._replace(mnist=0.9948, rendered=0.9))
    put(folder, 3, SERVED._replace(mnist=0.9))
    CARDS["without rendered"][0](put(folder, 4, Figures(1, 1, 0, 1)) / "model.json")
    (folder / "PINNED").write_text("3\n")
    poor = Figures(0.91, 0.92, 0.5, 9000)
    assert publish(folder, poor, promote=True) == (
        "101",
        [
            "promoted: version 101 reaches 91.00% on MNIST and 92.00% on rendered pictures",
            "the best published, version 2, reaches 99.41% on MNIST and 97.75% on rendered pictures",
            f"{PYTHON} -m service promote 2 --model-dir {folder} makes that one serve",
        ],
    )
    assert (choice.read_held(folder), choice.chosen_version(folder)) == (set(), 101)
    assert publish(folder, Figures(1, 1, 0, 1), run="best", promote=True) == (
        "102",
        ["promoted: version 102 reaches 100.00% on MNIST and 100.00% on rendered pictures"],
    )
    assert choice.chosen_version(folder) == 102


def test_a_run_that_is_resumed_with_promote_promotes(folder: Path) -> None:
    """Its version is held already, and then is no more."""
    worse = SERVED._replace(mnist=0.9)
    publish(folder, worse)
    assert choice.read_held(folder) == {101}
    assert publish(folder, worse, promote=True)[0] == "101"
    assert (choice.read_held(folder), choice.chosen_version(folder)) == (set(), 101)


def test_one_run_publishes_at_a_time(folder: Path) -> None:
    """Between a comparison and its version no other version appears: so the second is compared with the first."""
    better = Figures(0.999, 0.999, 0.001, 1000)
    with files.locking(folder):
        second = threading.Thread(target=publish, args=(folder, SERVED))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        put(folder, 101, better)
    second.join(30)
    assert judge(folder, SERVED, PICTURES).served == 101
    assert choice.read_held(folder) == {102}
