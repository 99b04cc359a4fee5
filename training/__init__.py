"""The training job: MNIST in, one verified model version in `models/` out. It knows nothing of HTTP.

The three settings here are read by libraries when they are loaded, so they stand before every import of them.
"""

import os

# Threads that wait for each other soon sleep instead of spinning (in libgomp, PyTorch's OpenMP). On two idle cores that
# costs about a tenth; with another program on one of them, three epochs took 12 s instead of 32 to 119 s.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime sends it on Linux since 1.29
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
