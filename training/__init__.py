"""The training job: MNIST in, one verified model version in `models/` out. It knows nothing of HTTP.

The two settings here are read by libraries when they are loaded, so they stand before every import of them.
"""

import os

# Threads that wait for each other sleep instead of spinning: with another program on one of two cores, spinning made
# an epoch 10 to 40 times slower; on an idle machine it gains little.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime sends it on Linux since 1.29
