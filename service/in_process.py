"""Read pictures in this process, without a server.

    from service import open_model

    model = open_model()
    model.read("photo.jpg").digit

In: a picture's file. Out: the `Prediction` that the service gives for it: both use the same code for pictures and for
the model. The service decodes large pictures in a process of limited memory and time; here they are decoded at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from . import settings as settings_module
from .client import Prediction
from .errors import ModelError
from .inference.results import NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES
from .model import signature
from .model.classifier import Classifier
from .model.conformal import ALL_DIGITS, make_sets, parse_coverage
from .model.layout import LATEST
from .model.uncertainty import warnings_for
from .picture import prepare
from .versions import choice
from .versions.bundled import or_bundled

if TYPE_CHECKING:
    from .settings import Settings

File: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"


class Model:
    """One verified model version; several threads may use it."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self.name = classifier.name
        self.version = classifier.version
        self._classifier = classifier
        self._max_pixels = settings.max_pixels
        self._formats = settings_module.formats(settings.formats)

    def read(self, picture: File, *, coverage: float | None = None) -> Prediction:
        """Return the digit that a picture shows, with its confidence, all ten probabilities and warnings.

        The digit is None where there is no ink to read.

        `picture` is the path of a file, the file's bytes, or a binary file that is open for reading. With a `coverage`
        of 0.9 to 0.9999 the prediction has the `set` of digits that holds the right one in this share of pictures.

        Raises `OSError` for a file that cannot be read, and the service's errors for a picture that has no answer:
        `NotAPicture` (a format that is not read, or damaged), `TooLarge` (more than MNIST_MAX_PIXELS pixels) or
        `Unusable`; and for a coverage that has none: `Malformed`, or `NotCalibrated` if the version's card has no
        quantiles.
        """
        quantile = None if coverage is None else self._classifier.quantile(parse_coverage(coverage))
        prepared = prepare.read(_bytes(picture), max_pixels=self._max_pixels, read=self._formats)
        if not prepared.has_ink:
            every = () if quantile is None else ALL_DIGITS
            return Prediction(None, NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES, prepared.warnings, every)
        probabilities = self._classifier.predict(prepared.pixels[None, None])
        # In the few digits that tell one float32 from the next, as the service writes them.
        row = tuple(float(str(probability)) for probability in probabilities[0])
        confidence = max(row)
        digits = () if quantile is None else tuple(make_sets(probabilities, quantile)[0])
        warnings = prepared.warnings + warnings_for(probabilities)[0]
        return Prediction(row.index(confidence), confidence, row, warnings, digits)


def open_model(path: str | os.PathLike[str] | None = None) -> Model:
    """Load and verify a model version.

    `path` is the folder of one version (`models/mnist-mlp/50`), or the folder of a model's versions
    (`models/mnist-mlp`). Without it, the settings name the folder (MNIST_MODEL_DIR) as they do for the service. Of
    several versions this is the one that the service would serve: MNIST_MODEL_VERSION, or the pinned one, or the
    newest. With MNIST_MODEL_PUBLIC_KEY the version must be signed, here too.

    Raises `ModelError` for a version that the service would refuse, and `ValueError` for a bad setting.
    """
    settings = settings_module.load()
    if path is None:
        settings = or_bundled(settings)
    else:
        settings = settings.model_copy(update={"model_dir": Path(path)})
        if (settings.model_dir / "model.json").exists():
            one = settings.model_dir.resolve()
            return Model(Classifier.load(one.parent, one.name, signature.read_keys(settings)), settings)
    return Model(_chosen(settings), settings)


def _chosen(settings: Settings) -> Classifier:
    """The chosen version; of `latest`, the highest that can be loaded, as the service has it."""
    version, keys = choice.chosen_version(settings), signature.read_keys(settings)
    if version != LATEST:
        return Classifier.load(settings.model_dir, version, keys)
    refusals = []
    for number in choice.latest_candidates(settings):
        try:
            return Classifier.load(settings.model_dir, str(number), keys)
        except ModelError as error:
            refusals.append(error)
    held = ModelError(f"{settings.model_dir}: expected a version that is neither held nor the canary, found none")
    raise refusals[0] if refusals else held


def _bytes(picture: File) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    return picture.read()
