"""`POST /predict`: predict the digits in pictures.

In: a body in any format of `service.codec.body`. Out: JSON with the model and one prediction for each picture. An error
of a single picture is raised; in a batch it is that item's `error`. A picture without ink has no digit, and does not go
to the network.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import APIRouter, Request  # noqa: TC002 - FastAPI reads it at run time
from starlette.responses import Response  # noqa: TC002 - FastAPI reads it at run time

from ..codec import body as bodies
from ..codec import predictions as encoding
from ..codec.body import Numbers
from ..drivers import asgi
from ..errors import NotAPicture, ServiceError
from ..inference import occlusion
from ..inference.engine import Prepared
from ..inference.results import NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES
from ..model import conformal
from ..picture import prepare
from ..picture.prepare import PassedThrough, PreparedImage
from ..picture.small_png import read_all_small_grey, read_small_grey
from ..reply import Reply
from ..settings import formats
from . import openapi

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..arrays import Pixels, Probabilities
    from ..codec.body import Pictures
    from ..inference.engine import Engine, Headers
    from ..inference.results import Results
    from ..model.classifier import Classifier
    from ..observability.record import Record
    from ..settings import Settings
    from ..system.spool import Spool
    from ..versions.manager import VersionManager

    Items: TypeAlias = PassedThrough | list[PreparedImage | ServiceError]  # of a request, in order

TEMPLATE = "/predict"
WITH_MODEL = "/predictions/{model}"
EXAMPLES = Path(__file__).with_name("examples.md")  # how to ask, in several languages; docs/clients.md has them too
MAX_CONTENT_TYPE = 1024  # characters: with a multipart boundary, the usual value has about a hundred


class Predict:
    """The route of predictions, for every driver."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        # A PNG that is not to be read is left to a reader, as every other format.
        self._reads_png = "png" in formats(settings.formats)
        self._rows = _rows if self._reads_png else _rows_of_numbers

    def prepare(self, headers: Headers, body: bytes) -> Prepared | None:
        """Prepare pictures that are decoded faster than they could be sent to a reader; None for others."""
        served = self._engine.served()
        pictures = bodies.parse(_content_type(headers), body, max_images=self._settings.max_images)
        items = self._read_quickly(pictures)
        return None if items is None else self._prepared(served, headers, items, several=pictures.several)

    async def prepare_large(self, headers: Headers, body: Spool) -> Prepared:
        """Prepare pictures of any kind in a reader."""
        served = self._engine.served()
        content_type = _content_type(headers)[:MAX_CONTENT_TYPE]
        reading = await self._engine.readers.read(body, "predict", content_type=content_type)
        return self._prepared(served, headers, reading.items, several=bool(reading.end["several"]))

    def respond(self, prepared: Prepared, classifier: Classifier, results: Results) -> Reply:
        """Encode the predictions."""
        started = time.perf_counter()
        return self._encode(prepared, classifier, self._predictions(prepared.request, results), started)

    async def answer_in_detail(
        self, headers: Headers, body: Spool, *, record: Record | None, explain: bool, coverage: float | None
    ) -> Reply:
        """Return the reply with a set of digits and an explanation for each prediction, where they are wanted.

        Raises `NotCalibrated` where the version that answers makes no sets.
        """
        prepared = await self._engine.prepare_any(self, headers, body, record)
        if isinstance(prepared.request, PassedThrough):
            prepared = prepared._replace(request=prepared.request.each())
        classifier, results = await self._engine.run(prepared)
        quantile = None if coverage is None else classifier.quantile(coverage)
        started = time.perf_counter()
        items: list[PreparedImage | ServiceError] = prepared.request
        details: list[dict[str, Any]] = [{} for _ in items]
        if quantile is not None:
            _add_sets(details, items, results, quantile)
        if explain:
            await self._explain(prepared, classifier, results.digits, details)
        predictions = map(encoding.add_members, self._predictions(items, results), details)
        reply = self._encode(prepared, classifier, predictions, started)
        self._engine.compare(prepared)
        return reply

    async def _explain(
        self, prepared: Prepared, classifier: Classifier, digits: Iterable[int], details: list[dict[str, Any]]
    ) -> None:
        """Add an explanation to each prediction: the network's input and an occlusion map."""

        async def predict(images: Pixels) -> Probabilities:
            chosen = prepared.chosen._replace(classifier=classifier)
            _, covered = await self._engine.router.run(chosen, images.tobytes())
            return covered.probabilities

        rest = iter(digits)
        for item, members in zip(prepared.request, details, strict=True):
            if not isinstance(item, ServiceError):
                heat = item.pixels  # blank, as the map is where there is no digit
                if item.has_ink:
                    heat = await occlusion.heat_map(item.pixels, next(rest), predict)
                members["explain"] = {
                    "image": occlusion.png(item.pixels),
                    "heatmap": occlusion.png(heat),
                    "polarity": item.polarity,
                    "box": item.box,
                }

    def _read_quickly(self, pictures: Pictures) -> Items | None:
        """Prepare all pictures; None if one of them would take long."""
        if pictures.pixels:
            return prepare.pass_all_through(pictures.pixels)
        items = pictures.items
        first = items[0]
        if len(items) == 1 and not isinstance(first, ServiceError):  # most requests
            return self._read_one_quickly(first)
        readable = [item for item in items if not isinstance(item, ServiceError)]
        rows = self._all_rows(readable)
        passed = None if rows is None else prepare.pass_all_through(rows)
        if passed is None or len(readable) == len(items):
            return passed
        rest = iter(passed.each())
        return [item if isinstance(item, ServiceError) else next(rest) for item in items]

    def _all_rows(self, pictures: Sequence[bytes | Numbers]) -> bytes | None:
        """Return the pixels of all pictures, n·784; None if one of them is neither numbers nor a small PNG."""
        pngs = [picture for picture in pictures if isinstance(picture, bytes)]
        if self._reads_png and len(pngs) == len(pictures):  # for less than one by one
            return read_all_small_grey(pngs)
        rows = list(map(self._rows, pictures))
        return None if None in rows else b"".join(rows)  # type: ignore[arg-type]  # none is None

    def _read_one_quickly(self, picture: bytes | Numbers) -> Items | None:
        rows = self._rows(picture)
        if rows is not None and (image := prepare.pass_through(rows)) is not None:
            return [image]
        if isinstance(picture, bytes) and self._reads_png and prepare.is_quick(picture):
            return [prepare.read(picture, max_pixels=self._settings.max_pixels)]
        return None

    def _prepared(self, served: Classifier, headers: Headers, items: Items, *, several: bool) -> Prepared:
        if isinstance(items, PassedThrough):
            return Prepared(self._engine.router.choose(served, headers.items()), items.rows, items)
        pixels = []
        for item in items:
            if not isinstance(item, ServiceError):
                if item.has_ink:
                    pixels.append(item.rows)
            elif several:
                self._engine.count_rejected(item)
            elif isinstance(item, NotAPicture) and _content_type(headers) == bodies.CURL:
                raise NotAPicture(f"{item.detail} {bodies.USE_DATA_BINARY}")
            else:
                raise item
        return Prepared(self._engine.router.choose(served, headers.items()), b"".join(pixels), items)

    def _predictions(self, items: Items, results: Results) -> list[bytes]:
        """Count and encode the predictions of all items."""
        if isinstance(items, PassedThrough):
            self._engine.count_inputs(items.polarities, items.ink_ratios)
            self._engine.count_results(results)
            return encoding.encode_digits(results.digits, results.json_rows, results.warnings)
        images = [item for item in items if isinstance(item, PreparedImage)]
        self._engine.count_images(images)
        self._engine.count_results(results)
        if len(results.digits) < len(images):
            images = [image for image in images if image.has_ink]
        warnings = [image.warnings + found for image, found in zip(images, results.warnings, strict=True)]
        predictions = encoding.encode_digits(results.digits, results.json_rows, warnings)
        if len(predictions) == len(items):
            return predictions
        rest = iter(predictions)
        return [_without_result(item) or next(rest) for item in items]

    def _encode(
        self, prepared: Prepared, classifier: Classifier, predictions: Iterable[bytes], started: float
    ) -> Reply:
        reply = Reply(encoding.encode(classifier.identity, predictions))
        self._engine.encoded(prepared, classifier, started)
        return reply


def _without_result(item: PreparedImage | ServiceError) -> bytes | None:
    """Return the error or prediction of an item that does not go to the network; None for others."""
    if isinstance(item, ServiceError):
        return encoding.encode_error(item.members())
    if item.has_ink:
        return None
    return encoding.encode_no_digit(NO_DIGIT_CONFIDENCE, NO_DIGIT_PROBABILITIES, item.warnings)


def _add_sets(
    details: list[dict[str, Any]], items: list[PreparedImage | ServiceError], results: Results, quantile: float
) -> None:
    """Add a set of digits to each prediction; where there is no digit, it holds all."""
    sets = iter(conformal.make_sets(results.probabilities, quantile))
    for item, members in zip(items, details, strict=True):
        if not isinstance(item, ServiceError):
            members["set"] = next(sets) if item.has_ink else conformal.ALL_DIGITS


def _content_type(headers: Headers) -> str:
    return headers.get(b"content-type", b"").decode("latin-1")


def _rows(picture: bytes | Numbers) -> bytes | None:
    """Return the 784 pixels of numbers, or of a 28 x 28 grey PNG; None for others."""
    return picture.rows if isinstance(picture, Numbers) else read_small_grey(picture)


def _rows_of_numbers(picture: bytes | Numbers) -> bytes | None:
    return picture.rows if isinstance(picture, Numbers) else None


def add_routes(routes: APIRouter, route: Predict, engine: Engine, models: VersionManager, settings: Settings) -> None:
    """Add the routes to FastAPI's."""
    responses = openapi.predict_responses(settings)

    @routes.post(
        TEMPLATE,
        operation_id="predict",
        tags=["predict"],
        summary="Which digits do these pictures show?",
        description=EXAMPLES.read_text(),
        responses=responses,
        openapi_extra=openapi.predict_extra(settings),
        response_model=None,
    )
    async def predict(request: Request) -> Response:
        explain = request.query_params.get("explain", "0") not in {"", "0", "false"}
        text = request.query_params.get("coverage")
        coverage = None if text is None else conformal.parse_coverage(text)
        if not explain and coverage is None:
            return await asgi.answer(request, engine, route, settings)
        record = request.scope["record"]
        handle = functools.partial(route.answer_in_detail, record=record, explain=explain, coverage=coverage)
        return await asgi.answer_by(request, engine.admission, settings, handle)

    async def predictions(request: Request) -> Response:
        """Responds as `/predict` does, if the path names the model."""
        models.resolve(request.path_params["model"])
        return await predict(request)

    # PUT is the method of `curl -T`. One route answers both methods, so that `Allow` has both; two describe them.
    routes.add_api_route(WITH_MODEL, predictions, methods=["POST", "PUT"], response_model=None, include_in_schema=False)
    for method, operation_id in (("POST", "predict_with_model"), ("PUT", "predict_uploaded")):
        routes.add_api_route(
            WITH_MODEL,
            predictions,
            methods=[method],
            operation_id=operation_id,
            tags=["predict"],
            summary="The same, at the path that TorchServe's clients use",
            responses=responses | {404: openapi.problem("The path names a model that is not served.")},
            openapi_extra=openapi.predict_extra(settings, "model"),
            response_model=None,
        )
