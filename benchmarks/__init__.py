"""What every number in docs/benchmarks.md was measured with."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of the servers that it starts: ONNX Runtime sends it on Linux since 1.29
