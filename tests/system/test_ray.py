"""On a Ray cluster of two nodes: examples/ray_serve.py answers as the service does, and a batch has the same rows."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.pictures import SEVEN, SEVEN_FILE, drawn
from tests.support.service import MODELS, PATIENCE, ROOT, VERSION, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.arrays import Pixels

# `make ray` makes it: it is large, and `make test` is to be quick.
PYTHON = Path(sys.prefix) / "ray" / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="make ray installs it")


class Running(NamedTuple):
    """A cluster that serves."""

    url: str
    nodes: list[str]  # of the replicas
    process: subprocess.Popen[str]
    environment: dict[str, str]  # of programs that find the cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Running]:
    """Two nodes in processes of this machine, which end with the tests."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a short path, for sockets
    environment = os.environ | {
        "MNIST_MODEL_DIR": str(MODELS),
        "MNIST_MODEL_VERSION": VERSION,
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": folder,  # where Ray looks for clusters, too
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",  # so that the other node has its share of the requests
    }
    command = [str(part) for part in (PYTHON, ROOT / "tests" / "support" / "cluster" / "two_nodes.py", port)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            found = json.loads(process.stdout.readline())
            environment["RAY_ADDRESS"] = found["address"]
            yield Running(f"http://127.0.0.1:{port}", found["nodes"], process, environment)
        finally:
            process.stdin.close()
            process.wait(PATIENCE)
            shutil.rmtree(folder)


def photo(pixels: Pixels) -> bytes:
    """A picture that needs a reader."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


TEXT = base64.b64encode(SEVEN).decode()
REQUESTS: dict[str, dict[str, Any]] = {
    "a small picture": {"content": SEVEN},
    "a photo": {"content": photo(drawn(1200))},
    "a form": {"files": {"image": SEVEN_FILE.open("rb")}},
    "pixels without ink": {"json": {"image": [0] * 784}},
    "several, one of them bad": {"json": {"images": [TEXT, "no picture"]}},
    "a set of digits": {"content": SEVEN, "params": {"coverage": "0.99"}},
    "an explanation": {"content": SEVEN, "params": {"explain": "1"}},
    "no picture": {"content": b"no picture"},
    "too many pictures": {"json": {"images": [TEXT] * 65}},
    "a wrong coverage": {"content": SEVEN, "params": {"coverage": "2"}},
}


def test_replicas_are_on_both_nodes(cluster: Running) -> None:
    """Ray spreads them."""
    assert len(cluster.nodes) == 2
    assert len(set(cluster.nodes)) == 2


@pytest.mark.parametrize("name", REQUESTS)
def test_the_answer_is_the_services(cluster: Running, server_url: str, name: str) -> None:
    """Status, kind and content of a response are those of `POST /predict`, refusals included."""
    theirs, ours = (httpx.post(f"{url}/predict", **REQUESTS[name]) for url in (cluster.url, server_url))
    assert theirs.status_code == ours.status_code
    assert theirs.headers["content-type"] == ours.headers["content-type"]
    assert {**theirs.json(), "request_id": ""} == {**ours.json(), "request_id": ""}


def batch(python: Path, pictures: Path, out: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    """A batch that has begun, with a part for every twenty rows or so."""
    command = [str(python), "-m", "service", "batch", str(pictures), "--out", str(out), "--part-rows", "20", *words]
    command += ["--formats", "png,jpeg"]  # not what extras of the two environments add
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def rows(folder: Path) -> Any:
    """The rows of all parts."""
    return pq.ParquetDataset(sorted(folder.glob("part-*.parquet"))).read()


def test_a_batch_on_the_cluster_goes_on_after_it_was_killed(cluster: Running, tmp_path: Path) -> None:
    """Killed after its first parts and started again, it has each picture once, with the row of a batch without Ray."""
    (pictures := tmp_path / "pictures").mkdir()
    grain = np.random.default_rng(0).integers(0, 40, (500, 500), np.uint8)  # so that it is large, and few are a block
    noisy = photo(drawn(500) - grain // 2)
    for number in range(600):
        (pictures / f"{number:03}.jpg").write_bytes(noisy if number % 3 else SEVEN)
    (pictures / "999.png").write_bytes(b"no picture")
    (pictures / "notes.txt").write_text("none either")

    killed = batch(PYTHON, pictures, tmp_path / "ray", cluster.environment, "--ray")
    until(lambda: list((tmp_path / "ray").glob("part-*.parquet")), "a part appears")
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    first = [path.name for path in (tmp_path / "ray").glob("part-*.parquet")]
    again = batch(PYTHON, pictures, tmp_path / "ray", cluster.environment, "--ray")
    said, _ = again.communicate(timeout=3 * PATIENCE)
    assert again.returncode == 0
    assert "passed over: 1\n" in said
    assert "this run: pictures 0" not in said

    alone = batch(Path(sys.executable), pictures, tmp_path / "alone", cluster.environment)
    alone.communicate(timeout=PATIENCE)
    assert alone.returncode == 0
    assert len(list((tmp_path / "ray").glob("part-*.parquet"))) > len(first)
    assert len(set(rows(tmp_path / "ray").column("name").to_pylist())) == 601
    ours, theirs = (rows(tmp_path / each) for each in ("alone", "ray"))
    # Probabilities depend in their last digit on the pictures of the same run, which are others after the kill.
    numbers = ["confidence", "probabilities"]
    assert theirs.drop_columns(numbers).equals(ours.drop_columns(numbers))
    for one, other in zip(*(each.column("probabilities").to_pylist() for each in (ours, theirs)), strict=True):
        assert one == other or np.abs(np.subtract(one, other)).max() < 1e-6


def test_the_other_node_answers_when_one_is_killed(cluster: Running) -> None:
    """Ray answers 500 to what it hands to the dead replica before it has noticed; asked again, each is answered."""
    assert cluster.process.stdin is not None
    assert cluster.process.stdout is not None
    cluster.process.stdin.write("\n")
    cluster.process.stdin.flush()
    assert cluster.process.stdout.readline() == "killed\n"
    answers: list[httpx.Response] = []

    def answered() -> bool:
        answers.append(client.post("/predict", content=SEVEN))
        assert answers[-1].status_code in {200, 500}
        return answers[-1].is_success

    with ThreadPoolExecutor(8) as clients, httpx.Client(base_url=cluster.url) as client:
        list(clients.map(lambda _: until(answered, "the other node answers"), range(100)))
    right = [answer for answer in answers if answer.is_success]
    assert len(right) == 100
    assert {answer.json()["predictions"][0]["digit"] for answer in right} == {7}
