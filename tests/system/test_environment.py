"""Surroundings that are not as they should be: the service serves on, or ends with one line that says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.http import connect
from tests.support.metrics import settled
from tests.support.pictures import Digits, png
from tests.support.processes import needs_root, with_mounts
from tests.support.service import ROOT, Service, running_service, until

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def answers(service: Service, digits: Digits) -> bool:
    return httpx.post(f"{service.url}/predict", content=png(digits.images[0])).status_code == 200


@needs_root
def test_full_memory_for_metrics_is_passed_over(digits: Digits) -> None:
    """With two workers and no room in /dev/shm the metrics are shared on the disk."""
    with running_service(workers=2, under=with_mounts("mount -t tmpfs -o size=64k none /dev/shm")) as service:
        for _ in range(5):
            assert answers(service, digits)
        settled(service.url, 5)


@needs_root
@pytest.mark.parametrize(
    ("mounts", "said"),
    [
        (
            "for folder in /dev/shm $SMALL; do mount -t tmpfs -o size=64k none $folder; done; export TMPDIR=$SMALL",
            "service: the workers' metrics need 16 MiB, and neither /dev/shm nor {small} has them; "
            "set TMPDIR, or MNIST_WORKERS=1\n",
        ),
        (
            "for folder in /dev/shm /tmp /var/tmp $PWD; do mount --bind -r $folder $folder; done; unset TMPDIR",
            "service: [Errno 2] No usable temporary directory found in",
        ),
    ],
    ids=["full", "read-only"],
)
def test_no_place_for_metrics_is_told(mounts: str, said: str, tmp_path: Path) -> None:
    """One line, and exit code 4; with one worker nothing is written at all."""
    command = [sys.executable, "-m", "service", "--port", "0"]
    ended = subprocess.run(
        [*with_mounts(mounts), *command, "--workers", "2"],
        cwd=ROOT,
        env=os.environ | {"SMALL": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 4
    assert ended.stderr.startswith(said.format(small=tmp_path))
    assert ended.stderr.count("\n") == 1


@needs_root
def test_a_read_only_disk_is_enough_for_one_worker(digits: Digits) -> None:
    """As containers with a read-only root have it."""
    mounts = "for folder in /dev/shm /tmp /var/tmp $PWD; do mount --bind -r $folder $folder; done"
    with running_service(under=with_mounts(mounts)) as service:
        assert answers(service, digits)


@needs_root
def test_no_names_are_looked_up(digits: Digits) -> None:
    """Without DNS and without /etc/hosts it starts and answers."""
    mounts = "for file in /etc/hosts /etc/resolv.conf; do mount --bind /dev/null $file; done"
    with running_service(under=with_mounts(mounts)) as service:
        assert answers(service, digits)


@needs_root
@pytest.mark.parametrize("workers", [1, 2])
def test_any_user_will_do(digits: Digits, workers: int) -> None:
    """A number that no passwd file knows, as some platforms choose it, without a home and without privileges."""
    # All of what root may, but to be root: so it reads this checkout wherever it lies.
    read = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = ["setpriv", "--reuid=41235", "--regid=0", "--clear-groups", *read, "env", "HOME=/nonexistent"]
    with running_service(workers=workers, under=user) as service:
        assert os.stat(f"/proc/{service.process.pid}").st_uid == 41235  # noqa: PTH116
        assert answers(service, digits)


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime")
@pytest.mark.parametrize("hours", [-24, 24])
def test_the_clock_may_jump(digits: Digits, tmp_path: Path, hours: int) -> None:
    """By a day, back or forth: no connection is cut off for it, deadlines hold, and requests are answered."""
    clock = tmp_path / "clock"
    clock.write_text("+0s")
    fake = [f"LD_PRELOAD={FAKETIME}", f"FAKETIME_TIMESTAMP_FILE={clock}", "FAKETIME_NO_CACHE=1"]
    # The monotonic clock stays as it is, and locks that wait by it are not to be "mended": Python's would stand still.
    fake += ["FAKETIME_FORCE_MONOTONIC_FIX=0"]
    with (
        running_service(under=["env", *fake, "FAKETIME_DONT_FAKE_MONOTONIC=1"], timeout_seconds=10) as service,
        connect(service) as connection,
        connect(service) as slow,
    ):
        before = httpx.get(f"{service.url}/livez").headers["date"]
        slow.sendall(b"GET /livez")
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        clock.write_text(f"{hours:+d}h")
        until(lambda: httpx.get(f"{service.url}/livez").headers["date"][5:7] != before[5:7], "the clock did not jump")
        connection.sendall(b"Host: x\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert answers(service, digits)
        assert slow.makefile("rb").read().startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("name", ["mnist-mlp", "mnist"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_of_kubernetes_changes_nothing(
    name: str, workers: int, digits: Digits, capfd: pytest.CaptureFixture[str]
) -> None:
    """Kubernetes sets these variables for each Service beside a container; only one that nobody knows is told."""
    prefix = name.upper().replace("-", "_")
    of_service = {
        "SERVICE_HOST": "10.0.0.1",
        "SERVICE_PORT": "8000",
        "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_PROTO": "tcp",
        "PORT_8000_TCP_PORT": "8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    under = ["env", "PORT=0", "MNIST_COLOUR=red", *(f"{prefix}_{key}={value}" for key, value in of_service.items())]
    with running_service(under=under, workers=workers) as service:
        assert answers(service, digits)
    told = [line for line in capfd.readouterr().err.splitlines() if "MNIST_" in line]
    assert len(told) == 1
    assert '"level":"warning"' in told[0]
    assert "MNIST_COLOUR is not a setting; the service ignores it" in told[0]
