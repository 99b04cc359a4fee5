"""Everything that Triton's gRPC clients can ask, as JSON on stdout. Runs in an environment that has `tritonclient`.

python ask_triton_grpc.py HOST:PORT DIGITS.npz SEVEN.png
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from PIL import Image
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL = "mnist-mlp"


def tensor(images: Any) -> Any:
    return triton.InferInput("images", list(images.shape), "UINT8").set_data_from_numpy(images)


def pictures(*encoded: bytes) -> Any:
    return triton.InferInput("images", [len(encoded)], "BYTES").set_data_from_numpy(np.array(encoded, object))


def noise() -> bytes:
    """A PNG file that is long in decoding."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 3000), np.uint8)).save(file, "PNG")
    return file.getvalue()


def asked(client: Any, images: Any) -> list[dict[str, Any]]:
    """The same tensor, compressed in every way, with and without a list of outputs."""
    answers = []
    for compression in (None, "gzip", "deflate"):
        for outputs in (None, [triton.InferRequestedOutput("probabilities")]):
            answer = client.infer(
                MODEL, [tensor(images)], outputs=outputs, request_id="mine", compression_algorithm=compression
            )
            answers.append({"probabilities": answer.as_numpy("probabilities").tolist()})
            answers[-1] |= {key: getattr(answer.get_response(), key) for key in ("id", "model_version")}
    return answers


def refused(client: Any, images: Any) -> dict[str, tuple[str, str]]:
    """The status and the sentence of what is raised."""
    asks: dict[str, Callable[[], object]] = {
        "model": lambda: client.infer("other", [tensor(images)]),
        "version": lambda: client.get_model_metadata(MODEL, "999"),
        "batch": lambda: client.infer(MODEL, [tensor(np.repeat(images[:1], 65, 0))]),
        "picture": lambda: client.infer(MODEL, [pictures(b"no picture")]),
        "unload": lambda: client.unload_model(MODEL),
        "trace": client.get_trace_settings,
        "deadline": lambda: client.infer(MODEL, [pictures(noise())], client_timeout=0.02),
    }
    found = {}
    for name, ask in asks.items():
        try:
            ask()
        except InferenceServerException as error:
            found[name] = (error.status(), error.message())
    return found


async def at_once(address: str, images: Any) -> list[Any]:
    """One request for each image, all at once, through the asyncio client."""
    async with triton_aio.InferenceServerClient(address) as client:
        answers = await asyncio.gather(*(client.infer(MODEL, [tensor(image[None])]) for image in images))
        return [answer.as_numpy("probabilities")[0].tolist() for answer in answers]


def main(address: str, digits: str, picture: str) -> None:
    images = np.load(digits)["images"]
    client = triton.InferenceServerClient(address)
    classes = triton.InferRequestedOutput("probabilities", class_count=3)
    best = client.infer(MODEL, [tensor(images)], outputs=[classes])
    encoded = client.infer(MODEL, [pictures(*[Path(picture).read_bytes()] * 2)])
    facts = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready(MODEL),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata(MODEL, as_json=True),
        "config": client.get_model_config(MODEL, as_json=True)["config"],
        "repository": client.get_model_repository_index(as_json=True)["models"],
        "asked": asked(client, images),
        "classes": best.as_numpy("probabilities").astype(str).tolist(),
        "encoded": encoded.as_numpy("probabilities").tolist(),
        "refused": refused(client, images),
        "at_once": asyncio.run(at_once(address, images)),
        "statistics": client.get_inference_statistics(MODEL, as_json=True)["model_stats"],
    }
    json.dump(facts, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
