"""Pictures read in this process, beside the answers of a running service."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import service
from service import (
    Client,
    Malformed,
    ModelError,
    NotAPicture,
    NotCalibrated,
    Prediction,
    Refused,
    ServiceError,
    TooLarge,
    Unusable,
    open_model,
)
from service.settings import load
from service.versions import bundled, choice
from tests.support.pictures import Digits, png
from tests.support.service import MODELS, ROOT, VERSION, publish, running_service
from tests.support.signing import make_keys, sign
from tests.support.versions import publish_with_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service import Model

SEVEN = ROOT / "service" / "page" / "seven.png"


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(MODELS / VERSION)


@pytest.fixture(scope="module")
def ask(server_url: str) -> Iterator[Client]:
    with Client(server_url) as client:
        yield client


def photo(pixels: np.ndarray) -> bytes:
    """A digit in pencil on grey paper, as JPEG."""
    large = np.kron(pixels, np.ones((12, 12), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray((200 - large * 0.5).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def test_answers_are_the_services(model: Model, ask: Client, digits: Digits) -> None:
    """Digits in MNIST's form, photographs, blank paper and noise: digit, probabilities and warnings are the same."""
    noise = np.random.default_rng(1).integers(0, 256, (60, 60), np.uint8)
    pictures = [SEVEN.read_bytes(), png(noise), png(np.full((40, 40), 255, np.uint8))]
    pictures += [make(image) for image in digits.images[:8] for make in (png, photo)]
    expected = list(ask.predict_many(pictures))
    found = [model.read(picture) for picture in pictures]
    assert [(one.digit, one.warnings) for one in found] == [
        (one.digit, one.warnings) for one in expected if isinstance(one, Prediction)
    ]
    assert any(one.warnings for one in found)
    for one, other in zip(found, expected, strict=True):
        assert isinstance(other, Prediction)
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert one.confidence == max(one.probabilities)
        assert one.digit is None or one.confidence == one.probabilities[one.digit]
    assert found[0] == ask.predict(pictures[0])
    assert found[2] == Prediction(None, 0.1, (0.1,) * 10, ("no_ink",)) == ask.predict(pictures[2])


def huge() -> bytes:
    """The beginning of a PNG of 100,000,000 pixels."""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">2I5B", 10_000, 10_000, 8, 0, 0, 0, 0)) + chunk(b"IDAT")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_sets_are_the_services(tmp_path: Path, digits: Digits) -> None:
    """With a coverage: the same set of digits as over HTTP; all ten without ink."""
    folder = publish_with_card(tmp_path, 3, conformal={"levels": [0.99], "quantiles": [9]})
    pictures = [png(image) for image in [*digits.images[:40], np.zeros((40, 40), np.uint8)]]
    model = open_model(folder)
    found = [model.read(picture, coverage=0.95) for picture in pictures]
    settings: dict[str, Any] = {"model_dir": tmp_path, "model_version": "latest"}
    with running_service(**settings) as service, Client(service.url, coverage=0.95) as client:
        assert [one.set for one in found] == [
            one.set for one in client.predict_many(pictures) if isinstance(one, Prediction)
        ]
    assert found[-1].set == tuple(range(10))
    assert len({len(one.set) for one in found[:-1]}) > 1
    assert all(one.set[0] == one.digit for one in found[:-1])
    assert model.read(pictures[0]).set == ()


def test_a_coverage_that_has_no_set_is_refused(model: Model) -> None:
    """Outside its limits, and where the version's card has no quantiles."""
    with pytest.raises(Malformed, match=r"from 0\.9 to 0\.9999; found '2'"):
        model.read(SEVEN, coverage=2)
    with pytest.raises(NotCalibrated, match="Version 2 of mnist-mlp makes no sets"):
        open_model(MODELS / "2").read(SEVEN, coverage=0.99)


@pytest.mark.parametrize(
    ("picture", "error"),
    [
        (b"no picture", NotAPicture),
        (SEVEN.read_bytes()[:100], NotAPicture),
        (huge(), TooLarge),
        (png(np.zeros((3, 3), np.uint8)), Unusable),
    ],
    ids=["text", "truncated", "too many pixels", "too small"],
)
def test_errors_are_the_services(model: Model, ask: Client, picture: bytes, error: type[ServiceError]) -> None:
    """A picture without an answer raises the service's error, with its status and its sentence."""
    with pytest.raises(error) as found:
        model.read(picture)
    with pytest.raises(Refused) as expected:
        ask.predict(picture)
    assert (found.value.status, found.value.detail) == (expected.value.status, str(expected.value))


def test_a_picture_is_a_path_bytes_or_an_open_file(model: Model) -> None:
    """All four forms give the same; a missing file is the system's error."""
    with SEVEN.open("rb") as file:
        found = {model.read(SEVEN), model.read(str(SEVEN)), model.read(SEVEN.read_bytes()), model.read(file)}
    assert [one.digit for one in found] == [7]
    with pytest.raises(FileNotFoundError):
        model.read("nowhere.png")


def test_opens_the_version_that_the_service_would_serve(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest that can be loaded; the pinned one; the one that a setting names; and never the canary."""
    publish(models, 2)
    (models / "3").mkdir()
    assert (open_model(models).name, open_model(models).version) == ("mnist-mlp", "2")
    monkeypatch.setenv("MNIST_MODEL_DIR", str(models))
    assert open_model().version == "2"
    choice.write_canary(load(), 2, 5)
    assert open_model().version == "1"
    choice.pin(load(), "2")
    assert open_model().version == "2"
    choice.unpin(load())
    monkeypatch.setenv("MNIST_MODEL_VERSION", "2")
    assert open_model().version == "2"


def test_a_version_that_the_service_would_refuse_is_refused(models: Path) -> None:
    """A damaged file is named, with what was expected and what was found."""
    (models / "1" / "model.onnx").write_bytes(b"damaged")
    for path in (models, models / "1"):
        with pytest.raises(ModelError, match=r"1/model.onnx: expected sha256 \w+ .*, found"):
            open_model(path)
    with pytest.raises(ModelError, match="nowhere: expected a folder of model versions"):
        open_model(models / "nowhere")


def test_a_version_must_be_signed_where_the_setting_says_so(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the service, however the version is named; a file of keys that cannot be read is a bad setting."""
    keys = make_keys(tmp_path)
    publish(models, 2)
    sign(models / "1", keys)
    monkeypatch.setenv("MNIST_MODEL_PUBLIC_KEY", str(keys.public))
    assert open_model(models).version == "1"
    assert open_model(models / "1").version == "1"
    with pytest.raises(ModelError, match=r"2.sig: expected a signature of version 2, .*, found none"):
        open_model(models / "2")
    monkeypatch.setenv("MNIST_MODEL_VERSION", "2")
    with pytest.raises(ModelError, match=r"2.sig: expected a signature of version 2, .*, found none"):
        open_model(models)
    monkeypatch.setenv("MNIST_MODEL_PUBLIC_KEY", str(keys.private))
    with pytest.raises(ValueError, match=r"MNIST_MODEL_PUBLIC_KEY: .*, found none"):
        open_model(models / "1")


def test_the_bundled_version_is_for_whoever_has_no_other(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting, or the default folder, comes before it, and so does the wish to wait for a version."""
    monkeypatch.setattr(bundled, "BUNDLED", models)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert open_model().version == "1"
    waiting = load(["--model-wait", "true"])
    assert bundled.or_bundled(waiting) is waiting
    monkeypatch.setenv("MNIST_MODEL_DIR", str(MODELS))
    assert open_model().version == VERSION
    monkeypatch.delenv("MNIST_MODEL_DIR")
    monkeypatch.chdir(ROOT)
    assert open_model().version == VERSION


def test_every_public_name_is_there() -> None:
    """The names of `__all__` can be imported, and others are refused as everywhere."""
    assert all(getattr(service, name) for name in service.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        service.nothing  # noqa: B018 - looked up, not used
