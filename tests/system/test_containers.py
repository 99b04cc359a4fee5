"""The container files: what the images hold and run as, and what Compose grants them.

hadolint and compose-spec read the files as Docker would; the rest are promises that people rely on. No image is built
here. The health check is run as it stands in the Dockerfile, against a real service.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from compose_spec import PyCompose

from service.settings import Settings
from tests.support.service import certificate, running_service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.service import Service

ROOT = Path(__file__).parents[2]
HADOLINT = Path(sys.executable).with_name("hadolint")


@dataclass
class Stage:
    """One `FROM … AS name` of the Dockerfile: its base, and its instructions in order."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [arguments for instruction, arguments in self.instructions if instruction == word]

    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for line in self.all("ENV") for pair in line.split())


def read_dockerfile() -> dict[str, Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, arguments = line.partition(" ")
        if word == "FROM":
            base, _, name = arguments.partition(" AS ")
            stages[name] = Stage(base)
        elif word:
            stages[name].instructions.append((word, arguments))
    return stages


def read_compose() -> PyCompose:
    """The Compose file as it is when no variable of the environment changes it."""
    return PyCompose.from_yaml(with_variables({}))


def with_variables(variables: Mapping[str, str]) -> str:
    """The text of the Compose file as Compose reads it: `${NAME:-without}` and `${NAME:+with}` are replaced."""

    def value(found: re.Match[str]) -> str:
        name, sign, word = found.groups()
        given = variables.get(name, "")
        return (word if given else "") if sign == "+" else given or word

    return re.sub(r"\$\{(\w+):([-+])([^}]*)\}", value, (ROOT / "docker-compose.yml").read_text())


STAGES = read_dockerfile()
IMAGES = ("service", "training")
COMPOSE = read_compose().to_dict()["services"]


def into(image: str) -> str:
    """Every instruction that can bring something into an image: its own, its bases', and those it copies from."""
    stage = STAGES[image]
    sources = {found[1] for line in stage.all("COPY") if (found := re.match(r"--from=(\S+)", line))}
    origins = [name for name in (stage.base, *sources) if name in STAGES]
    return "\n".join([*(f"{word} {arguments}" for word, arguments in stage.instructions), *map(into, origins)])


def health_check() -> list[str]:
    (line,) = STAGES["service"].all("HEALTHCHECK")
    command: list[str] = json.loads(line.partition(" CMD ")[2])
    return [sys.executable, *command[1:]]


def is_healthy(**variables: object) -> bool:
    proxies = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    environment = os.environ | proxies | {name: str(value) for name, value in variables.items()}
    return subprocess.run(health_check(), env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile follows hadolint's rules, every one."""
    run = subprocess.run([HADOLINT, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("", 0)


def test_a_plain_build_makes_the_service() -> None:
    """`docker build .` builds the last stage, and that is the service."""
    assert list(STAGES)[-1] == "service"


def test_the_service_holds_no_training() -> None:
    """Nothing of training, of torch or of the tests comes into the service's image, by no way round."""
    assert "serving.txt" in into("service")
    assert not re.search(r"training|torch|tests|COPY \. ", into("service"))
    assert "torch.txt" in into("training")


def test_dependencies_are_checked_by_hash() -> None:
    """Every installation is held to the hashes of a lock file, but for torch, whose build is the machine's choice."""
    installs = [line for stage in STAGES.values() for run in stage.all("RUN") for line in run.split("&&")]
    locks = [line for line in installs if " install " in line and "torch.txt" not in line]
    assert len(locks) == len(IMAGES)
    assert all("--require-hashes" in line and "--no-cache-dir" in line for line in locks)


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_numbered_user(image: str) -> None:
    """The last user of each image is a number other than 0, so that an orchestrator can see that it isn't root."""
    user, _, group = STAGES[image].all("USER")[-1].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_service_may_write_to_the_volume_of_pulled_versions() -> None:
    """A new volume of Docker's takes the mode of the image's folder; the service's user owns none of its own."""
    text = (ROOT / "docs" / "operations" / "model-sources.md").read_text()
    (volume,) = re.findall(r"docker run .* -v [\w-]+:(/\S+) -e MNIST_MODEL_DIR=\1 ", text)
    assert f"mkdir -m 1777 {volume}" in STAGES["service"].all("RUN")


@pytest.mark.parametrize("image", IMAGES)
def test_signals_reach_the_program(image: str) -> None:
    """The program is started without a shell in between, which would swallow SIGTERM."""
    (entrypoint,) = STAGES[image].all("ENTRYPOINT")
    assert json.loads(entrypoint)[:3] == ["python", "-m", image]


def test_the_service_finds_its_settings_in_the_image() -> None:
    """Every MNIST_ variable of the image and of Compose is a setting; the service is reachable from outside."""
    environment = STAGES["service"].environment() | COMPOSE["service"]["environment"]
    values = {name.removeprefix("MNIST_").lower(): value for name, value in environment.items() if "MNIST_" in name}
    assert set(values) <= set(Settings.model_fields)
    settings = Settings(**values)
    assert (settings.host, settings.workers) == ("0.0.0.0", 1)  # noqa: S104 - compared, not bound
    assert settings.model_dir.parent == Path("/models")


def test_the_health_check_tells_ready_from_gone(server: Service) -> None:
    """The image's health check succeeds on a ready service, whatever proxy is set, and fails where none answers."""
    port = server.url.rpartition(":")[2]
    assert is_healthy(MNIST_PORT=port)
    assert not is_healthy(MNIST_PORT=1)
    assert is_healthy(PORT=port)
    assert is_healthy(PORT=port, MNIST_PORT="tcp://10.0.0.1:8000")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_the_health_check_asks_over_tls_where_the_service_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Service
) -> None:
    """By the setting that the service reads, whatever name the certificate has; and TLS is not taken for HTTP."""
    chain, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))  # for httpx, where the service is awaited
    with running_service(tls_cert_file=chain, tls_key_file=key) as service:
        port = service.url.rpartition(":")[2]
        monkeypatch.delenv("SSL_CERT_FILE")
        assert is_healthy(MNIST_PORT=port, MNIST_TLS_CERT_FILE=chain)
        assert not is_healthy(MNIST_PORT=port)
        assert not is_healthy(MNIST_PORT=server.url.rpartition(":")[2], MNIST_TLS_CERT_FILE=chain)


def test_the_build_sees_only_what_it_copies() -> None:
    """.dockerignore lets in what the Dockerfile copies, the committed version of the model, and nothing else."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    admitted = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for stage in STAGES.values()
        for line in stage.all("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert lines[0] == "*"
    for source in copied:
        assert [pattern for pattern in admitted if Path(source).match(pattern) or pattern.startswith(f"{source}/")]
    for pattern in admitted:
        assert [source for source in copied if Path(source).match(pattern) or pattern.startswith(f"{source}/")]


def test_compose_knows_every_word() -> None:
    """The Compose file obeys the Compose specification."""
    read_compose().validate()


@pytest.mark.parametrize("name", COMPOSE)
def test_containers_get_no_more_than_they_need(name: str) -> None:
    """Each container has a read-only root, no capability, no way to new privileges, and an end to CPU and memory."""
    service = COMPOSE[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


@pytest.mark.parametrize("name", COMPOSE)
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    """A port is published on the loopback address; opening it to a network is a person's decision."""
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE[name].get("ports", []))


def mounts(name: str) -> list[list[str]]:
    return [volume.split(":") for volume in COMPOSE[name].get("volumes", [])]


@pytest.mark.parametrize("name", COMPOSE)
def test_what_is_mounted_exists(name: str) -> None:
    """Each mount is a folder of the repository or a declared volume: Docker would make a missing folder, as root."""
    declared = read_compose().to_dict()["volumes"]
    for source, *_ in mounts(name):
        assert (ROOT / source).is_dir() if source.startswith(".") else source in declared


def test_only_training_writes_models() -> None:
    """The service and Prometheus read the repository's folders; training alone can write one, models/."""
    writable = {
        (name, mount[0]) for name in COMPOSE for mount in mounts(name) if mount[0].startswith(".") and "ro" not in mount
    }
    assert writable == {("train", "./models")}


def test_training_and_tracing_start_only_when_asked() -> None:
    """`docker compose up` serves, and shows it; training is a profile of its own, and builds its own stage."""
    profiles = {name: COMPOSE[name]["profiles"] for name in COMPOSE if "profiles" in COMPOSE[name]}
    assert profiles == {"collector": ["tracing"], "jaeger": ["tracing"], "train": ["train"]}
    assert COMPOSE["train"]["build"]["target"] in STAGES


def test_the_service_traces_with_the_profile_alone() -> None:
    """Its image can; it sends spans to the collector, which takes them there, and to nobody without the profile."""
    variable = "OTEL_EXPORTER_OTLP_ENDPOINT"
    extras = COMPOSE["service"]["build"]["args"]["EXTRAS"].split()
    assert extras == ["otel"]
    assert {path.stem for path in (ROOT / "requirements" / "extras").iterdir()} >= set(extras)
    assert COMPOSE["service"]["environment"][variable] == ""
    traced = yaml.safe_load(with_variables({"COMPOSE_PROFILES": "tracing"}))["services"]["service"]
    host, _, port = traced["environment"][variable].removeprefix("http://").partition(":")
    assert "tracing" in COMPOSE[host]["profiles"]
    collector = yaml.safe_load((ROOT / "deploy" / "otel" / "collector.yml").read_text())
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"] == f"0.0.0.0:{port}"
    pipeline = collector["service"]["pipelines"]["traces"]
    assert all(set(pipeline[kind]) <= set(collector[kind]) for kind in ("receivers", "processors", "exporters"))
    assert COMPOSE[collector["exporters"]["otlp"]["endpoint"].partition(":")[0]]["profiles"] == ["tracing"]


def test_images_of_others_are_pinned() -> None:
    """Each image that is not built here has a whole version."""
    others = [COMPOSE[name]["image"] for name in COMPOSE if "build" not in COMPOSE[name]]
    assert len(others) == 5
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) for image in others)


def target(name: str, path: str) -> Path:
    """The file of the repository that a container has at this path."""
    for source, place, *_ in mounts(name):
        if source.startswith(".") and path.startswith(place):
            return ROOT / source / Path(path).relative_to(place)
    raise AssertionError(path)


def test_what_is_configured_is_mounted() -> None:
    """Each configuration that a command names is a file here, and Grafana finds its data source and its dashboards."""
    for name in ("prometheus", "alertmanager", "collector"):
        (config,) = re.findall(r"--config(?:\.file)?=(\S+)", " ".join(COMPOSE[name]["command"]))
        assert target(name, config).is_file()
    provisioning = target("grafana", "/etc/grafana/provisioning")
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    assert COMPOSE[host]["ports"][0].endswith(f":{port}")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "mnist.yml").read_text())["providers"]
    boards = target("grafana", provider["options"]["path"])
    assert {path.stem for path in boards.glob("*.json")} == {"service", "pictures", "process"}
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert target("grafana", home).parent == boards
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    (alertmanager,) = scrape["alerting"]["alertmanagers"]
    assert alertmanager["dns_sd_configs"][0]["names"] == ["alertmanager"]
    assert {name for config in scrape["scrape_configs"] for name in config["dns_sd_configs"][0]["names"]} == {"service"}


def test_grafana_lets_everyone_look_and_nobody_change() -> None:
    """There is no account, and so no password: whoever reaches its port is a viewer."""
    environment = COMPOSE["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not [name for name in environment if "PASSWORD" in name]


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text[:-1])


def test_open_requests_may_finish_before_the_container_is_killed() -> None:
    """The grace period at a stop is longer than the time the service gives its open requests."""
    service: dict[str, Any] = COMPOSE["service"]
    assert seconds(service["stop_grace_period"]) > int(service["environment"]["MNIST_SHUTDOWN_SECONDS"])


def test_containers_are_watched() -> None:
    """What runs for long has a health check, and starts again when it exits."""
    for name in ("service", "prometheus", "alertmanager", "grafana"):
        assert "healthcheck" in COMPOSE[name] or STAGES[name].all("HEALTHCHECK")
        assert COMPOSE[name]["restart"] == "unless-stopped"
