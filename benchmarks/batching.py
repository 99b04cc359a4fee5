"""`python -m benchmarks.batching MODEL`: what it is worth to run the model once for all requests that wait.

In: a version's folder, best of a large model. Out: requests a second and latency of one worker that batches, and of one
that runs the model for each request alone, by turns; medians. The load generator shares the cores with the service.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from benchmarks.servers import ours
from benchmarks.serving import bodies
from benchmarks.serving.load import Load, Round, drive
from training import data

LOADS = (Load(1), Load(16), Load(64))
TURNS = 5


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching")
    parser.add_argument("model", type=Path, help="a version's folder")
    parser.add_argument("--seconds", type=int, default=3, help="of each load, in each of its turns")
    options = parser.parse_args()
    body = bodies.octets(data.load(None).test.images.numpy()[:1, 0])
    rounds: dict[Load, tuple[list[Round], list[Round]]] = {load: ([], []) for load in LOADS}
    with ours(options.model, 1, MAX_IMAGES=1) as alone, ours(options.model, 1) as batching:
        for _ in range(TURNS):
            for load, both in rounds.items():
                for server, found in zip((alone, batching), both, strict=True):
                    found.append(drive(f"{server.url}/predict", body, load, options.seconds))
    print("| connections | one by one: requests/s | p50, ms | batched: requests/s | p50, ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for load, both in rounds.items():
        rates = [statistics.median(one.per_second for one in found) for found in both]
        latencies = [statistics.median(one.p50_ms for one in found) for found in both]
        columns = [f"{rate:,.0f} | {latency:.2f}" for rate, latency in zip(rates, latencies, strict=True)]
        print(f"| {load.title} | {' | '.join(columns)} | {rates[1] / rates[0]:.2f} |")


if __name__ == "__main__":
    main()
