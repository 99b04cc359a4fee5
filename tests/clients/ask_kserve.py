"""Health and an inference, as KServe's REST client asks, as JSON on stdout. Runs in an environment that has `kserve`.

python ask_kserve.py URL DIGITS.npz
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

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


if __name__ == "__main__":
    json.dump(asyncio.run(ask(sys.argv[1], np.load(sys.argv[2])["images"])), sys.stdout)
