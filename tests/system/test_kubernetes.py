"""The manifests of deploy/kubernetes: rendered by kubectl, valid, restricted, and in step with settings and image."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.docs import rules
from tests.support.manifests import only, rendered
from tests.support.service import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.manifests import Manifest

FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMAS = ROOT / "tests" / "support" / "kubernetes"  # of custom resources, as their projects publish them
KUSTOMIZATIONS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))
VERSIONS = ("1.35", "1.36", "1.37")
OPERATORS = {"ScaledObject", "PodMonitor", "PrometheusRule"}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def pod(manifests: tuple[Manifest, ...]) -> Manifest:
    spec: Manifest = only(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def container(manifests: tuple[Manifest, ...]) -> Manifest:
    (found,) = pod(manifests)["containers"]
    assert isinstance(found, dict)
    return found


def settings(manifests: tuple[Manifest, ...]) -> Settings:
    """The service's settings, as the image and the manifest together give them."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    of_image = dict(re.findall(r"(MNIST_[A-Z_]+)=(\S+)", dockerfile.rpartition("AS service\n")[2]))
    variables = of_image | {variable["name"]: variable["value"] for variable in container(manifests)["env"]}
    return Settings.model_validate({name.removeprefix("MNIST_").lower(): text for name, text in variables.items()})


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid(folder: Path, version: str) -> None:
    """Kubernetes' schemas have no unknown field of ours, and custom resources fit their projects' schemas."""
    for manifest in rendered(folder):
        if manifest["kind"] in OPERATORS:
            custom = yaml.safe_load((SCHEMAS / f"{manifest['kind'].lower()}s.yaml").read_text())["spec"]
            name = manifest["apiVersion"].partition("/")[2]
            (schema,) = (one["schema"]["openAPIV3Schema"] for one in custom["versions"] if one["name"] == name)
            jsonschema.validate(manifest, _closed(schema))
        else:
            kubernetes_validate.validate(manifest, version, strict=True)


def _closed(schema: Manifest) -> Manifest:
    """The schema, with no other fields than its own, as the API server drops them."""
    closed: Manifest = {
        key: {name: _closed(value) for name, value in part.items()} if key == "properties" else part
        for key, part in schema.items()
    }
    if "pattern" in closed:  # Go allows flags anywhere, Python at the beginning
        closed["pattern"] = re.sub(r"^\^\(\?i\)", "(?i)^", closed["pattern"])
    if isinstance(items := closed.get("items"), dict):
        closed["items"] = _closed(items)
    if "properties" in closed and not closed.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if closed.get("properties", {}).get("metadata") == {"type": "object"}:  # Kubernetes' own
        closed["properties"]["metadata"] = {}
    return closed


def test_a_wrong_field_of_a_custom_resource_is_noticed() -> None:
    """A typing error in a trigger fails."""
    manifest = only(rendered(FOLDER / "overlays" / "autoscale-on-wait"), "ScaledObject")
    schema = yaml.safe_load((SCHEMAS / "scaledobjects.yaml").read_text())["spec"]["versions"][0]["schema"]
    spec = manifest["spec"] | {"pollingIntervall": 5}
    with pytest.raises(jsonschema.ValidationError, match="pollingIntervall"):
        jsonschema.validate(manifest | {"spec": spec}, _closed(schema["openAPIV3Schema"]))


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_pods_meet_the_restricted_profile(folder: Path) -> None:
    """As a namespace demands that enforces it; and pods have no token, and no variables of other services."""
    spec = pod(rendered(folder))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
    for one in (*spec["containers"], *spec.get("initContainers", [])):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert {name for volume in spec["volumes"] for name in volume} <= {
        "name",
        "emptyDir",
        "persistentVolumeClaim",
        "image",
    }
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user
    assert [str(spec["securityContext"][name]) for name in ("runAsUser", "runAsGroup")] == list(user.groups())


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_ports_probes_and_times_are_those_of_the_settings(folder: Path) -> None:
    """Every port is one that the service listens on; the pod has the time to end that the service takes."""
    manifests = rendered(folder)
    one, chosen = container(manifests), settings(manifests)
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    assert ports == {"http": chosen.port, "metrics": chosen.metrics_port}
    assert chosen.workers == 1
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")):
        assert one[probe]["httpGet"] == {"path": path, "port": "http"}
    assert only(manifests, "Service")["spec"]["ports"][0]["targetPort"] == "http"
    # By the drain's end every endpoint is gone: readiness fails at once, and is asked for twice.
    readiness = one["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] < chosen.drain_seconds
    assert chosen.drain_seconds < chosen.shutdown_seconds < pod(manifests)["terminationGracePeriodSeconds"]
    # The service has time to end itself, with its stacks in the log, before Kubernetes does it.
    liveness = one["livenessProbe"]
    assert liveness["periodSeconds"] * liveness["failureThreshold"] > chosen.stall_seconds + 2


def test_a_rolling_update_never_has_fewer_pods() -> None:
    """A new pod is ready first; a drained node takes one at a time."""
    manifests = rendered(FOLDER / "base")
    assert only(manifests, "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert only(manifests, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_every_selector_finds_the_pods(folder: Path) -> None:
    """Deployment, Service, budget, network policy and monitor choose by a label that the pods have."""
    manifests = rendered(folder)
    labels = only(manifests, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for manifest in manifests:
        spec = manifest.get("spec", {})
        for name in ("selector", "podSelector"):
            wanted = spec.get(name, {})
            assert wanted.get("matchLabels", wanted).items() <= labels.items(), manifest["kind"]


def test_an_autoscaler_owns_the_number_of_pods() -> None:
    """Applying the manifests again does not set the number back."""
    for name in ("autoscale-on-cpu", "autoscale-on-wait"):
        assert "replicas" not in only(rendered(FOLDER / "overlays" / name), "Deployment")["spec"]


def test_the_rules_are_those_of_prometheus() -> None:
    """`python -m tests.docs.rules` writes them again. The monitor gives each pod the job that they look for."""
    assert rules.RULE.read_text() == rules.rule()
    manifests = rendered(FOLDER / "overlays" / "monitoring")
    groups = [group for source in rules.SOURCES for group in yaml.safe_load(source.read_text())["groups"]]
    assert only(manifests, "PrometheusRule")["spec"]["groups"] == groups
    (endpoint,) = only(manifests, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in container(manifests)["ports"]}
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "mnist"}]


def test_memory_limits_are_those_of_compose() -> None:
    """One figure for one worker."""
    limit = container(rendered(FOLDER / "base"))["resources"]["limits"]["memory"]
    compose = re.findall(r"memory: (\d+)m", (ROOT / "docker-compose.yml").read_text())[0]
    assert limit == f"{compose}Mi"
