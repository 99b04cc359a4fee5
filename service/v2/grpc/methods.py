"""The methods of `inference.GRPCInferenceService`: what `service.v2.rest` answers over HTTP, as messages.

In: a request's message. Out: the answer's message, or a `ServiceError`. It knows neither connections nor status codes.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from ...codec import inference_pb2 as pb
from ...codec import v2_grpc
from ...connection.receive import add
from ...inference.engine import in_time
from ...observability.exposition import totals
from ...system.spool import Spool
from .. import metadata, repository
from ..inference import Form, Inference

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...inference.engine import Engine
    from ...model.classifier import Classifier
    from ...observability.metrics import Metrics
    from ...settings import Settings
    from ...versions.manager import VersionManager


PIECE = 2**20  # bytes that are written at a time


class Methods:
    """One method for each of the protocol's, under its name."""

    def __init__(
        self,
        engine: Engine,
        models: VersionManager,
        settings: Settings,
        metrics: Metrics,
        unready: Callable[[], str | None],
    ) -> None:
        self._engine = engine
        self._models = models
        self._settings = settings
        self._metrics = metrics
        self._unready = unready

    async def ServerLive(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        """Is the process alive?"""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """May requests be sent here?"""
        return pb.ServerReadyResponse(ready=self._unready() is None)

    async def ServerMetadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """The server, and the extensions that it has."""
        return pb.ServerMetadataResponse(**metadata.server())

    async def ModelReady(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """May this model be asked?"""
        self._resolve(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._unready() is None)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """The model's tensors."""
        return pb.ModelMetadataResponse(**metadata.metadata(self._resolve(request.name, request.version)))

    async def ModelInfer(self, request: v2_grpc.InferCall) -> pb.ModelInferResponse:
        """Probabilities of pictures."""
        classifier = self._resolve(request.model_name, request.model_version)
        # The deadline that a client sets is gRPC's own: at its end this is cancelled.
        seconds = self._engine.admission.admit(None, time.perf_counter(), large=request.pictures)
        max_images = self._settings.max_images
        form = Form(lambda *_: request.parse(max_images), "grpc", lambda _: request.names, v2_grpc.encode)
        route = Inference(self._engine, form, lambda: classifier, named=bool(request.model_version))
        with contextlib.closing(_spooled(request)) as body:
            return await in_time(self._engine.answer(route, {}, body), seconds)

    async def ModelStreamInfer(self, request: v2_grpc.InferCall) -> pb.ModelInferResponse:
        """The same, for one request of a stream."""
        return await self.ModelInfer(request)

    async def ModelConfig(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """The model's configuration, as Triton's clients read it."""
        classifier = self._resolve(request.name, request.version)
        return pb.ModelConfigResponse(config=metadata.configuration(classifier, self._settings))

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Inferences, and how long they took; without a name, of every model."""
        classifier = self._models.resolve(request.name or None, request.version or None)
        numbers = await self._metrics.scrape(totals)
        return pb.ModelStatisticsResponse(model_stats=[metadata.statistics(classifier, numbers)])

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

    def _resolve(self, name: str, version: str) -> Classifier:
        return self._models.resolve(name, version or None)


def _spooled(request: v2_grpc.InferCall) -> Spool:
    """The message for a reader, and no longer in two places; raises `Overloaded`."""
    spool = Spool()
    if request.pictures:
        data, request.data = request.data, b""
        for at in range(0, len(data), PIECE):
            add(spool, data[at : at + PIECE])
    return spool
