"""The service runs nothing that comes in a file or a request, starts no program but its own, and calls nobody.

But a process of its own calls the source of versions, where a setting names one.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.pictures import SEVEN
from tests.support.processes import children, open_files, socket_inodes
from tests.support.service import ROOT, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = sorted((ROOT / "service").rglob("*.py"))
# What could run code or programs, or reach out. `service.client` is no part of the running service.
MODULES = set(
    "code codeop ctypes dill ftplib http.client imp joblib jsonpickle marshal multiprocessing pexpect pickle pty "
    "requests runpy shelve smtplib subprocess telnetlib torch urllib.request urllib3 xmlrpc yaml".split()
)
ALLOWED = {
    ("model/check.py", "subprocess"): "the service's own module, in which model versions are checked",
    ("system/confinement.py", "ctypes"): "prctl, so that processes end with their parent",
    ("v2/grpc/heap.py", "ctypes"): "mallopt, so that a large message's memory goes back",
    ("system/memory.py", "ctypes"): "malloc_trim, so that a version's memory goes back",
    ("reader/fork_server.py", "subprocess"): "starts this program's own module, with nothing from outside",
    ("batch/children.py", "subprocess"): "starts this program's own modules, with nothing from outside",
    ("system/orphans.py", "ctypes"): "prctl, so that no process that has ended is left behind",
    ("connection/drain.py", "ctypes"): "a socket's filter, which the kernel takes by its address",
    ("process/watchdog.py", "subprocess"): "Python itself, as the process that watches a service of one process",
    ("client.py", "http.client"): "the client of scripts",
    ("source/fetcher.py", "subprocess"): "Python itself, as the process that pulls versions",
    ("source/registry.py", "requests"): "calls the source of versions, in that process",
    ("source/web.py", "http.client"): "the errors of the next one",
    ("source/web.py", "urllib.request"): "calls the source of versions, in that process",
}
FORKS = {"reader/__main__.py", "process/worker_process.py"}  # readers, within limits, and workers
CALLS = {"__import__", "compile", "eval", "exec", "execv", "execve", "popen", "spawnv", "system", "fork"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules, each with the packages that it is in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def called(tree: ast.Module) -> Iterator[str]:
    """Names of what is called, but for `re.compile`, and keywords that make a call dangerous."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if ast.unparse(node.func) != "re.compile":
                yield name
            for keyword in node.keywords:
                if keyword.arg in {"shell", "allow_pickle"} and ast.unparse(keyword.value) != "False":
                    yield f"{keyword.arg}="


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_service_has_no_way_to_run_what_it_reads(source: Path) -> None:
    """No pickle, marshal, eval, exec, yaml, subprocess or shell; but where a reason stands."""
    tree, path = ast.parse(source.read_text()), source.relative_to(ROOT / "service").as_posix()
    found = {name for name in imported(tree) if name in MODULES}
    assert found == {module for name, module in ALLOWED if name == path}
    found = {name for name in called(tree) if name in CALLS or name.endswith("=")}
    assert found == ({"fork"} if path in FORKS else set())


def outbound(pid: int, port: int) -> list[str]:
    """Its IP sockets that neither listen nor come in at `port`, as /proc/net has them: datagrams too."""
    own, found = socket_inodes(pid), []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in own and int(fields[1].rpartition(":")[2], 16) != port:
                found.append(f"{kind} {fields[1]} to {fields[2]}")
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="tells sockets by /proc")
def test_no_socket_leads_out() -> None:
    """After the start, and while it answers, every socket of the service is its port's: no telemetry, no look-up."""
    with running_service() as service, httpx.Client(base_url=service.url) as client:
        port = int(service.url.rpartition(":")[2])
        assert len(socket_inodes(service.process.pid)) > 1
        for _ in range(100):
            client.post("/predict", content=SEVEN).raise_for_status()
            assert outbound(service.process.pid, port) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_no_library_notes_what_users_do(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime keeps its telemetry in a file in the user's folder, unless it is told not to, until it sends it."""
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)  # of this process, which has imported the service
    monkeypatch.setenv("HOME", str(tmp_path))
    with running_service(workers=workers) as service:
        httpx.post(f"{service.url}/predict", content=SEVEN).raise_for_status()
        files = [target for pid in {service.process.pid, *children(service.process.pid)} for target in open_files(pid)]
        assert [name for name in files if "onnxruntime.db" in name] == []
    assert list(tmp_path.rglob("*")) == []


ALONE = """\
import fcntl, socket, struct
import httpx
with socket.socket() as up:  # a new network has nothing, not even itself, until it is told so
    fcntl.ioctl(up, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
from tests.support.pictures import SEVEN
from tests.support.service import running_service
with running_service() as service:
    seven = open('service/page/seven.png', 'rb').read()
    print(httpx.post(f"{service.url}/predict", content=seven).json()["predictions"][0]["digit"])
"""


def test_it_works_where_there_is_no_network() -> None:
    """In a network namespace of its own, with the loopback alone, it starts and answers as ever."""
    alone = ["unshare", "--map-root-user", "--net", sys.executable, "-c", ALONE]
    if shutil.which("unshare") is None or subprocess.run([*alone[:3], "true"], check=False).returncode:
        pytest.skip("needs unshare, and a kernel that lets users have namespaces")
    run = subprocess.run(alone, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (run.stdout, run.returncode) == ("7\n", 0), run.stderr
