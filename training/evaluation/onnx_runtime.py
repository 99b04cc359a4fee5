"""Run the bytes of a model.onnx with ONNX Runtime, on one thread."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from .metrics import CHUNK


def run_onnx(model: bytes, images: Tensor) -> Tensor:
    """Return ONNX Runtime's probabilities float32[N,10] of images uint8[N,1,28,28]."""
    runner = make_session(model)
    chunks = [runner.run(None, {"images": chunk.numpy()})[0] for chunk in torch.split(images, CHUNK)]
    return torch.from_numpy(np.concatenate(chunks))


def make_session(model: bytes) -> onnxruntime.InferenceSession:
    """Load a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
