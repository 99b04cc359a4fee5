"""The pages for browsers: the drawing page, the explanation, the model card and the API's documentation.

In: an app. Out: the app, with the routes of the pages' files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import fastapi_offline
from fastapi import FastAPI, HTTPException, Request
from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.types import Scope

PAGE = Path(__file__).parents[1] / "page"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"
# The pages load only from this origin, and no other page may frame them. Their own pictures are data: and blob: URLs.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class _Files(StaticFiles):
    """The files of a folder; each has exactly one path."""

    def get_path(self, scope: Scope) -> str:
        """Return the path below the folder; raises 404 for another spelling of it with extra dots or slashes."""
        path = super().get_path(scope)
        if scope["path"] != f"{scope['root_path']}/{path}":
            raise HTTPException(404)
        return path

    def file_response(self, *args: object, **kwargs: object) -> Response:
        """Return the file with the security headers."""
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(HEADERS)
        return response


def add_pages(app: FastAPI) -> None:
    """Add the pages and the files that they load."""

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        if request.scope.get("bare"):  # a proxy's path without the slash, against which the page's URLs would be wrong
            return RedirectResponse(f"{request.scope['root'].rpartition('/')[2]}/", headers=HEADERS)
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    @app.get("/learn", include_in_schema=False)
    async def learn() -> FileResponse:
        return FileResponse(PAGE / "learn" / "index.html", headers=HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html", headers=HEADERS)

    @app.get("/card", include_in_schema=False)
    async def card() -> FileResponse:
        return FileResponse(PAGE / "card.html", headers=HEADERS)

    files, swagger = GZipMiddleware(_Files(directory=PAGE)), _Files(directory=SWAGGER)
    # The pages' URLs are relative: a proxy may serve them below a prefix that this service does not know. `/docs/` is
    # the same page as `/docs`, and there its URLs lead to `/docs/page/`.
    for place in ("", "/docs", "/card", "/learn"):
        app.mount(f"{place}/page", files)
        app.mount(f"{place}/static-offline-docs", swagger)
