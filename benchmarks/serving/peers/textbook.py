"""The server that a good tutorial would write over the same model file.

In: an uploaded picture, or pixels. Out: digits. FastAPI, UploadFile, Pillow, a response model, and one ONNX Runtime
session with its default options, under uvicorn's defaults with a worker for each core. It takes a picture as MNIST
made it, or dark ink on white; it knows nothing of real photographs, limits, batches or metrics.
"""

# No `from __future__ import annotations`: FastAPI reads them, and a tutorial would not have it either.
import io
import os
from typing import Annotated

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request, UploadFile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Base64Bytes, BaseModel

app = FastAPI(title="MNIST")
session = ort.InferenceSession(os.environ["MNIST_MODEL"])


class Prediction(BaseModel):
    """The most probable digit, its probability, and all ten."""

    digit: int
    confidence: float
    probabilities: list[float]


class Predictions(BaseModel):
    """One for each picture."""

    predictions: list[Prediction]


@app.get("/health")
async def health() -> dict[str, str]:
    """Alive."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(file: UploadFile) -> Prediction:
    """The digit that a picture shows."""
    return classify(decode(await file.read()))


@app.post("/numbers")
async def predict_numbers(image: Annotated[list[int], Body(embed=True)]) -> Prediction:
    """The digit that 784 numbers show."""
    return classify(np.array(image, np.uint8))


@app.post("/bytes")
async def predict_bytes(request: Request) -> Prediction:
    """The digit that 784 bytes show."""
    return classify(np.frombuffer(await request.body(), np.uint8))


@app.post("/pictures")
async def predict_pictures(images: Annotated[list[Base64Bytes], Body(embed=True)]) -> Predictions:
    """The digits of several pictures in base64."""
    return Predictions(predictions=[classify(decode(image)) for image in images])


def decode(file: bytes) -> NDArray[np.uint8]:
    """Pixels, light on dark."""
    try:
        image = Image.open(io.BytesIO(file)).convert("L").resize((28, 28))
    except UnidentifiedImageError as error:
        raise HTTPException(status_code=400, detail="not a picture") from error
    pixels = np.asarray(image)
    if pixels.mean() > 127:
        pixels = 255 - pixels
    return pixels


def classify(pixels: NDArray[np.uint8]) -> Prediction:
    """The digit that 784 pixels show."""
    (probabilities,) = session.run(None, {"images": pixels.reshape(1, 1, 28, 28)})
    digit = int(probabilities[0].argmax())
    return Prediction(
        digit=digit, confidence=float(probabilities[0, digit]), probabilities=[float(p) for p in probabilities[0]]
    )


if __name__ == "__main__":
    uvicorn.run(f"{__spec__.name}:app", port=int(os.environ["PORT"]), workers=int(os.environ["WORKERS"]))
