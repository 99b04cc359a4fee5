"""docker-compose.scale.yml over docker-compose.yml: many services behind an edge, which is all that is published."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.settings import Settings
from tests.support.edges import CERTIFICATE, DEPLOY
from tests.support.service import ROOT

TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.scale.yml").read_text())
# As Docker expands `<<`, and without its word that empties what docker-compose.yml has.
COMPOSE = PyCompose.from_yaml(yaml.safe_dump(yaml.safe_load(TEXT.replace("!reset", ""))))
SERVICES: dict[str, dict[str, Any]] = COMPOSE.to_dict()["services"]
BASE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["service"]
EDGES = ("haproxy", "nginx", "envoy")


def test_compose_knows_every_word() -> None:
    """The file obeys the Compose specification."""
    COMPOSE.validate()


def test_the_services_are_reached_through_the_edge_alone() -> None:
    """Their port is published no more; they drain, and trust the network in which the edge is."""
    assert re.search(r"^    ports: !reset \[\]", TEXT, re.MULTILINE)
    settings = Settings.model_validate(
        {
            name.removeprefix("MNIST_").lower(): value
            for name, value in (BASE["environment"] | SERVICES["service"]["environment"]).items()
        }
    )
    assert 0 < settings.drain_seconds < settings.shutdown_seconds
    (network,) = COMPOSE.to_dict()["networks"]["default"]["ipam"]["config"]
    assert ip_network(settings.trusted_proxies or "") == ip_network(network["subnet"])


@pytest.mark.parametrize("name", EDGES)
def test_edges_get_no_more_than_they_need(name: str) -> None:
    """An edge has the restrictions of the service, starts only when it is asked for, and ends after its requests."""
    edge = SERVICES[name]
    assert {key: edge[key] for key in ("read_only", "cap_drop", "security_opt", "restart")} == {
        key: BASE[key] for key in ("read_only", "cap_drop", "security_opt", "restart")
    }
    assert {"cpus", "memory", "pids"} <= set(edge["deploy"]["resources"]["limits"])
    assert edge["user"].split(":")[0] != "0"
    assert edge["profiles"] == [name]
    assert all(port.startswith("127.0.0.1:") for port in edge["ports"])
    assert edge["stop_grace_period"] == "40s"


@pytest.mark.parametrize("name", EDGES)
def test_edges_find_their_files_and_the_services(name: str) -> None:
    """The command names files of the mounted folder; these name the certificate, the port and the service."""
    edge = SERVICES[name]
    (mount,) = edge["volumes"]
    assert mount == f"./deploy/{name}:/etc/edge:ro"
    files = [word.rpartition("/")[2] for word in edge["command"] if word.startswith("/etc/edge/")]
    assert files
    text = "".join(path.read_text() for path in (DEPLOY / name).iterdir())
    assert all((DEPLOY / name / file).is_file() for file in files)
    assert f"/run/secrets/{edge['secrets'][0]}" == CERTIFICATE
    assert CERTIFICATE in text
    assert edge["ports"][0].endswith(":8443")
    assert "8443" in text
    port = BASE["environment"]["MNIST_PORT"]
    assert f"service:{port}" in text or f"address: service, port_value: {port}" in text
