"""Everything that Triton's HTTP clients can ask, as JSON on stdout. Runs in an environment that has `tritonclient`.

python ask_triton.py HOST:PORT DIGITS.npz SEVEN.png
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "mnist-mlp"


def tensor(images: Any, *, binary: bool = True) -> Any:
    return triton.InferInput("images", list(images.shape), "UINT8").set_data_from_numpy(images, binary_data=binary)


def asked(client: Any, images: Any) -> list[dict[str, Any]]:
    """The same tensor in every way that a client may send it and have the answer."""
    ways = [(i, o, c) for i in (True, False) for o in (True, False) for c in (None, "gzip", "deflate")]
    answers = []
    for binary_in, binary_out, compression in ways:
        output = triton.InferRequestedOutput("probabilities", binary_data=binary_out)
        answer = client.infer(
            MODEL,
            [tensor(images, binary=binary_in)],
            outputs=[output],
            request_id="mine",
            request_compression_algorithm=compression,
        )
        probabilities = answer.as_numpy("probabilities").tolist()
        answers.append({"way": [binary_in, binary_out, compression], "probabilities": probabilities})
        answers[-1] |= {key: answer.get_response()[key] for key in ("id", "model_version")}
    return answers


def refused(client: Any, images: Any) -> list[str]:
    """What is raised for a wrong model, a batch over the limit, and unloading."""
    messages = []
    asks: list[Callable[[], object]] = [
        lambda: client.infer("other", [tensor(images)]),
        lambda: client.infer(MODEL, [tensor(np.repeat(images[:1], 65, 0))]),
        lambda: client.unload_model(MODEL),
    ]
    for ask in asks:
        try:
            ask()
        except InferenceServerException as error:
            messages.append(str(error))
    return messages


async def at_once(address: str, images: Any) -> list[Any]:
    """One request for each image, all at once, through the asyncio client."""
    async with triton_aio.InferenceServerClient(address) as client:
        answers = await asyncio.gather(*(client.infer(MODEL, [tensor(image[None])]) for image in images))
        return [answer.as_numpy("probabilities")[0].tolist() for answer in answers]


def main(address: str, digits: str, picture: str) -> None:
    images = np.load(digits)["images"]
    client = triton.InferenceServerClient(address)
    encoded = triton.InferInput("images", [1], "BYTES")
    encoded.set_data_from_numpy(np.array([Path(picture).read_bytes()], object))
    classes = triton.InferRequestedOutput("probabilities", class_count=3)
    best = client.infer(MODEL, [tensor(images)], outputs=[classes])
    facts = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(MODEL),
        "server": client.get_server_metadata(),
        "metadata": client.get_model_metadata(MODEL),
        "config": client.get_model_config(MODEL),
        "repository": client.get_model_repository_index(),
        "asked": asked(client, images),
        "classes": best.as_numpy("probabilities").astype(str).tolist(),
        "encoded": client.infer(MODEL, [encoded]).as_numpy("probabilities").tolist(),
        "refused": refused(client, images),
        "at_once": asyncio.run(at_once(address, images)),
        "statistics": client.get_inference_statistics(MODEL),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
