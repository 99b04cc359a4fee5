"""The journey of an uploaded picture: body → pictures → prepared → probabilities → JSON.

In: content type and body. Out: the bytes of the answer. An error of a single picture is raised; in a batch it is that
item's `error`. It knows the order of the stages and times them; each stage knows itself.
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import orjson

from ..codec import body, v2_json
from ..codec.body import Numbers
from ..errors import DeadlineExceeded, ServiceError
from ..picture import prepare
from ..reader.readers import Readers
from . import occlusion
from .admission import Admission
from .router import Chosen, Rollout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ..arrays import Pixels, Probabilities
    from ..codec.body import Picture
    from ..model.classifier import Classifier
    from ..observability.metrics import Metrics
    from ..picture.prepare import PreparedImage
    from ..settings import Settings
    from ..system.spool import Spool
    from ..versions.manager import Models
    from .batcher import Batcher
    from .results import Answers
    from .router import Headers

MAX_CONTENT_TYPE = 1024  # characters: a form's, with its boundary, has a hundred
T = TypeVar("T")
# The model's name and version, a request, its probabilities → what the protocol answers.
Encode: TypeAlias = "Callable[[dict[str, str], v2_json.Request, Probabilities], T]"


class Small(NamedTuple):
    """A small request, prepared: what its model is to see, and what makes its probabilities the answer's bytes."""

    chosen: Chosen
    pixels: bytes  # n·784
    # The version that has answered, and what → the body, and the length of JSON before other bytes; or None where the
    # pictures turn out not to be what they seemed, and are to be prepared first.
    answer: Callable[[Classifier, Answers], tuple[bytes, int | None] | None]


class Unread(NamedTuple):
    """A request of the Open Inference Protocol, and how it is to be read."""

    parse: Callable[[], v2_json.Request | None]  # what is small and plain; None for the rest
    body: Spool
    kind: str  # of the reader's job, and what that is told beside the body
    about: dict[str, str | None]


class Predictor:
    """Answers request bodies, each with a classifier that serves when it begins."""

    def __init__(self, models: Models, batcher: Batcher, metrics: Metrics, settings: Settings) -> None:
        self._models = models
        self.rollout = Rollout(models, batcher, metrics)
        self._readers = Readers(settings, metrics)
        self.admission = Admission(settings, models, batcher, self._readers)
        self._metrics = metrics
        self._settings = settings

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Processes that read what is not small, while the context is open."""
        return self._readers.started()

    def close(self) -> None:
        """Ends the thread that compares; what it has begun is finished."""
        self.rollout.close()

    async def answer(self, content_type: str, data: Spool, *, explained: bool = False, headers: Headers = ()) -> bytes:
        """The JSON answer to one body of `/predict`; raises `ServiceError`."""
        chosen = self.rollout.choose(self._models.served(), headers)
        started = time.perf_counter()
        try:
            prepared, several = await self._read(content_type, data)
            if not several:
                _raise_first(prepared)
        except ServiceError as error:
            self._reject(error)
            raise
        self._metrics.stages["decode"].observe(time.perf_counter() - started)
        good = []
        for item in prepared:
            if isinstance(item, ServiceError):
                self._reject(item)
            else:
                good.append(item)
        classifier, pixels = chosen.classifier, _joined(good)
        if good:
            classifier, answers = await self.rollout.predict(chosen, pixels)
        started = time.perf_counter()
        results = iter(self._results(good, answers) if good else [])
        predictions = [
            {"error": item.members()} if isinstance(item, ServiceError) else next(results) for item in prepared
        ]
        if explained:
            await self._explain(chosen._replace(classifier=classifier), prepared, predictions)
        encoded = self._encode(classifier, predictions, started)
        if good:
            self.rollout.compare(chosen, pixels)
        return encoded

    async def infer(
        self,
        classifier: Classifier,
        unread: Unread,
        encode: Encode[T],
        *,
        named: bool,
        headers: Headers = (),
    ) -> T:
        """What `encode` makes of the answer to a request; raises `ServiceError`.

        A classifier that is `named` answers itself; else the canary may.
        """
        started = time.perf_counter()
        try:
            request, pixels = await self._read_tensor(unread)
        except ServiceError as error:
            self._reject(error)
            raise
        self._metrics.stages["decode"].observe(time.perf_counter() - started)
        chosen = Chosen(classifier, classifier, None)
        if not named:
            chosen = self.rollout.choose(classifier, headers, request.identity)
        encoded = self._inferred(encode, request, *await self.rollout.predict(chosen, pixels))
        self.rollout.compare(chosen, pixels)
        return encoded

    def _inferred(self, encode: Encode[T], request: v2_json.Request, classifier: Classifier, answers: Answers) -> T:
        started = time.perf_counter()
        self._count(answers)
        encoded = encode(classifier.identity, request, answers.probabilities)
        self._metrics.stages["encode"].observe(time.perf_counter() - started)
        return encoded

    def _count(self, answers: Answers) -> None:
        for digit, confidence in zip(answers.digits, answers.confidences, strict=True):
            self._metrics.digits[digit].inc()
            self._metrics.confidence.observe(confidence)

    def _count_pictures(self, pictures: Iterable[PreparedImage]) -> None:
        for picture in pictures:
            self._metrics.ink_ratio.observe(picture.ink_ratio)
            self._metrics.polarities[picture.polarity].inc()

    def small_answer(self, headers: Mapping[bytes, bytes], data: bytes) -> Small | None:
        """`answer` for a small body, without an event loop; None for what takes longer or needs one.

        Where it raises `ServiceError`, or returns None, nothing is counted: `answer` is to be asked instead.
        """
        chosen = self.rollout.choose(self._models.served(), headers.items())
        started = time.perf_counter()
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        pictures = body.parse(content_type, data, max_images=self._settings.max_images)
        prepared = self._read_quickly(pictures.items)
        if prepared is None:
            return None
        small = [item for item in prepared if not isinstance(item, ServiceError)]
        if len(small) < len(prepared):
            return None
        self._metrics.stages["decode"].observe(time.perf_counter() - started)

        def answer(classifier: Classifier, answers: Answers) -> tuple[bytes, int | None] | None:
            began = time.perf_counter()
            return self._encode(classifier, self._results(small, answers), began), None

        return Small(chosen, _joined(small), answer)

    def small_infer(self, headers: Mapping[bytes, bytes], data: bytes) -> Small | None:
        """`infer` for a small body of pixels, on the terms of `small_answer`."""
        classifier = self._models.served()
        started = time.perf_counter()
        length = headers.get(v2_json.HEADER_LENGTH.lower().encode())
        text = None if length is None else length.decode("latin-1")
        request = v2_json.parse(data, text, max_images=self._settings.max_images)
        if request.pixels is None:
            return None
        self._metrics.stages["decode"].observe(time.perf_counter() - started)
        chosen = self.rollout.choose(classifier, headers.items(), request.identity)
        answer = functools.partial(self._inferred, v2_json.encode, request)
        return Small(chosen, request.pixels.tobytes(), answer)

    def _encode(self, classifier: Classifier, predictions: list[dict[str, Any]], started: float) -> bytes:
        answer = {"model": classifier.identity, "predictions": predictions}
        encoded = orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
        self._metrics.stages["encode"].observe(time.perf_counter() - started)
        return encoded

    async def _read(self, content_type: str, data: Spool) -> tuple[list[PreparedImage | ServiceError], bool]:
        """Each picture as the network will see it, or why there is none; and whether there could be several.

        What takes long is read by another process.
        """
        small = data.small
        if small is not None:
            pictures = body.parse(content_type, small, max_images=self._settings.max_images)
            quick = self._read_quickly(pictures.items)
            if quick is not None:
                return quick, pictures.several
        reading = await self._readers.read(data, "predict", content_type=content_type[:MAX_CONTENT_TYPE])
        return reading.items, bool(reading.end["several"])

    def _read_quickly(self, items: list[Picture]) -> list[PreparedImage | ServiceError] | None:
        """All pictures, prepared, if none of them takes long."""
        first = items[0]
        if len(items) == 1 and isinstance(first, bytes) and prepare.is_quick(first):
            return [prepare.read(first, max_pixels=self._settings.max_pixels)]
        prepared = [item if isinstance(item, ServiceError) else _pass_through(item) for item in items]
        return None if None in prepared else prepared  # type: ignore[return-value]  # mypy does not see it

    async def _read_tensor(self, unread: Unread) -> tuple[v2_json.Request, bytes]:
        """The request, and n·784 pixels."""
        request = unread.parse()
        if request is not None and request.pixels is not None:
            return request, request.pixels.tobytes()
        reading = await self._readers.read(unread.body, unread.kind, **unread.about)
        wanted = v2_json.OutputFormat(**reading.end["wanted"])
        request = v2_json.Request(reading.end["identity"], None, [], wanted)
        if reading.pixels:
            return request, reading.pixels
        prepared = _raise_first(reading.items)
        self._count_pictures(prepared)
        return request, _joined(prepared)

    def _results(self, pictures: Sequence[PreparedImage], answers: Answers) -> list[dict[str, Any]]:
        self._count_pictures(pictures)
        self._count(answers)
        # The confidence as float32, and so written with the same digits as in the list.
        return [
            {"digit": digit, "confidence": row[digit], "probabilities": row, "warnings": picture.warnings + doubts}
            for picture, digit, row, doubts in zip(
                pictures, answers.digits, answers.probabilities, answers.doubts, strict=True
            )
        ]

    async def _explain(
        self, chosen: Chosen, prepared: list[PreparedImage | ServiceError], predictions: list[dict[str, Any]]
    ) -> None:
        async def predict(images: Pixels) -> Probabilities:
            _, answers = await self.rollout.predict(chosen, images.tobytes())
            return answers.probabilities

        for item, prediction in zip(prepared, predictions, strict=True):
            if not isinstance(item, ServiceError):
                heat = await occlusion.heat_map(item.pixels, prediction["digit"], predict)
                prediction["explain"] = {
                    "image": occlusion.png(item.pixels),
                    "heatmap": occlusion.png(heat),
                    "polarity": item.polarity,
                    "box": item.box,
                }

    def _reject(self, error: ServiceError) -> None:
        if type(error).reason in self._metrics.rejected:
            self._metrics.rejected[type(error).reason].inc()


async def in_time(work: Awaitable[T], seconds: float) -> T:
    """What the work comes to; raises `DeadlineExceeded` when it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(f"The answer was not ready within {seconds:.3g} s.", limit=seconds) from None


def _pass_through(picture: bytes | Numbers) -> PreparedImage | None:
    """A picture that is in MNIST's format already."""
    return prepare.pass_through(picture.rows) if isinstance(picture, Numbers) else prepare.read_small(picture)


def _joined(pictures: Sequence[PreparedImage]) -> bytes:
    """n·784 pixels."""
    return b"".join([one.rows for one in pictures])


def _raise_first(prepared: list[PreparedImage | ServiceError]) -> list[PreparedImage]:
    """All of them, if none is an error."""
    good = []
    for item in prepared:
        if isinstance(item, ServiceError):
            raise item
        good.append(item)
    return good
