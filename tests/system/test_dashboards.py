"""The dashboards: the files are what the program writes, and no panel is empty over a service under load.

A real Prometheus with the committed rules scrapes a real service of two workers with TLS, keys, gRPC and a canary.
Every query of every panel, mark and variable is asked, and every expression of every rule. Skipped where Prometheus is
not installed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
import yaml
from PIL import Image

from deploy.grafana.build import DASHBOARDS, build
from service.access import keys
from service.versions.choice import CANARY
from tests.support.dashboards import FOLDER, NAMES, dashboard, panels, promql
from tests.support.grpc import infer, request
from tests.support.pictures import SEVEN, Digits, drawn, png
from tests.support.prometheus import COMMITTED, needs_prometheus, running_prometheus
from tests.support.service import MODELS, VERSION, certificate, running_service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.prometheus import Prometheus
    from tests.support.service import Service


def until_nothing(missing: Callable[[], list[str]]) -> None:
    """Waits until nothing is missing; says what is."""
    left: list[str] = []

    def is_complete() -> bool:
        left[:] = missing()
        return not left

    with contextlib.suppress(AssertionError):
        until(is_complete, "")
    assert left == []


@dataclass
class Load:
    """Requests of all kinds to one service, by a client who has a key."""

    service: Service
    key: str
    chain: bytes
    digits: Digits

    def send(self) -> None:
        """Asks every route for pictures, also with wrong ones; 150 pictures at least."""
        images = self.digits.images
        headers = {"X-API-Key": self.key}
        with httpx.Client(base_url=self.service.url, headers=headers) as client:
            jpeg = io.BytesIO()
            Image.fromarray(drawn(300)).save(jpeg, "JPEG")
            for body in (SEVEN, jpeg.getvalue(), png(255 - images[0]), png(drawn(40) * 0)):
                client.post("/predict", content=body).raise_for_status()
            for start in range(0, 150, 25):
                files = [("images", ("digit.png", png(image))) for image in images[start : start + 25]]
                client.post("/predict", files=files).raise_for_status()
            for path in ("/predictions/mnist-mlp", "/predict?explain=1"):
                client.post(path, content=SEVEN).raise_for_status()
            instance = {"image": {"b64": base64.b64encode(SEVEN).decode()}}
            client.post("/v1/models/mnist-mlp:predict", json={"instances": [instance]}).raise_for_status()
            tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}
            client.post("/v2/models/mnist-mlp/infer", json={"inputs": [tensor]}).raise_for_status()
            assert client.post("/predict", content=b"no picture").status_code == 415
            assert client.post("/predict", content=png(images[0])[:-30]).status_code == 415
            assert client.post("/predict", content=SEVEN, headers={"X-API-Key": "wrong"}).status_code == 401
            client.get("/readyz").raise_for_status()
        credentials = grpc.ssl_channel_credentials(self.chain)
        with grpc.secure_channel(self.service.grpc, credentials) as channel:
            infer(channel, request(images[:3].tobytes()), metadata=(("x-api-key", self.key),))


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Iterator[Load]:
    """A service with all that a metric can be about, and who asks it."""
    folder = tmp_path_factory.mktemp("service")
    for version in (VERSION, "2"):
        shutil.copytree(MODELS / version, folder / "mnist-mlp" / version)
    (folder / "mnist-mlp" / CANARY).write_text("2 20\n")
    key, line = keys.new("shop", "infer", None, "2999-12-31")
    (folder / "keys.txt").write_text(line)
    chain, private = certificate(folder)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(chain))
        with running_service(
            workers=2,
            model_dir=folder / "mnist-mlp",
            grpc_port=0,
            metrics_port=0,
            api_keys_file=folder / "keys.txt",
            tls_cert_file=chain,
            tls_key_file=private,
        ) as service:
            yield Load(service, key, chain.read_bytes(), digits)


@pytest.fixture(scope="module")
def prometheus(load: Load, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), load.service, each_second=True) as prometheus:
        yield prometheus


@pytest.mark.parametrize("content", DASHBOARDS, ids=NAMES)
def test_the_files_are_what_the_program_writes(content: Any) -> None:
    """`python -m deploy.grafana` would change no committed file, and there is no other."""
    assert (FOLDER / f"{content.NAME}.json").read_text() == build(content)
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_panels_explain_themselves(name: str) -> None:
    """Each panel has a title of its own, a sentence that explains it, and a unit; a row is full or ends the section."""
    found = panels(name)
    assert len({panel["title"] for panel in found}) == len(found)
    for panel in found:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] in ("heatmap", "table") or panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        names = [target["refId"] for target in panel["targets"]]
        assert all(names)
        assert len(set(names)) == len(names)
    right = 0
    for position in (panel["gridPos"] for panel in dashboard(name)["panels"]):
        assert position["x"] == right % 24
        right = position["x"] + position["w"]
        assert right <= 24
    assert right == 24


@needs_prometheus
def test_no_panel_is_empty(load: Load, prometheus: Prometheus) -> None:
    """Each query of each panel has a number, and each label that its legend or its columns name."""
    queries = {
        (name, panel["title"], promql(target["expr"])): re.findall(r"{{(\w+)}}", target["legendFormat"])
        for name in NAMES
        for panel in panels(name)
        for target in panel["targets"]
    }
    assert len(queries) > 60
    tables = [panel for name in NAMES for panel in panels(name) if panel["type"] == "table"]

    def empty() -> list[str]:
        load.send()
        found = []
        for (name, title, query), labels in queries.items():
            results = prometheus.vector(query)
            if not any(math.isfinite(value) for _, value in results):
                found.append(f"{name}, {title}: {query}")
            assert all(label in metric for metric, _ in results for label in labels), (name, title, labels, results)
        return found

    for _ in range(3):  # 450 pictures, for the drift
        load.send()
    until_nothing(empty)
    for panel in tables:
        columns = panel["transformations"][0]["options"]["include"]["names"]
        for metric, _ in prometheus.vector(promql(panel["targets"][0]["expr"])):
            assert set(columns) <= set(metric)


def test_one_worker_has_the_metrics_too(server: Service) -> None:
    """Each metric of a panel is exported by a service of one process."""
    exported = set(re.findall(r"^# HELP (mnist_\w+)", httpx.get(server.metrics).text, re.MULTILINE))
    exprs = [target["expr"] for name in NAMES for panel in panels(name) for target in panel["targets"]]
    shown = {re.sub(r"_(bucket|sum|count)$", "", metric) for expr in exprs for metric in re.findall(r"mnist_\w+", expr)}
    assert len(shown) > 30
    assert shown <= exported


@needs_prometheus
def test_every_variable_has_values_and_every_mark_is_promql(load: Load, prometheus: Prometheus) -> None:
    """The lists of services and instances are filled; a mark may have nothing to mark."""
    for name in NAMES:
        found = dashboard(name)
        for variable in found["templating"]["list"]:
            if variable["type"] == "query":
                metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
                query = f"count by ({label}) ({promql(metric)})"
                until(lambda query=query: prometheus.vector(query), query)  # type: ignore[misc]
        for mark in found["annotations"]["list"]:
            prometheus.vector(promql(mark["expr"]))


@needs_prometheus
def test_every_rule_is_evaluated_and_can_fire(load: Load, prometheus: Prometheus) -> None:
    """No rule has an error, each recorded series is there, and so is each series that an alert compares."""
    load.send()
    until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), "a rule is not evaluated")
    rules = prometheus.rules()
    groups = [yaml.safe_load((COMMITTED / name).read_text())["groups"] for name in ("slo.yml", "alerts.yml")]
    assert len(rules) == sum(len(group["rules"]) for found in groups for group in found)
    exprs = [rule["query"] for rule in rules]
    for expr in exprs:
        prometheus.vector(expr)
    # No response had a 5xx, whose codes have no series.
    selectors = {
        re.sub(r'code=~"5\.\.",', "", selector)
        for expr in exprs
        for selector in re.findall(r'(?:mnist_|job:)[\w:]+(?:\{(?:[^}"]|"[^"]*")*\})?', expr)
    } | {rule["name"] for rule in rules if rule["type"] == "recording"}
    assert len(selectors) > 30
    until_nothing(lambda: [selector for selector in selectors if not prometheus.vector(f"count({selector})")])
