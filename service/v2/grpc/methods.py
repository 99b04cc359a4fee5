"""The methods of `inference.GRPCInferenceService`: what `service.v2.rest` answers over HTTP, as messages.

In: a request's message. Out: the answer's message, or a `ServiceError`. It knows neither connections nor status codes.
"""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING

from ...codec import inference_pb2 as pb
from ...codec import v2_grpc
from ...connection.receive import add
from ...inference.engine import Unread, in_time
from ...observability.exposition import totals
from ...system.spool import Spool
from .. import metadata as served
from .. import repository

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...inference.engine import Predictor
    from ...model.classifier import Classifier
    from ...observability.metrics import Metrics
    from ...settings import Settings
    from ...versions.manager import Models


PIECE = 2**20  # bytes that are written at a time


class Methods:
    """One method for each of the protocol's, under its name."""

    def __init__(
        self,
        predictor: Predictor,
        models: Models,
        settings: Settings,
        watched: Metrics,
        unready: Callable[[], str | None],
    ) -> None:
        self._predictor = predictor
        self._models = models
        self._settings = settings
        self._watched = watched
        self._unready = unready

    async def ServerLive(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Is the process alive?"""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """May requests be sent here?"""
        return pb.ServerReadyResponse(ready=self._unready() is None)

    async def ServerMetadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """The server, and the extensions that it has."""
        return pb.ServerMetadataResponse(**served.server())

    async def ModelReady(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """May this model be asked?"""
        self._asked(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._unready() is None)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """The model's tensors."""
        return pb.ModelMetadataResponse(**served.metadata(self._asked(request.name, request.version)))

    async def ModelInfer(self, request: v2_grpc.InferCall) -> pb.ModelInferResponse:
        """Probabilities of pictures."""
        classifier = self._asked(request.model_name, request.model_version)
        # The deadline that a client sets is gRPC's own: at its end this is cancelled.
        seconds = self._predictor.admission.admit(None, time.perf_counter(), large=request.pictures)
        parse = functools.partial(request.parse, self._settings.max_images)
        with contextlib.closing(_spooled(request)) as body:
            unread = Unread(parse, body, "grpc", request.names)
            work = self._predictor.infer(classifier, unread, v2_grpc.encode, named=bool(request.model_version))
            return await in_time(work, seconds)

    async def ModelStreamInfer(self, request: v2_grpc.InferCall) -> pb.ModelInferResponse:
        """The same, for one request of a stream."""
        return await self.ModelInfer(request)

    async def ModelConfig(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """The model's configuration, as Triton's clients read it."""
        classifier = self._asked(request.name, request.version)
        return pb.ModelConfigResponse(config=served.configuration(classifier, self._settings))

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Inferences, and how long they took; without a name, of every model."""
        classifier = served.asked(self._models, request.name or None, request.version or None)
        numbers = await self._watched.scrape(totals)
        return pb.ModelStatisticsResponse(model_stats=[served.statistics(classifier, numbers)])

    async def RepositoryIndex(self, _: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """The versions that there are."""
        return pb.RepositoryIndexResponse(models=repository.index(self._models, self._settings))

    async def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Look for the chosen version anew, and serve it."""
        await repository.load(self._models, self._settings, request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Serve nothing until there is an order to load."""
        await repository.unload(self._models, self._settings, request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _asked(self, name: str, version: str) -> Classifier:
        return served.asked(self._models, name, version or None)


def _spooled(request: v2_grpc.InferCall) -> Spool:
    """The message for a reader, and no longer in two places; raises `Overloaded`."""
    spool = Spool()
    if request.pictures:
        data, request.data = request.data, b""
        for at in range(0, len(data), PIECE):
            add(spool, data[at : at + PIECE])
    return spool
