"""The methods of `inference.GRPCInferenceService`: the routes of `service.v2.rest`, with protobuf messages.

In: a request's message. Out: the response's message, or a `ServiceError`.
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
    from ...observability.record import Record
    from ...settings import Settings
    from ...versions.manager import VersionManager


CHUNK_BYTES = 2**20


class Methods:
    """The protocol's methods, under their own names."""

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
        """Respond that the process is alive."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        """Return whether the service is ready."""
        return pb.ServerReadyResponse(ready=self._unready() is None)

    async def ServerMetadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        """Return the server's metadata."""
        return pb.ServerMetadataResponse(**metadata.server())

    async def ModelReady(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        """Return whether the model is ready."""
        self._resolve(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._unready() is None)

    async def ModelMetadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        """Return the model's metadata."""
        return pb.ModelMetadataResponse(**metadata.metadata(self._resolve(request.name, request.version)))

    async def ModelInfer(self, request: v2_grpc.InferCall, record: Record | None) -> pb.ModelInferResponse:
        """Return the probabilities of pictures."""
        classifier = self._resolve(request.model_name, request.model_version)
        # The client's deadline is gRPC's own, which cancels this coroutine.
        seconds = self._engine.admission.admit(None, time.perf_counter(), large=request.pictures)
        max_images = self._settings.max_images
        form = Form(lambda *_: request.parse(max_images), "grpc", lambda _: request.names, v2_grpc.encode)
        route = Inference(self._engine, form, lambda: classifier, named=bool(request.model_version))
        with contextlib.closing(_spooled(request)) as body:
            return await in_time(self._engine.answer(route, {}, body, record), seconds)

    async def ModelStreamInfer(self, request: v2_grpc.InferCall, record: Record | None) -> pb.ModelInferResponse:
        """Return the probabilities for one request of a stream."""
        return await self.ModelInfer(request, record)

    async def ModelConfig(self, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
        """Return the model's configuration, in Triton's format."""
        classifier = self._resolve(request.name, request.version)
        return pb.ModelConfigResponse(config=metadata.configuration(classifier, self._settings))

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
        """Return counts and durations of inferences; without a name, of every model."""
        classifier = self._models.resolve(request.name or None, request.version or None)
        numbers = await self._metrics.scrape(totals)
        return pb.ModelStatisticsResponse(model_stats=[metadata.statistics(classifier, numbers)])

    async def RepositoryIndex(self, _: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        """Return the versions in the model folder."""
        return pb.RepositoryIndexResponse(models=repository.index(self._models, self._settings))

    async def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        """Load the chosen version and serve it."""
        await repository.load(self._models, self._settings, request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest) -> pb.RepositoryModelUnloadResponse:
        """Serve no model until the next load."""
        await repository.unload(self._models, self._settings, request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _resolve(self, name: str, version: str) -> Classifier:
        return self._models.resolve(name, version or None)


def _spooled(request: v2_grpc.InferCall) -> Spool:
    """Move the message into a spool, for a reader; raises `Overloaded`."""
    spool = Spool()
    if request.pictures:
        data, request.data = request.data, b""
        for at in range(0, len(data), CHUNK_BYTES):
            add(spool, data[at : at + CHUNK_BYTES])
    return spool
