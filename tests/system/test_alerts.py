"""The alerts: which routes they cover, when they fire, who hears of them, and what the runbook says.

A real Prometheus and a real Alertmanager, with the committed configuration, deliver alerts of a real service. Skipped
where the programs are not installed.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import queue
import re
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
import yaml

from service.observability.labels import INFERENCE_ROUTES
from tests.support.metrics import samples
from tests.support.prometheus import (
    COMMITTED,
    free_port,
    needs_prometheus,
    promtool,
    replace,
    running,
    running_prometheus,
)
from tests.support.service import PATIENCE, ROOT, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOKS = "docs/operations/runbooks.md"
TESTS = ("slo.test.yml", "alerts.test.yml")
# POST and PUT that take no picture.
WITHOUT_PICTURES = {
    "/v2/repository/index",
    "/v2/repository/models/{model}/load",
    "/v2/repository/models/{model}/unload",
} | {
    f"/inference.GRPCInferenceService/{method}"
    for method in (
        "ServerLive",
        "ServerReady",
        "ServerMetadata",
        "ModelReady",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    )
}

needs_alertmanager = pytest.mark.skipif(
    not (shutil.which("prometheus-alertmanager") and shutil.which("amtool")), reason="alertmanager is not installed"
)


def rules() -> list[dict[str, Any]]:
    """The alerting rules."""
    groups = [yaml.safe_load((COMMITTED / name).read_text())["groups"] for name in ("alerts.yml", "slo.yml")]
    return [rule for (group,) in groups for rule in group["rules"] if "alert" in rule]


def identity(rule: Mapping[str, Any]) -> str:
    """What tells rules of one name apart."""
    return " ".join([rule["alert"], *rule["labels"].values()])


RULES = {identity(rule): rule for rule in rules()}


def test_the_objectives_cover_every_route_that_takes_pictures() -> None:
    """Of all routes of HTTP and gRPC: a new one for pictures must be in the rules and in `INFERENCE_ROUTES`."""
    with running_service(grpc_port=0) as service:
        found = samples(f"{service.url}/metrics")
    labels = [dict(pairs) for name, pairs in found if name == "mnist_http_requests_total"]
    taking = {each["route"] for each in labels if each["method"] in {"POST", "PUT"}} - WITHOUT_PICTURES
    assert {"/predict", "/inference.GRPCInferenceService/ModelInfer"} <= taking
    timed = {dict(pairs)["route"] for name, pairs in found if name == "mnist_http_request_duration_seconds_count"}
    selectors = re.findall(r'route=~"(.*?)"', (COMMITTED / "slo.yml").read_text())
    assert len(selectors) == 4
    for selector in selectors:
        assert {each["route"] for each in labels if re.fullmatch(selector, each["route"])} == taking
        assert {route for route in timed if re.fullmatch(selector, route)} == taking
    assert {each["route"] for each in labels if each["route"].endswith(INFERENCE_ROUTES)} == taking


@needs_prometheus
@pytest.mark.parametrize("file", TESTS)
def test_alerts_fire_and_are_silent(file: str) -> None:
    """The tests of the rules pass."""
    code, said = promtool("test", "rules", file)
    assert code == 0, said


def test_every_alert_is_tested_both_ways() -> None:
    """Each rule fires in a test, and is silent in one."""
    firing: set[str] = set()
    silent: set[str] = set()
    for file in TESTS:
        for test in yaml.safe_load((COMMITTED / file).read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                expected = [alert["exp_labels"].items() for alert in case["exp_alerts"]]
                for name, rule in RULES.items():
                    if rule["alert"] == case["alertname"]:
                        fires = any(rule["labels"].items() <= labels for labels in expected)
                        (firing if fires else silent).add(name)
    assert firing == silent == RULES.keys()


@pytest.mark.parametrize("name", RULES)
def test_an_alert_says_what_to_do(name: str) -> None:
    """It is a page or a ticket, has a line for what happened and one for what to do, and links to its section."""
    rule = RULES[name]
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "action", "runbook"}
    assert rule["annotations"]["runbook"] == f"{RUNBOOKS}#{rule['alert'].lower()}"


def test_every_alert_has_a_runbook() -> None:
    """The page has one section for each alert, and for no other; each has the same parts."""
    head, *sections = re.split(r"^## (?=Mnist)", (ROOT / RUNBOOKS).read_text(), flags=re.MULTILINE)
    assert head.startswith("# ")
    names = [section.split("\n", 1)[0] for section in sections]
    assert sorted(names) == sorted({rule["alert"] for rule in RULES.values()})
    for name, section in zip(names, sections, strict=True):
        parts = re.findall(r"^\*\*(.*?)\*\*", section, re.MULTILINE)
        assert parts == ["Means.", "Look first.", "Do.", "Over."], name


@needs_alertmanager
@pytest.mark.parametrize(
    ("labels", "receiver"),
    [("alertname=MnistDown severity=page", "page"), ("alertname=MnistDrift severity=ticket", "ticket")],
)
def test_pages_and_tickets_have_their_receivers(labels: str, receiver: str) -> None:
    """`amtool` accepts the configuration, and routes by the severity."""
    for words in (["check-config", ALERTMANAGER], ["config", "routes", "test", f"--config.file={ALERTMANAGER}"]):
        command = ["amtool", *words, *(labels.split() if words[0] == "config" else [])]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip() == receiver


class Delivered(NamedTuple):
    """An alert of a message to a receiver."""

    receiver: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


@pytest.fixture(scope="module")
def deliveries() -> Iterator[tuple[int, queue.Queue[Delivered]]]:
    """A web server that receives alerts: its port, and the alerts."""
    received: queue.Queue[Delivered] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in message["alerts"]:
                received.put(
                    Delivered(self.path.strip("/"), alert["status"], alert["labels"], alert["annotations"]),
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], received
        server.shutdown()


@pytest.fixture(scope="module")
def alertmanager(
    deliveries: tuple[int, queue.Queue[Delivered]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A real Alertmanager with the committed configuration, whose receivers are here, and which waits for nothing."""
    folder = tmp_path_factory.mktemp("alertmanager")
    config = folder / "alertmanager.yml"
    shutil.copy(ALERTMANAGER, config)
    replace(config, r"127\.0\.0\.1:9095", f"127.0.0.1:{deliveries[0]}")
    replace(config, r"group_wait: \w+", "group_wait: 0s")
    replace(config, r"group_interval: \w+", "group_interval: 1s")
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder}/data",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with running(command, folder / "log", f"http://{address}") as client:
        yield client


def wait_for(received: queue.Queue[Delivered], alert: str) -> Delivered:
    """The first delivery of this alert; others before it are passed over."""
    with contextlib.suppress(queue.Empty):
        while True:
            delivered = received.get(timeout=PATIENCE)
            if delivered.labels["alertname"] == alert:
                return delivered
    raise AssertionError(f"{alert} was not delivered")


@needs_prometheus
@needs_alertmanager
def test_alerts_of_a_service_reach_the_receiver(
    alertmanager: httpx.Client, deliveries: tuple[int, queue.Queue[Delivered]], tmp_path: Path
) -> None:
    """A page for the model that was unloaded, and one for the service that is killed, arrive with their runbooks."""
    received = deliveries[1]
    address = str(alertmanager.base_url).removeprefix("http://").rstrip("/")
    with (
        running_service(admin=True, metrics_port=0) as service,
        running_prometheus(tmp_path / "prometheus", service, alertmanager=address),
    ):
        httpx.post(f"{service.url}/v2/repository/models/mnist-mlp/unload").raise_for_status()
        no_model = wait_for(received, "MnistNoModel")
        service.process.send_signal(signal.SIGKILL)
        down = wait_for(received, "MnistDown")
    for delivered in (no_model, down):
        assert (delivered.receiver, delivered.status) == ("page", "firing")
        assert delivered.labels["job"] == "mnist"
        assert delivered.annotations["runbook"] == f"{RUNBOOKS}#{delivered.labels['alertname'].lower()}"
    assert down.labels["instance"] == no_model.labels["instance"]


@needs_alertmanager
def test_an_instance_that_is_down_has_no_other_alert(alertmanager: httpx.Client) -> None:
    """MnistDown silences the others of its instance, and a page its ticket; those of others and of the job stay."""

    def alert(name: str, severity: str, **labels: str) -> dict[str, Any]:
        return {"labels": {"alertname": name, "severity": severity, "job": "inhibited", **labels}}

    alerts = [
        alert("MnistDown", "page", instance="a"),
        alert("MnistDrift", "ticket", instance="a", signal="digits"),
        alert("MnistDrift", "ticket", instance="b", signal="digits"),
        alert("MnistErrors", "page"),
        alert("MnistErrors", "ticket"),
        alert("MnistSlow", "ticket"),
        alert("MnistCertificateExpires", "page", instance="b"),
        alert("MnistCertificateExpires", "ticket", instance="c"),
    ]
    alertmanager.post("/api/v2/alerts", json=alerts).raise_for_status()

    def states() -> list[str]:
        found = alertmanager.get("/api/v2/alerts", params={"filter": 'job="inhibited"'}).raise_for_status().json()
        by_labels = {tuple(sorted(each["labels"].items())): each["status"]["state"] for each in found}
        return [by_labels.get(tuple(sorted(each["labels"].items())), "unknown") for each in alerts]

    expected = ["active", "suppressed", "active", "active", "suppressed", "active", "active", "active"]
    until(lambda: states() == expected, "the alerts do not come to these states")
