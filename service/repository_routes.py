"""The routes of the Open Inference Protocol that tell and change which version is served.

In: the models. Out: routes below /v2/repository. Who may change something is `service.admin`'s to say, and what a
change is, `service.lifecycle`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from fastapi import Request  # noqa: TC002 - FastAPI reads the annotations of routes at run time
from starlette.responses import Response

from service.admin import require_admin
from service.errors import ModelError, NoSuchModel, NotLoaded

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.lifecycle import Models
    from service.settings import Settings


def add_repository(route: Callable[..., Callable[..., object]], models: Models, settings: Settings) -> None:
    """Add the routes; `route` takes a method, paths and a summary."""

    def public(reason: str) -> str:
        """A reason without the folders of this machine."""
        return reason.replace(str(settings.model_dir), settings.model_dir.name)

    def may_change(request: Request) -> None:
        """Raises `Forbidden`, or `NoSuchModel` for a name that is not this service's model."""
        require_admin(settings)
        name = request.path_params["model"]
        if models.name not in {None, name}:
            raise NoSuchModel(f"unknown model: {name} is not found; {models.name} is served")

    @route("POST", ("/repository/index",), "The versions that there are")
    async def repository_index() -> Response:
        current = models.current.version if models.current else None
        index = [
            {
                "name": models.name or "",
                "version": str(number),
                "state": "READY" if str(number) == current else "UNAVAILABLE",
                "reason": public(models.refused.get(number, "")),
            }
            for number in models.numbers
        ]
        return Response(orjson.dumps(index), media_type="application/json")

    @route("POST", ("/repository/models/{model}/load",), "Look for the chosen version anew, and serve it")
    async def repository_load(request: Request) -> Response:
        may_change(request)
        try:
            await models.load()
        except ModelError as error:
            raise NotLoaded(public(str(error))) from None
        return Response()

    @route("POST", ("/repository/models/{model}/unload",), "Serve nothing until there is an order to load")
    async def repository_unload(request: Request) -> Response:
        may_change(request)
        await models.unload()
        return Response()
