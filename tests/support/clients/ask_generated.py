"""What a client can ask that openapi-python-client has generated, as JSON on stdout.

python ask_generated.py FOLDER URL SEVEN.png
"""

from __future__ import annotations

import base64
import json
import sys
from io import BytesIO
from pathlib import Path

folder, url, seven = sys.argv[1:]
sys.path.insert(0, folder)

from mnist_mlp_client import Client, models  # noqa: E402 - it lies in the folder
from mnist_mlp_client.api.open_inference_protocol import infer, model_metadata  # noqa: E402
from mnist_mlp_client.api.operation import get_health, get_metrics  # noqa: E402
from mnist_mlp_client.api.predict import get_model_card, predict, predict_with_model  # noqa: E402
from mnist_mlp_client.types import File  # noqa: E402

client = Client(base_url=url, raise_on_unexpected_status=True)
png = Path(seven).read_bytes()
text = base64.b64encode(png).decode()


def file(data: bytes = png) -> File:
    return File(payload=BytesIO(data), file_name="seven.png")


pixels = models.PixelsInput(name="images", shape=[1, 1, 28, 28], datatype="UINT8", data=[0] * 784)
blank = models.OneImage(image=[0] * 784)
batch = predict.sync(client=client, body=models.SeveralImages(images=[text, "no picture"]))
explained = predict.sync(client=client, body=models.OneImage(image=text), explain="1")
found = {
    "bytes": predict.sync(client=client, body=file()).predictions[0].digit,
    "form": predict.sync(client=client, body=models.PredictFilesBody(image=file())).predictions[0].digit,
    "JSON": explained.predictions[0].digit,
    "no ink": predict.sync(client=client, body=blank).predictions[0].digit,
    "polarity": explained.predictions[0].explain.polarity,
    "batch": [type(one).__name__ for one in batch.predictions],
    "bad picture": predict.sync(client=client, body=file(b"no picture")).reason,
    "another model": predict_with_model.sync("other", client=client, body=file()).reason,
    "health": get_health.sync(client=client).status,
    "card": get_model_card.sync(client=client).name,
    "metrics": get_metrics.sync(client=client).startswith("# HELP"),
    "inputs": [tensor.shape for tensor in model_metadata.sync("mnist-mlp", client=client).inputs],
    "outputs": infer.sync("mnist-mlp", client=client, body=models.InferenceRequest(inputs=[pixels])).outputs[0].shape,
    "no model": model_metadata.sync("other", client=client).error,
}
print(json.dumps(found))
