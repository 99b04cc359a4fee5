"""Health and inferences, as KServe's clients ask, as JSON on stdout. Runs in an environment that has `kserve`.

python ask_kserve.py URL DIGITS.npz
python ask_kserve.py HOST:PORT DIGITS.npz    over gRPC
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

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
    asked = ask if sys.argv[1].startswith("http") else ask_grpc
    json.dump(asyncio.run(asked(sys.argv[1], np.load(sys.argv[2])["images"])), sys.stdout)
