"""The least that an ASGI server can do: every request is answered with an empty 200, unread."""

from __future__ import annotations

from typing import Any

import uvicorn

from benchmarks.serving.peers.model import PORT, WORKERS


async def app(scope: dict[str, Any], receive: object, send: Any) -> None:
    """Answer."""
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


if __name__ == "__main__":
    uvicorn.run(f"{__spec__.name}:app", port=PORT, workers=WORKERS, access_log=False, lifespan="off")
