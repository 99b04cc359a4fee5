"""The benchmark of serving asks every server the same, reads its answers, and tells what went wrong in its row."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.serving import bodies, table
from benchmarks.serving.contestants import CONTESTANTS, PLAIN
from benchmarks.serving.load import LOADS, Round
from benchmarks.serving.peers import model as peers
from benchmarks.serving.visit import Digits, Visit, visit
from tests.support.service import MODELS, ROOT, VERSION

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

DIGITS = Digits.of(MODELS / VERSION)


@pytest.mark.parametrize("form", PLAIN)
def test_the_service_answers_what_the_benchmark_sends(client: httpx.Client, form: str) -> None:
    """Each form holds the digits that the check expects, in their order."""
    path, body_of = PLAIN[form]
    body = body_of(DIGITS.images)
    answer = client.post(path, content=body.content, headers=body.headers).raise_for_status().json()
    assert bodies.digits(answer) == DIGITS.labels[: len(bodies.digits(answer))]


@pytest.mark.parametrize("form", PLAIN)
def test_the_servers_of_others_see_the_same_pixels(form: str) -> None:
    """Whatever the form, a peer's decoding gives back the pixels that were sent."""
    _, body_of = PLAIN[form]
    images = peers.from_body(body_of(DIGITS.images).content)
    assert np.array_equal(images[:, 0], DIGITS.images[: len(images)])


def test_requests_of_different_sizes_share_one_run() -> None:
    """Each request gets its own answers back, whatever was run beside it."""
    model = peers.Model(str(MODELS / VERSION / "model.onnx"))
    images = DIGITS.images[:, None]
    parts = model.predict_each([images[:1], images[1:4], images[4:]])
    assert [len(part) for part in parts] == [1, 3, 60]
    assert np.concatenate(parts).argmax(1).tolist() == DIGITS.labels


@pytest.mark.parametrize("answer", [{"predictions": [{"digit": 3}]}, [{"digit": 3}], {"digit": 3}])
def test_digits_are_read_from_every_shape_of_answer(answer: object) -> None:
    """A list in a frame, a bare list, one prediction."""
    assert bodies.digits(answer) == [3]


def test_digits_are_read_from_probabilities() -> None:
    """The Open Inference Protocol's output, flat."""
    data = np.eye(10)[[7, 1]].ravel().tolist()
    assert bodies.digits({"outputs": [{"name": "probabilities", "shape": [2, 10], "data": data}]}) == [7, 1]


def test_a_server_that_does_not_start_is_a_row_that_says_why() -> None:
    """The benchmark goes on, and the last line that the server wrote is told."""
    absent = dataclasses.replace(CONTESTANTS["ours"], module="benchmarks.serving.peers.absent")
    told = visit(absent, MODELS / VERSION, DIGITS, seconds=1)
    (row, *_) = table.rows("absent", "2", [told])
    assert "did not start" in row
    assert "No module named benchmarks.serving.peers.absent" in row


def test_a_row_is_the_medians_of_a_servers_turns() -> None:
    """A load that was never put on a form is a dash; failures are added up."""
    load, *others = LOADS
    visits = [Visit(start, {("png", load): Round(*numbers)}, {"png": mib}) for start, mib, numbers in (
        (1.0, 100, (1000, 1, 2, 0)),
        (9.0, 300, (3000, 3, 9, 2)),
        (2.0, 200, (2000, 2, 3, 0)),
    )]  # fmt: skip
    cells = ["s", "2", "one PNG", "2,000/s 2.00 3.00 ms, 2 failed", *["-"] * len(others), "200 MiB", "2.00 s"]
    assert table.rows("s", "2", visits) == [f"| {' | '.join(cells)} |"]


@pytest.mark.parametrize("contestant", [c for c in CONTESTANTS.values() if c.environment], ids=lambda c: c.environment)
def test_every_server_of_others_has_its_module_and_its_pins(contestant: object) -> None:
    """A file to start, and requirements whose versions are exact."""
    folder: Path = ROOT / "benchmarks" / "serving"
    name = contestant.environment  # type: ignore[attr-defined]
    assert (folder / "peers" / f"{name}.py").exists()
    assert all("==" in line for line in (folder / "requirements" / f"{name}.txt").read_text().splitlines())


def test_a_server_is_judged_by_what_the_model_says_offline(tmp_path: Path) -> None:
    """A fresh version may miss a digit: the server that says so too is right."""
    with np.load(MODELS / VERSION / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["probabilities"] = np.roll(arrays["probabilities"], 1, axis=1)
    np.savez(tmp_path / "golden.npz", **arrays)
    assert Digits.of(tmp_path).labels == [(digit + 1) % 10 for digit in DIGITS.labels]
