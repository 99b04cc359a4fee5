"""The server that a good tutorial would write over the same model file: what this service is compared with.

In: one uploaded picture. Out: its digit. FastAPI, UploadFile, Pillow, a response model, and one ONNX Runtime session
with its default options. It takes a picture as MNIST made it, or dark ink on white; it knows nothing of real
photographs, limits, batches or metrics.

    MNIST_MODEL=models/mnist-mlp/2/model.onnx uvicorn benchmarks.textbook:app --workers 2
"""

# No `from __future__ import annotations`: FastAPI reads them, and a tutorial would not have it either.
import io
import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException, UploadFile
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel

app = FastAPI(title="MNIST")
session = ort.InferenceSession(os.environ["MNIST_MODEL"])


class Prediction(BaseModel):
    """The most probable digit, its probability, and all ten."""

    digit: int
    confidence: float
    probabilities: list[float]


@app.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(file: UploadFile) -> Prediction:
    """The digit that a picture shows."""
    try:
        image = Image.open(io.BytesIO(await file.read())).convert("L").resize((28, 28))
    except UnidentifiedImageError as error:
        raise HTTPException(status_code=400, detail="not a picture") from error
    pixels = np.asarray(image)
    if pixels.mean() > 127:
        pixels = 255 - pixels
    (probabilities,) = session.run(None, {"images": pixels.reshape(1, 1, 28, 28)})
    digit = int(probabilities[0].argmax())
    return Prediction(
        digit=digit, confidence=float(probabilities[0, digit]), probabilities=[float(p) for p in probabilities[0]]
    )
