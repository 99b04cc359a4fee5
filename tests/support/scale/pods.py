"""A Deployment on this machine: services as pods behind an edge, with the times of deploy/kubernetes/base.

In: how many pods there should be. Out: processes that are started, probed, ended and restarted as Kubernetes does it,
and the addresses of those that are ready, as its endpoints. A pod has an address of a fixed set. Every time of the
manifest is divided by a speed. It knows no edge and no load.
"""

from __future__ import annotations

import compileall
import contextlib
import http.client
import math
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from tests.support.service import MODELS, ROOT, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

KUBERNETES = ROOT / "deploy" / "kubernetes"
PORTS = range(20000, 32000)  # the system gives none of them to connections of its own
START_SECONDS = 120
SETTLE_SECONDS = 2  # after which a ready pod has started its readers, and gets its share of a core
LOOK_SECONDS = 0.02  # between two looks at the pods
PROBE_SECONDS = 2  # that a probe waits
CPU = Path("/sys/fs/cgroup/cpu")  # of cgroup v1
PERIOD = 10_000  # µs; a share is 1 ms at least


@dataclass(frozen=True)
class Times:
    """Of the manifest, in seconds, divided by the speed."""

    drain: float
    startup: float  # between two probes
    readiness: float
    failures: int  # of readiness, until the pod is not ready

    @classmethod
    def read(cls, speed: float) -> Times:
        """Read deploy/kubernetes/base."""
        manifest = yaml.safe_load((KUBERNETES / "base" / "deployment.yaml").read_text())
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        variables = {each["name"]: each["value"] for each in container["env"]}
        return cls(
            float(variables["MNIST_DRAIN_SECONDS"]) / speed,
            container["startupProbe"]["periodSeconds"] / speed,
            container["readinessProbe"]["periodSeconds"] / speed,
            container["readinessProbe"]["failureThreshold"],
        )


@dataclass
class Pod:
    """A service of one worker at an address of the set."""

    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]

    ready: bool = False
    limit_at: float = math.inf  # seconds, monotonic
    failures: int = 0  # of readiness, one after another
    probe_at: float = 0.0  # the next one, seconds, monotonic

    def answers_ready(self) -> bool:
        """Probe it as the manifest says."""
        probe = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PROBE_SECONDS)
        with contextlib.closing(probe), contextlib.suppress(OSError, http.client.HTTPException):
            probe.request("GET", "/readyz")
            return probe.getresponse().status == 200
        return False

    def metric(self, name: str) -> float:
        """The value of a metric, or of one series of it: the sum over the labels that `name` does not have."""
        text = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics").text
        found = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert found, name
        return sum(map(float, found))

    def signal(self, number: int) -> None:
        """Signal the container's processes; SIGTERM goes to the first alone."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if number == signal.SIGKILL else os.kill)(self.process.pid, number)


@dataclass
class Deployment:
    """The pods; `ending` are those that do not count any more."""

    times: Times
    cores: float  # of each pod; 0: no limit
    addresses: list[tuple[int, int]]  # the ports of each: of HTTP, of metrics
    pods: list[Pod] = field(default_factory=list)
    ending: list[Pod] = field(default_factory=list)

    @property
    def urls(self) -> list[str]:
        """Every address that a pod may have."""
        return [f"http://127.0.0.1:{port}" for port, _ in self.addresses]

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the pods that are ready, and not ending."""
        return [f"http://127.0.0.1:{pod.port}" for pod in list(self.pods) if pod.ready]

    def probe(self) -> None:
        """Ask each pod whose probe is due whether it is ready."""
        for pod in list(self.pods):
            if time.monotonic() < pod.probe_at:
                continue
            pod.failures = 0 if pod.answers_ready() else pod.failures + 1
            pod.ready = pod.failures == 0 or (pod.ready and pod.failures < self.times.failures)
            if pod.ready:
                pod.limit_at = min(pod.limit_at, time.monotonic() + SETTLE_SECONDS)
            if self.cores and time.monotonic() > pod.limit_at:
                _limit(_group(pod.port), self.cores)
            pod.probe_at = time.monotonic() + (self.times.readiness if pod.ready else self.times.startup)

    def start(self) -> Pod:
        """Start a pod, when an address is free, without waiting until it is ready."""
        while not (free := self._free_addresses()):
            time.sleep(LOOK_SECONDS)
        pod = self._start(free[0])
        self.pods.append(pod)
        return pod

    def _free_addresses(self) -> list[tuple[int, int]]:
        self.ending = [pod for pod in self.ending if pod.process.poll() is None]
        taken = {pod.port for pod in (*self.pods, *self.ending)}
        return [address for address in self.addresses if address[0] not in taken]

    def _start(self, address: tuple[int, int]) -> Pod:
        port, metrics_port = address
        settings: dict[str, Any] = {
            "port": port,
            "metrics_port": metrics_port,
            "workers": 1,
            "model_dir": MODELS,
            "model_version": VERSION,
            "drain_seconds": self.times.drain,
            "trusted_proxies": "127.0.0.1",
            "log_level": "error",
        }
        environment = os.environ | {f"MNIST_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "service"]
        if self.cores:
            group = _group(port)
            group.mkdir(exist_ok=True)
            _limit(group, None)  # it starts on as much as there is
            command = ["sh", "-c", f'echo $$ > {group}/tasks; exec "$@"', "sh", *command]
        return Pod(
            port,
            metrics_port,
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True),
        )

    def wait_until_ready(self, pod: Pod) -> None:
        """Wait until the pod's probe has succeeded."""
        deadline = time.monotonic() + START_SECONDS
        while not pod.ready:
            assert pod.process.poll() is None, f"a pod ended with exit code {pod.process.returncode}"
            assert time.monotonic() < deadline, "a pod does not become ready"
            time.sleep(LOOK_SECONDS)

    def scale(self, replicas: int) -> None:
        """Start pods or end the newest, and wait until those that are left are ready."""
        while len(self.pods) > replicas:
            self.end(self.pods[-1])
        for pod in [self.start() for _ in range(replicas - len(self.pods))]:
            self.wait_until_ready(pod)

    def end(self, pod: Pod) -> None:
        """Send SIGTERM, without waiting for the end."""
        self.pods.remove(pod)
        self.ending.append(pod)
        pod.signal(signal.SIGTERM)

    def kill(self, pod: Pod) -> None:
        """Send SIGKILL to all its processes, and start it again at its address, as the node would; wait until ready."""
        pod.signal(signal.SIGKILL)
        pod.process.wait()
        self.pods[self.pods.index(pod)] = again = self._start((pod.port, pod.metrics_port))
        self.wait_until_ready(again)

    def drain(self, pod: Pod) -> None:
        """End a pod, and start another when it has ended."""
        self.end(pod)
        assert pod.process.wait(START_SECONDS) == 0
        self.wait_until_ready(self.start())

    def roll(self) -> None:
        """Replace every pod: the new one is ready before the old one ends (maxSurge 1, maxUnavailable 0)."""
        for pod in list(self.pods):
            self.wait_until_ready(self.start())
            self.end(pod)


def _group(port: int) -> Path:
    return CPU / f"mnist-scale-{port}"


def _limit(group: Path, cores: float | None) -> None:
    (group / "cpu.cfs_period_us").write_text(str(PERIOD))
    (group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD)) if cores else "-1")


def _remove(group: Path) -> None:
    """Remove a group, when the processes that a killed pod leaves behind have ended too."""
    deadline = time.monotonic() + START_SECONDS
    while group.exists() and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(LOOK_SECONDS)


def can_limit() -> bool:
    """Whether this system lets a pod have a share of a core."""
    return os.access(CPU / "cpu.cfs_quota_us", os.W_OK)


@contextlib.contextmanager
def running_deployment(replicas: int, most: int, *, speed: float, cores: float = 0) -> Iterator[Deployment]:
    """So many pods that are ready, at addresses for `most`, and are probed by a thread; they end with the context."""
    compileall.compile_dir(ROOT / "service", quiet=1)  # as pip does
    ports = _free_ports(2 * most)
    addresses = list(zip(ports[:most], ports[most:], strict=True))
    deployment = Deployment(Times.read(speed), cores, addresses)
    over = threading.Event()

    def probe() -> None:
        while not over.wait(LOOK_SECONDS):
            deployment.probe()

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        deployment.scale(replicas)
        yield deployment
    finally:
        over.set()
        thread.join()
        for pod in (*deployment.pods, *deployment.ending):
            pod.signal(signal.SIGKILL)
            pod.process.wait()
        for port, _ in addresses:
            _remove(_group(port))


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no ports are free")
