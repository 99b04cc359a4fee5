"""The manifests of deploy/kserve: valid to KServe's SDK, in step with our Deployment, and right to KServe's clients."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from service.settings import Settings
from tests.support.clients import facts
from tests.support.manifests import only, rendered
from tests.support.service import MODELS, ROOT, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.arrays import Probabilities
    from tests.support.manifests import Manifest
    from tests.support.service import Service

FOLDER = ROOT / "deploy" / "kserve"
KUSTOMIZATIONS = sorted(path.parent for path in FOLDER.rglob("kustomization.yaml"))
PORT = 8080  # to which KServe sends requests where a container names no port
# Of a pod; Knative refuses them: knative.dev/serving, pkg/apis/serving/fieldmask.go.
NOT_ON_KNATIVE = {"deploymentStrategy", "securityContext", "terminationGracePeriodSeconds", "topologySpreadConstraints"}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def predictor(folder: Path) -> Manifest:
    found: Manifest = only(rendered(folder), "InferenceService")["spec"]["predictor"]
    return found


def runtime(folder: Path) -> Manifest:
    found: Manifest = only(rendered(folder), "ClusterServingRuntime")["spec"]
    return found


def container(folder: Path) -> Manifest:
    """What KServe makes of the runtime's container and the predictor's model: the latter wins, variable by variable."""
    ours: Manifest = runtime(folder)["containers"][0]
    model = predictor(folder)["model"]
    env = {variable["name"]: variable for variable in (*ours["env"], *model.get("env", []))}
    return ours | {"env": list(env.values()), "ports": model.get("ports", [])}


def variables(folder: Path) -> dict[str, str]:
    """The settings' variables, as the image and KServe together give them."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    of_image = dict(re.findall(r"(MNIST_[A-Z_]+)=(\S+)", dockerfile.rpartition("AS service\n")[2]))
    found = of_image | {variable["name"]: variable["value"] for variable in container(folder)["env"]}
    return {name.removeprefix("MNIST_").lower(): text for name, text in found.items()}


def objections(manifests: list[Manifest], folder: Path) -> Any:
    (folder / "manifests.json").write_text(json.dumps(manifests))
    return facts("kserve_manifests", str(folder / "manifests.json"))


def test_every_manifest_is_valid(tmp_path: Path) -> None:
    """KServe's SDK has each field, of this type, and misses none."""
    every = [manifest for folder in KUSTOMIZATIONS for manifest in rendered(folder)]
    assert len(every) == 2 * len(KUSTOMIZATIONS)
    assert objections(every, tmp_path) == {"objections": []}


def test_a_wrong_manifest_is_noticed(tmp_path: Path) -> None:
    """A typing error in a field of KServe or of Kubernetes, a missing field and another type fail."""

    def wrong(kind: str, path: str, **change: Any) -> Manifest:
        manifest: Manifest = json.loads(json.dumps(only(rendered(FOLDER / "overlays" / "grpc"), kind)))
        at: Any = manifest
        for key in path.split("."):
            at = at[int(key) if key.isdecimal() else key]
        at.update(change)
        for name in [name for name, value in change.items() if value is None]:
            del at[name]
        return manifest

    found = objections(
        [
            wrong("InferenceService", "spec.predictor.model", storageURI="s3://models"),
            wrong("InferenceService", "spec.predictor.topologySpreadConstraints.0", skew=1),
            wrong("InferenceService", "spec.predictor.model", modelFormat=None),
            wrong("InferenceService", "spec.predictor", minReplicas="2"),
            wrong("ClusterServingRuntime", "spec.containers.0.startupProbe.httpGet", port=None),
            wrong("ClusterServingRuntime", "spec.containers.0.securityContext", runAsNonroot=True),
        ],
        tmp_path,
    )["objections"]
    assert [re.split(r"[:\n]", objection)[0] for objection in found] == [
        "InferenceService.spec.predictor.model",
        "InferenceService.spec.predictor.topologySpreadConstraints[0]",
        "InferenceService.spec.predictor.model",
        "InferenceService.spec.predictor.minReplicas",
        "ClusterServingRuntime.spec.containers[0].startupProbe.httpGet",
        "ClusterServingRuntime.spec.containers[0].securityContext",
    ]


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_the_runtime_serves_the_inference_service(folder: Path) -> None:
    """KServe finds the runtime by its name, its format and its protocol, and clients the model by its name."""
    model, spec = predictor(folder)["model"], runtime(folder)
    assert model["runtime"] == only(rendered(folder), "ClusterServingRuntime")["metadata"]["name"]
    assert model["modelFormat"].items() <= spec["supportedModelFormats"][0].items()
    assert model["protocolVersion"] in spec["protocolVersions"]
    # KServe's own parts name the model as the InferenceService is called, and the service as its card says.
    card = json.loads((MODELS / "50" / "model.json").read_text())
    assert only(rendered(folder), "InferenceService")["metadata"]["name"] == card["name"]
    (ours,) = spec["containers"]
    assert ours["name"] == "kserve-container"
    assert not {"args", "command"} & {*ours, *model}


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_ports_probes_and_times_are_those_of_the_deployment(folder: Path) -> None:
    """What kubelet sees of a pod is the same with KServe and without it; only the port is KServe's."""
    (ours,) = only(rendered(ROOT / "deploy" / "kubernetes" / "base"), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    one, chosen = container(folder), Settings.model_validate(variables(folder))
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = ours[probe]["httpGet"]["path"]
        assert one[probe] == ours[probe] | {"httpGet": {"path": path, "port": PORT}}
    assert one["resources"] == ours["resources"]
    assert one["volumeMounts"] == ours["volumeMounts"]
    assert chosen.port == PORT
    assert chosen.workers == 1
    assert [port["containerPort"] for port in one["ports"]] == ([chosen.grpc_port] if chosen.grpc_port else [])
    annotations = runtime(folder)["annotations"]
    assert annotations["prometheus.io/port"] == annotations["prometheus.kserve.io/port"] == str(PORT)
    its = {variable["name"]: variable["value"] for variable in ours["env"]}
    assert chosen.drain_seconds == float(its["MNIST_DRAIN_SECONDS"])
    assert chosen.shutdown_seconds == int(its["MNIST_SHUTDOWN_SECONDS"])


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_pods_meet_the_restricted_profile(folder: Path) -> None:
    """A runtime cannot say it for the pod, so the container does; no token, and no variables of other services."""
    pod = only(rendered(ROOT / "deploy" / "kubernetes" / "base"), "Deployment")["spec"]["template"]["spec"]
    (ours,) = pod["containers"]
    assert container(folder)["securityContext"] == pod["securityContext"] | ours["securityContext"]
    assert runtime(folder)["volumes"] == pod["volumes"]
    assert predictor(folder)["automountServiceAccountToken"] is predictor(folder)["enableServiceLinks"] is False


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_pods_start_and_end_in_a_way_that_the_deployment_mode_has(folder: Path) -> None:
    """On Knative, no field that it refuses; elsewhere, the Deployment's rolling update and grace."""
    spec = predictor(folder)
    mode = only(rendered(folder), "InferenceService")["metadata"]["annotations"]["serving.kserve.io/deploymentMode"]
    if mode == "Knative":
        assert not NOT_ON_KNATIVE & spec.keys()
        assert spec["scaleMetric"] in {"concurrency", "rps"}
        return
    ours = only(rendered(ROOT / "deploy" / "kubernetes" / "base"), "Deployment")["spec"]
    assert spec["deploymentStrategy"] == {"type": "RollingUpdate"} | ours["strategy"]
    assert spec["terminationGracePeriodSeconds"] == ours["template"]["spec"]["terminationGracePeriodSeconds"]
    for constraint in spec["topologySpreadConstraints"]:
        name = only(rendered(folder), "InferenceService")["metadata"]["name"]
        assert constraint["labelSelector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": name}


def test_keda_alone_has_metrics_of_its_own() -> None:
    """KServe refuses `scaleMetric` beside KEDA."""
    folder = FOLDER / "overlays" / "autoscale-on-wait"
    spec = predictor(folder)
    assert not {"scaleMetric", "scaleTarget"} & spec.keys()
    annotations = only(rendered(folder), "InferenceService")["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "keda"
    _, resource = spec["autoScaling"]["metrics"]
    assert resource["resource"]["target"]["type"] == "Utilization"


def test_a_model_comes_from_storage_or_from_the_image() -> None:
    """With `storageUri`, from KServe's folder; without it, from the image's."""
    for folder in KUSTOMIZATIONS:
        model_dir = variables(folder)["model_dir"]
        if "storageUri" in predictor(folder)["model"]:
            assert model_dir == "/mnt/models"
        else:
            assert f"MNIST_MODEL_DIR={model_dir} " in (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the variables of the manifests, but on free ports and with another folder.

    The folder appears after the start and is a link, as KServe gives a model in an OCI image.
    """
    folder = tmp_path_factory.mktemp("mnt") / "models"
    settings: dict[str, Any] = dict(variables(FOLDER / "overlays" / "grpc"))
    del settings["log_format"]  # the addresses are in the lines for people
    settings |= {"host": "127.0.0.1", "port": 0, "grpc_port": 0, "model_dir": folder, "model_version": "latest"}
    with running_service(**settings) as service:
        assert httpx.get(f"{service.url}/livez").status_code == 200
        assert httpx.get(f"{service.url}/readyz").status_code == 503
        folder.symlink_to(MODELS)
        until(lambda: httpx.get(f"{service.url}/readyz").is_success, "the model's folder is noticed")
        yield service
        service.process.kill()  # its drain takes seconds


def test_kserves_rest_client(started: Service, some: Path, offline: Probabilities) -> None:
    """With both versions of the protocol, the model is ready, and the answers are the offline ones."""
    found = facts("kserve", started.url, str(some))
    assert found["live"]
    assert found["ready"]
    assert found["model_ready"]
    assert len(found["asked"]) == 2
    first = facts("kserve", started.url, str(some), "v1")
    assert first["model_ready"]
    answers = [answer["probabilities"] for answer in found["asked"]] + first["asked"]
    for answer in answers:
        assert np.abs(np.array(answer) - offline).max() < 1e-6


def test_kserves_grpc_client(started: Service, some: Path, offline: Probabilities) -> None:
    """Over gRPC as well."""
    found = facts("kserve", started.grpc, str(some))
    assert found["live"]
    assert found["ready"]
    assert found["model_ready"]
    assert len(found["asked"]) == 2
    for answer in found["asked"]:
        assert np.abs(np.array(answer["probabilities"]) - offline).max() < 1e-6
