"""Who is compared: what each is called, where it runs, and how it wants to be asked.

In: the number of cores. Out: `Contestant`s. It starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from benchmarks.serving import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.serving.bodies import Body, Pixels

CORES = len(os.sched_getaffinity(0))

# What is sent: one picture in three forms, and many at once in two.
MANY, MANY_BYTES = "64", "64 bytes"
FORMS = {
    "png": "one PNG",
    "json": "784 numbers in JSON",
    "bytes": "784 bytes",
    MANY: "64 PNGs",
    MANY_BYTES: "64 x 784 bytes",
}

# For each form, the path that takes it and what makes the body of it.
Dialect: TypeAlias = "Mapping[str, tuple[str, Callable[[Pixels], Body]]]"

PLAIN: Dialect = {
    "png": ("/predict", bodies.picture),
    "json": ("/predict", bodies.numbers),
    "bytes": ("/predict", bodies.octets),
    MANY: ("/predict", bodies.pictures),
    MANY_BYTES: ("/predict", bodies.many_octets),
}
# This service speaks the Open Inference Protocol, too, for clients who want probabilities alone.
OURS: Dialect = {**PLAIN, MANY_BYTES: ("/v2/models/mnist-mlp/infer", bodies.v2_many_octets)}
# Servers that read JSON and forms, and no other body.
FORM: Dialect = {
    **{form: PLAIN[form] for form in PLAIN if form != MANY_BYTES},
    "png": ("/predict", bodies.picture_in_form),
    "bytes": ("/predict", bodies.octets_in_form),
}
# A route for each kind of body, as FastAPI's tutorial and BentoML's have it.
TEXTBOOK: Dialect = {
    "png": ("/predict", bodies.picture_in_form),
    "json": ("/numbers", bodies.numbers),
    "bytes": ("/bytes", bodies.octets),
    MANY: ("/pictures", bodies.pictures),
}
BENTO: Dialect = {**TEXTBOOK, "json": ("/numbers", bodies.rows_of_numbers)}
# The Open Inference Protocol; the binary extension lets BYTES through undecoded.
TRITON: Dialect = {
    "png": ("/v2/models/pictures/infer", bodies.v2_picture),
    "json": ("/v2/models/pixels/infer", bodies.v2_numbers),
    "bytes": ("/v2/models/pixels/infer", bodies.v2_octets),
    MANY: ("/v2/models/pictures/infer", bodies.v2_pictures),
    MANY_BYTES: ("/v2/models/pixels/infer", bodies.v2_many_octets),
}
# KServe decodes BYTES of the binary extension as UTF-8, so that files must be base64.
KSERVE: Dialect = {
    "png": ("/v2/models/mnist/infer", bodies.v2_picture_in_json),
    "json": ("/v2/models/mnist/infer", bodies.v2_numbers),
    "bytes": ("/v2/models/mnist/infer", bodies.v2_octets),
    MANY: ("/v2/models/mnist/infer", bodies.v2_pictures_in_json),
    MANY_BYTES: ("/v2/models/mnist/infer", bodies.v2_many_octets),
}
# MLServer has the binary extension over gRPC alone.
MLSERVER: Dialect = {form: KSERVE[form] for form in KSERVE if form not in {"bytes", MANY_BYTES}}


@dataclass(frozen=True)
class Contestant:
    """A server of the table."""

    title: str
    dialect: Dialect
    module: str  # what `python -m` starts
    environment: str = ""  # its own, below .venv/peers; else the project's
    workers: int = CORES
    answers: bool = True  # with digits; a limit answers with nothing


def peer(title: str, name: str, dialect: Dialect) -> Contestant:
    """A server of others, with a module and an environment of its name."""
    return Contestant(title, dialect, f"benchmarks.serving.peers.{name}", environment=name)


def limit(title: str, name: str, workers: int = CORES) -> Contestant:
    """A server that does nothing, which no server that does something can outrun."""
    return Contestant(title, {"png": PLAIN["png"]}, f"benchmarks.serving.peers.{name}", workers=workers, answers=False)


CONTESTANTS = {
    "ours": Contestant("this service", OURS, "service"),
    "ours-1": Contestant("this service", OURS, "service", workers=1),
    "textbook": Contestant("FastAPI as in a textbook", TEXTBOOK, "benchmarks.serving.peers.textbook"),
    "mosec": peer("mosec", "mosec", PLAIN),
    "litserve": peer("LitServe", "litserve", FORM),
    "bentoml": peer("BentoML", "bentoml", BENTO),
    "mlserver": peer("MLServer", "mlserver", MLSERVER),
    "kserve": peer("KServe's SDK", "kserve", KSERVE),
    "ray": peer("Ray Serve", "ray_serve", PLAIN),
    "pytriton": peer("PyTriton (Triton)", "pytriton", TRITON),
    "nginx": limit("limit: nginx, a static 200", "nginx"),
    "hello": limit("limit: an empty ASGI app on uvicorn", "hello"),
    "hello-1": limit("limit: an empty ASGI app on uvicorn", "hello", workers=1),
}
