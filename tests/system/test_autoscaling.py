"""What the autoscalers read: their queries, from the manifests, against promtool, a real Prometheus and a service."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
import yaml

from tests.support.pictures import SEVEN
from tests.support.prometheus import needs_prometheus, promtool, running_prometheus
from tests.support.service import ROOT, running_service, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.service import Service

pytestmark = needs_prometheus

OVERLAY = "overlays/autoscale-on-wait"
SCALED_OBJECT = yaml.safe_load((ROOT / f"deploy/kubernetes/{OVERLAY}/scaledobject.yaml").read_text())
SERVICE = yaml.safe_load((ROOT / f"deploy/kserve/{OVERLAY}/inferenceservice.yaml").read_text())
QUERIES = {
    "kubernetes": SCALED_OBJECT["spec"]["triggers"][0]["metadata"]["query"],
    "kserve": SERVICE["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]["metric"]["query"],
}
MINUTES = 10  # of each series


class Pod(NamedTuple):
    """What a pod counts in the 15 s between two scrapes."""

    seconds: float
    requests: float


@pytest.mark.parametrize(
    ("pods", "of_kubernetes", "of_kserve"),
    [
        ([Pod(30.0, 1500)], 20, 20),
        ([Pod(30.0, 1500), Pod(15.0, 1500)], 15, 30),  # the mean over requests; of each pod, for a target for each
        ([Pod(30.0, 1500), Pod(0.0, 0)], 20, 20),  # a pod without requests
        ([Pod(0.0, 0)], 0, 0),
        ([], 0, 0),  # before the first scrape
    ],
)
def test_the_queries_are_the_mean_wait_in_milliseconds(
    pods: list[Pod], of_kubernetes: float, of_kserve: float, tmp_path: Path
) -> None:
    """KEDA always gets one number: 0 where no request came."""
    series = [
        {"series": f"{metric}{_labels(number, stage)}", "values": f"0+{step:g}x{4 * MINUTES}"}
        for number, pod in enumerate(pods)
        for stage, weight in (("queue", 1), ("decode", 7))  # another stage counts for nothing
        for metric, step in (
            ("mnist_stage_duration_seconds_sum", weight * pod.seconds),
            ("mnist_stage_duration_seconds_count", pod.requests),
        )
    ]
    expected = {"kubernetes": of_kubernetes, "kserve": of_kserve}
    tests = [
        {"expr": QUERIES[name], "eval_time": f"{MINUTES}m", "exp_samples": [{"labels": "{}", "value": value}]}
        for name, value in expected.items()
    ]
    file = tmp_path / "test.yml"
    file.write_text(yaml.dump({"tests": [{"interval": "15s", "input_series": series, "promql_expr_test": tests}]}))
    code, said = promtool("test", "rules", str(file))
    assert code == 0, said


def _labels(number: int, stage: str) -> str:
    return f'{{job="mnist", pod="mnist-mlp-predictor-{number}", instance="{number}", stage="{stage}"}}'


def test_both_read_what_a_service_exports(tmp_path: Path) -> None:
    """A real Prometheus finds how long the requests of two workers have waited."""
    queries = [re.sub(r'pod=~"[^"]*"', 'job="mnist"', query) for query in QUERIES.values()]  # there are no pods
    with running_service(workers=2) as service, running_prometheus(tmp_path, service, each_second=True) as prometheus:

        def waits() -> bool:
            asyncio.run(ask(service))
            return all((prometheus.ask(query) or 0) > 0 for query in queries)

        until(waits, "the wait does not come to Prometheus")


async def ask(service: Service) -> None:
    """Sixteen requests at once."""
    async with httpx.AsyncClient(base_url=service.url, headers={"content-type": "image/png"}) as client:
        for response in await asyncio.gather(*(client.post("/predict", content=SEVEN) for _ in range(16))):
            response.raise_for_status()
