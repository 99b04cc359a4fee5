"""The training job: MNIST in, one verified model version in `models/` out. It knows nothing of HTTP."""
