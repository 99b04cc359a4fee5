"""Health and inferences, as KServe's clients ask, as JSON on stdout. Runs in an environment that has `kserve`.

python ask_kserve.py URL DIGITS.npz
python ask_kserve.py URL DIGITS.npz v1       with the protocol's first version
python ask_kserve.py HOST:PORT DIGITS.npz    over gRPC
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
import zlib
from typing import Any

import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "mnist-mlp"


async def ask(url: str, images: Any) -> dict[str, Any]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    answers = []
    for binary in (False, True):
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images, binary_data=binary)
        answer = await client.infer(url, InferRequest(MODEL, [tensor], request_id="mine"), model_name=MODEL)
        answers.append({"id": answer.id, "probabilities": answer.outputs[0].as_numpy().reshape(-1, 10).tolist()})
    return {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model_ready": await client.is_model_ready(url, MODEL),
        "asked": answers,
    }


async def ask_v1(url: str, images: Any) -> dict[str, Any]:
    """Instances as numbers, and as files in base64."""
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    rows = images.reshape(-1, 28, 28)
    answers = []
    for instances in (rows.tolist(), [{"b64": base64.b64encode(_png(row)).decode()} for row in rows]):
        answer = await client.infer(url, {"instances": instances}, model_name=MODEL)
        answers.append([prediction["probabilities"] for prediction in answer["predictions"]])
    try:
        await client.infer(url, {"instances": rows.tolist()}, model_name="other")
    except httpx.HTTPStatusError as error:
        refused = str(error)
    return {"model_ready": await client.is_model_ready(url, MODEL), "asked": answers, "refused": refused}


def _png(pixels: Any) -> bytes:
    """A grey PNG, made by hand: the environment has no Pillow."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


async def ask_grpc(address: str, images: Any) -> dict[str, Any]:
    """The same tensor as raw and as typed contents."""
    answers = []
    async with InferenceGRPCClient(address) as client:
        for data in (images, images.ravel().tolist()):
            tensor = InferInput("images", list(images.shape), "UINT8", data)
            answer = await client.infer(InferRequest(MODEL, [tensor], request_id="mine"))
            answers.append({"id": answer.id, "probabilities": answer.outputs[0].as_numpy().reshape(-1, 10).tolist()})
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready(MODEL),
            "asked": answers,
        }


if __name__ == "__main__":
    url, file, *protocol = sys.argv[1:]
    asked = ask_v1 if protocol else ask if url.startswith("http") else ask_grpc
    json.dump(asyncio.run(asked(url, np.load(file)["images"])), sys.stdout)
