"""`python -m benchmarks.watching`: seconds from the commands of `docker compose up` to a dashboard with numbers.

In: a published model version, Prometheus, and deploy/. Out: one line for each moment. The service and Prometheus start
at the same time, as processes with the committed configuration, and a client sends one picture after another from the
service's first answer on. Grafana has nothing to wait for: it asks Prometheus what is asked here.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import yaml

from tests.support.dashboards import panels, promql
from tests.support.pictures import SEVEN
from tests.support.prometheus import COMMITTED, Prometheus, free_port
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.05
SCRAPE_SECONDS = int(
    yaml.safe_load((COMMITTED / "prometheus.yml").read_text())["global"]["scrape_interval"].removesuffix("s")
)


def commands(folder: Path, port: int, prometheus_port: int) -> tuple[list[str], list[str]]:
    """Return the two commands; the configuration in `folder` names the service's address instead of Compose's name."""
    config = folder / "config"
    shutil.copytree(COMMITTED, config)
    (config / "targets" / "service.yml").write_text(f'- targets: ["127.0.0.1:{port}"]\n')
    service = [sys.executable, "-m", "service", "--port", str(port), "--workers", "1"]
    prometheus = [
        "prometheus",
        f"--config.file={config}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{prometheus_port}",
    ]
    return service, prometheus


def answers(url: str) -> bool:
    """Return whether a URL answers with success."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=1).is_success
    return False


def send(url: str, over: threading.Event) -> None:
    """Send a picture twenty times a second until it is over."""
    with httpx.Client(base_url=url) as client:
        while not over.wait(POLL_SECONDS):
            client.post("/predict", content=SEVEN)


def filled(prometheus: Prometheus) -> tuple[int, int]:
    """Return how many panels of the dashboard of the service have a number in each query, and how many there are."""

    def is_filled(expr: str) -> bool:
        vector = prometheus.vector(promql(expr, scrape_seconds=SCRAPE_SECONDS))
        return any(math.isfinite(value) for _, value in vector)

    found = panels("service")
    return sum(all(is_filled(target["expr"]) for target in panel["targets"]) for panel in found), len(found)


def measure() -> dict[str, float]:
    """Return the seconds since the start of each moment."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        port, prometheus_port = free_port(), free_port()
        url, watcher = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{prometheus_port}"
        client = stack.enter_context(httpx.Client(base_url=watcher))
        prometheus = Prometheus(client)
        over = threading.Event()
        moments: dict[str, float] = {}
        began = time.perf_counter()
        for command in commands(Path(name), port, prometheus_port):
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)

        def wait(moment: str, is_true: Callable[[], object]) -> None:
            while not is_true():
                time.sleep(POLL_SECONDS)
            moments[moment] = time.perf_counter() - began

        wait("the service is ready", lambda: answers(f"{url}/readyz"))
        sender = threading.Thread(target=send, args=(url, over))
        sender.start()
        stack.callback(sender.join)
        stack.callback(over.set)
        wait("Prometheus is ready", lambda: answers(f"{watcher}/-/ready"))
        wait("the first numbers", lambda: filled(prometheus)[0] > 0)
        rate = promql(panels("service")[1]["targets"][0]["expr"], scrape_seconds=SCRAPE_SECONDS)
        wait("predictions a second", lambda: prometheus.ask(rate))
        count, total = filled(prometheus)
        moments[f"panels filled then, of {total}"] = count
        return moments


def main() -> int:
    """Measure some times, and print each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    runs = [measure() for _ in range(options.runs)]
    for moment in runs[0]:
        print(f"{moment:32}", *(f"{run.get(moment, math.nan):7.1f}" for run in runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
