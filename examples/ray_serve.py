"""The service's engine under Ray Serve: replicas on every node of a Ray cluster, behind Ray's proxies.

    ray start --head
    python -m examples.ray_serve

In: requests to `POST /predict`, in every form that the service reads. Out: the service's responses, errors included.
A replica is what a worker of the service is: readers that prepare pictures, a batcher, admission, and the chosen model
version, which it follows. Ray takes the place of the rest: connections, processes, restarts and metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from fastapi import FastAPI
from ray import serve

from service import settings as settings_module
from service.api import predict
from service.connection import problems
from service.connection.body_budget import BodyBudget
from service.connection.budget import Budget
from service.connection.start_queue import StartQueue
from service.inference.batcher import Batcher
from service.inference.engine import Engine
from service.observability.metrics import Metrics, registry
from service.versions.bundled import or_bundled
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.settings import Settings

log = logging.getLogger("ray.serve")


def build() -> FastAPI:
    """Return the app of one replica; Ray calls this in the replica's process, where MNIST_… are read."""
    settings = or_bundled(settings_module.load())
    metrics = Metrics(registry())
    models = VersionManager(settings, SharedState(shared=False))
    models.start()
    engine = Engine(models, Batcher(metrics, max_batch=settings.max_images), metrics, settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.reading(), models.following(ignore, log.error, ignore, ignore):
            yield

    app = FastAPI(openapi_url=None, lifespan=lifespan)
    problems.install(app, metrics)
    predict.add_routes(app.router, predict.Predict(engine, settings), engine, models, settings)
    app.add_middleware(ConnectionMiddleware, settings=settings)
    return app


def ignore(_: object) -> None:
    """Do nothing about a change of versions, which the service would log and count."""


class ConnectionMiddleware:
    """What the service's connections give to a request: when it began, its id, and the budgets of the worker."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._state = {
            "bodies": BodyBudget(Budget(), settings.max_body_bytes),
            "start_queue": StartQueue(settings.max_wait_seconds, ()),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on to the app."""
        if scope["type"] == "http":
            scope["began"] = asyncio.get_running_loop().time()
            scope["request_id"] = dict(scope["headers"]).get(b"x-request-id", b"")  # Ray's proxy has made one
            scope["record"] = None  # of stages, for traces and logs
            scope["state"] = self._state.copy()
        await self._app(scope, receive, send)


# One core for each replica, as for a worker. Ray gives a replica five requests at a time by default, which would leave
# nothing to make batches of.
app = serve.deployment(
    serve.ingress(build)(),
    name="mnist-mlp",
    num_replicas=2,
    max_ongoing_requests=128,
    ray_actor_options={"num_cpus": 1},
).bind()

if __name__ == "__main__":
    serve.run(app, blocking=True)
