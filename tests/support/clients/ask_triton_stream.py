"""What Triton's gRPC clients get on a stream, as JSON on stdout. Runs in an environment that has `tritonclient`.

python ask_triton_stream.py HOST:PORT DIGITS.npz SEVEN.png
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MODEL = "mnist-mlp"


def requests(images: Any, picture: bytes) -> list[dict[str, Any]]:
    """What is asked: each image alone, in between another model and a batch over the limit, at the end a PNG file."""
    asked = [request(pixels(image[None]), number) for number, image in enumerate(images)]
    asked.insert(3, request(pixels(images), "other", model_name="other"))
    asked.insert(7, request(pixels(np.repeat(images[:1], 65, 0)), "large"))
    encoded = triton.InferInput("images", [1], "BYTES").set_data_from_numpy(np.array([picture], object))
    return [*asked, request(encoded, "picture")]


def request(tensor: Any, name: object, model_name: str = MODEL) -> dict[str, Any]:
    return {"model_name": model_name, "inputs": [tensor], "request_id": str(name)}


def pixels(images: Any) -> Any:
    return triton.InferInput("images", list(images.shape), "UINT8").set_data_from_numpy(images)


def told(result: Any, error: Any) -> dict[str, Any]:
    """One answer: its id and probabilities, or the sentence and the status of an error."""
    if error is not None:
        return {"error": error.message(), "status": error.status()}
    answer = result.get_response()
    final = answer.parameters["triton_final_response"].bool_param
    return {"id": answer.id, "final": final, "probabilities": result.as_numpy("probabilities")[0].tolist()}


def in_threads(client: Any, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All requests on one stream, and what its callback is told, up to the stream's end."""
    answers: list[dict[str, Any]] = []
    client.start_stream(lambda result, error: answers.append(told(result, error)))
    for one in asked:
        client.async_stream_infer(**one)
    client.stop_stream()
    return answers


def over_its_deadline(client: Any) -> dict[str, Any]:
    """A stream on which nothing is asked, with a tenth of a second to live."""
    answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    client.start_stream(lambda result, error: answers.put(told(result, error)), stream_timeout=0.1)
    answer = answers.get(timeout=60)
    client.stop_stream()
    return answer


async def in_asyncio(address: str, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    async def one_by_one() -> AsyncIterator[dict[str, Any]]:
        for one in asked:
            yield one

    async with triton_aio.InferenceServerClient(address) as client:
        return [told(*pair) async for pair in client.stream_infer(one_by_one())]


def main(address: str, digits: str, picture: str) -> None:
    asked = requests(np.load(digits)["images"], Path(picture).read_bytes())
    client = triton.InferenceServerClient(address)
    facts = {
        "in_threads": in_threads(client, asked),
        "in_asyncio": asyncio.run(in_asyncio(address, asked)),
        "over_its_deadline": over_its_deadline(client),
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
