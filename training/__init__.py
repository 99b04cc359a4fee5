"""The training job: MNIST in, one verified model version in `models/` out.

Each package knows only those below it, and `errors`, `files`, `optional` and `parser` know none:

    train  sweep      the job from top to bottom; the search for better hyperparameters
    reporting/        the run's folder, the screen, reports, trackers
    export/           ONNX, quantised variants, gates, the card, the version's folder
    loop/             fit, checkpoints, processes that train together
    evaluation/       metrics; a version measured on handwriting
    network/          the multilayer perceptron and its fixed layers
    synthesis/        rendered pictures: digits as people send them, and what is not a digit
    config  choices   the hyperparameters; activations, losses and optimizers by name
    data/             MNIST as tensors, augmentation
    service_picture   the one import of the service: how it prepares a picture

Libraries read the three settings here when they are imported, so they come before every import.
"""

import os

__version__ = "0.2.0"

# Waiting threads of libgomp, PyTorch's OpenMP, sleep after a short spin. On two idle cores that costs about a tenth;
# with another program on one of them, three epochs took 12 s instead of 32 to 119 s.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime sends it on Linux since 1.29
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
