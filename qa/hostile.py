"""`python -m qa.hostile` sends malicious bodies and requests, checks corrupted model versions, and prints the outcome.

In: nothing. Out: four tables. For each body its size, status, milliseconds and MiB of memory; for 20,000 garbled
requests how many got each status; for each malicious model version the time, the memory and the refusal; and for
1,000 changed bytes of a model how many were refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from benchmarks.servers import ours
from service.errors import ModelError
from service.model import check
from service.model.classifier import GOLDEN_TOLERANCE, Classifier
from service.settings import Settings
from tests.support import hostile_models
from tests.support.hostile_bodies import MEBIBYTE, bombs, costs, fate, garbled, with_changed_bytes
from tests.support.processes import forget_memory, most_memory
from tests.support.signing import make_keys, sign, with_checksums

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = Path("models/mnist-mlp/50")
CHANGES = 1000
GARBLED = 20_000


def main() -> None:
    """Print the tables."""
    print(f"{'body':<38}{'bytes':>12}{'status':>8}{'ms':>8}{'MiB more':>10}")
    with ours(VERSION, workers=1) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        for name, body in bombs().items():
            client.get("/readyz")  # the connection is there
            status, seconds, grown = costs(client, server.pid, body)
            size = f"{len(body.content):,}"
            print(f"{name:<38}{size:>12}{status:>8}{seconds * 1000:>8.0f}{grown / MEBIBYTE:>10.0f}")
        print(f"\n{GARBLED:,} garbled requests: by status, {dict(met_with(server.url))}")
    print(f"\n{'model version':<38}{'ms':>8}{'MiB more':>10}  refusal")
    for name, (seconds, grown, refusal) in meet_models():
        print(f"{name:<38}{seconds * 1000:>8.0f}{grown / MEBIBYTE:>10.0f}  {refusal}")
    print(f"\n{CHANGES:,} changed bytes of {VERSION}/model.onnx")
    for card, met, signed in (
        ("as it is", False, False),
        ("with their checksum", True, False),
        ("with their checksum, where a signature is demanded", True, True),
    ):
        print(f"under a card {card}: {dict(Counter(meet_changes(vouched_for=met, signed=signed)))}")


def met_with(url: str) -> Counter[str]:
    """What became of many garbled requests: their answers, and how long the slowest took."""
    found, slowest = Counter[str](), 0.0
    for sent in garbled(GARBLED, seed=0):
        statuses, seconds = fate(url, sent)
        found.update(map(str, statuses) if statuses else ["closed"])
        slowest = max(slowest, seconds)
    found[f"slowest {slowest * 1000:.0f} ms"] += 1
    return found


def meet_models() -> Iterator[tuple[str, tuple[float, int, str]]]:
    """What the check of each version that is made to hurt costs this process, and how it ends."""
    made = {name: (make, None) for name, (make, _) in hostile_models.MODELS.items()}
    batches = {name: (hostile_models.harmless, make) for name, (make, _) in hostile_models.BATCHES.items()}
    for name, (model, batch) in (made | batches).items():
        with tempfile.TemporaryDirectory() as folder:
            hostile_models.publish(Path(folder) / "1", model(), batch and batch())
            forget_memory(os.getpid())
            before, started, refusal = most_memory(os.getpid()), time.perf_counter(), "none"
            try:
                check.check(Settings.model_validate({"model_dir": folder}), 1)
            except ModelError as error:
                refusal = str(error).removeprefix(folder)
            yield name, (time.perf_counter() - started, most_memory(os.getpid()) - before, refusal)


def meet_changes(*, vouched_for: bool, signed: bool) -> Iterator[str]:
    """What became of each changed byte, in words; `signed` is whether a key is set, and the version was signed."""
    good = Classifier.load(VERSION.parent, VERSION.name)
    pictures = np.random.default_rng(1).integers(0, 256, (100, 1, 28, 28), np.uint8)
    expected = good.predict(pictures)
    with tempfile.TemporaryDirectory() as temporary:
        folder = shutil.copytree(VERSION, Path(temporary) / VERSION.name)
        keys = make_keys(Path(temporary))
        sign(folder, keys)
        demanded = keys.public.read_bytes() if signed else b""
        for spoilt in with_changed_bytes((VERSION / "model.onnx").read_bytes(), count=CHANGES):
            (folder / "model.onnx").write_bytes(spoilt)
            if vouched_for:
                with_checksums(folder, model=spoilt)
            try:
                found = Classifier.load(folder.parent, keys=demanded).predict(pictures)
            except ModelError:
                yield "refused"
            else:
                same = np.abs(found - expected).max() < GOLDEN_TOLERANCE
                yield "the same answers" if same else "other answers to noise than before"


if __name__ == "__main__":
    main()
