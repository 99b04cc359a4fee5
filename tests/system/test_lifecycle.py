"""Versions change while requests are answered: nothing is lost, and every answer is that of the version it names."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from service.commands.cli import main, run_alone
from tests.support import hostile_models
from tests.support.metrics import REFUSED, failed_loads, samples, value
from tests.support.pictures import Digits, png
from tests.support.processes import command, processes_of_session
from tests.support.service import MODELS, PATIENCE, ROOT, Service, publish, running_service, until
from tests.support.traffic import Traffic
from tests.support.versions import wait_for_version

if TYPE_CHECKING:
    from tests.support.traffic import Expected

LONG = "multiplications for a minute"
TAKES_LONGER = hostile_models.MODELS[LONG][1]  # how its refusal ends


@pytest.mark.parametrize("workers", [1, 2])
def test_versions_change_under_load(models: Path, expected: Expected, workers: int) -> None:
    """A new version, a rollback and its undoing, with clients asking: no request is lost, no answer is another's."""
    flags = ["--model-dir", str(models)]
    with (
        running_service(model_dir=models, model_version="latest", workers=workers) as service,
        Traffic(service.url, expected) as traffic,
    ):
        until(lambda: traffic.answered["1"], "nothing is answered")
        publish(models, 2)
        wait_for_version(service, "2")
        assert run_alone("rollback", flags) == 0
        wait_for_version(service, "1")
        assert run_alone("rollback", ["--undo", *flags]) == 0
        wait_for_version(service, "2")
        traffic.stop()
        found = samples(f"{service.url}/metrics")
    assert traffic.failures == []
    assert traffic.refused == 0
    assert set(traffic.answered) == {"1", "2"}
    assert [dict(labels)["model_version"] for name, labels in found if name == "mnist_build_info"] == ["2"]
    assert value(found, "mnist_model_reloads_total", REFUSED) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_spoilt_version_is_refused_and_the_old_one_serves_on(models: Path, digits: Digits, workers: int) -> None:
    """Refused once by each worker, with its reason in the index; when its files change it is tried again."""
    with running_service(model_dir=models, model_version="latest", workers=workers) as service:
        publish(models, 2)
        with (models / "2" / "model.onnx").open("r+b") as file:
            file.truncate(1000)
        until(lambda: failed_loads(service) >= workers, "the version was not refused")
        time.sleep(1.2)  # two looks more
        assert failed_loads(service) == workers
        answer = httpx.post(f"{service.url}/predict", content=png(digits.images[0])).json()
        assert answer["model"]["version"] == "1"
        index = httpx.post(f"{service.url}/v2/repository/index").json()
        assert [(entry["version"], entry["state"]) for entry in index] == [("2", "UNAVAILABLE"), ("1", "READY")]
        assert "models/2/model.onnx: expected sha256" in index[0]["reason"]
        assert str(models) not in index[0]["reason"]
        shutil.copy(MODELS / "2" / "model.onnx", models / "2" / "model.onnx")
        wait_for_version(service, "2")


def test_a_start_passes_over_a_spoilt_newest_version(models: Path) -> None:
    """Where others would serve on, one that starts, as after a kill, serves the highest version that is good."""
    publish(models, 2)
    (models / "2" / "golden.npz").write_bytes(b"")
    with running_service(model_dir=models, model_version="latest") as service:
        assert httpx.get(f"{service.url}/model").json()["version"] == 1
        assert failed_loads(service) == 1


def test_a_version_that_is_being_copied_is_waited_for(models: Path) -> None:
    """A folder without model.json is no error, and is served when the file is there."""
    with running_service(model_dir=models, model_version="latest") as service:
        shutil.copytree(MODELS / "2", models / "2", ignore=shutil.ignore_patterns("model.json"))
        time.sleep(1.2)  # two looks
        assert httpx.get(f"{service.url}/model").json()["version"] == 1
        shutil.copy(MODELS / "2" / "model.json", models / "2" / "model.json")
        wait_for_version(service, "2")
        assert failed_loads(service) == 0


def test_a_service_may_wait_for_its_first_version(tmp_path: Path, digits: Digits) -> None:
    """With model_wait it starts not ready, says so wherever a model is needed, and serves when one appears."""
    picture = png(digits.images[0])
    with running_service(model_dir=tmp_path, model_version="latest", model_wait=True) as service:
        waiting = httpx.get(f"{service.url}/readyz")
        assert (waiting.status_code, waiting.json()) == (503, {"status": "no model version is loaded"})
        assert httpx.get(f"{service.url}/livez").status_code == 200
        refusal = httpx.post(f"{service.url}/predict", content=picture)
        assert (refusal.status_code, refusal.json()["reason"]) == (503, "no_model")
        assert httpx.get(f"{service.url}/v2/health/ready").json() == {"live": True, "ready": False}
        assert httpx.get(f"{service.url}/v2/models/mnist-mlp").status_code == 503
        publish(tmp_path, 1)
        until(lambda: httpx.get(f"{service.url}/readyz").status_code == 200, "the version is not served")
        assert httpx.post(f"{service.url}/predict", content=picture).json()["model"]["version"] == "1"


def test_clients_load_and_unload_only_where_they_may(server_url: str, models: Path) -> None:
    """403 by default; with admin an order to one worker is followed by both, and a refused version is told as such."""
    path = "/v2/repository/models/mnist-mlp"
    for verb in ("load", "unload"):
        closed = httpx.post(f"{server_url}{path}/{verb}")
        assert (closed.status_code, list(closed.json())) == (403, ["error"])
    with running_service(model_dir=models, model_version="latest", admin=True, workers=2) as service:

        def statuses() -> set[int]:
            return {httpx.get(f"{service.url}/readyz").status_code for _ in range(20)}

        assert httpx.post(f"{service.url}/v2/repository/models/other/unload").status_code == 404
        assert httpx.post(f"{service.url}{path}/unload").status_code == 200
        until(lambda: statuses() == {503}, "it is not unloaded")
        assert httpx.post(f"{service.url}{path}/load").status_code == 200
        until(lambda: statuses() == {200}, "it is not loaded")
        publish(models, 2)
        (models / "2" / "golden.npz").write_bytes(b"")
        refused = httpx.post(f"{service.url}{path}/load")
        assert refused.status_code == 400
        assert "models/2/golden.npz: expected sha256" in refused.json()["error"]
        assert str(models) not in refused.text


def test_sighup_tries_a_refused_version_again(models: Path) -> None:
    """One process looks anew at once, also at what has not changed."""
    publish(models, 2)
    (models / "2" / "golden.npz").write_bytes(b"")
    with running_service(model_dir=models, model_version="latest") as service:
        assert failed_loads(service) == 1
        service.process.send_signal(signal.SIGHUP)
        until(lambda: failed_loads(service) == 2, "it was not tried again")


def test_a_version_of_another_model_is_refused(models: Path) -> None:
    """The folder's newest version must be one of the model that is served."""
    with running_service(model_dir=models, model_version="latest") as service:
        publish(models, 2)
        card = models / "2" / "model.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"name": "other"}))
        until(lambda: failed_loads(service), "it was not refused")
        assert httpx.get(f"{service.url}/model").json()["version"] == 1


def test_rollback_chooses_versions(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The one below, a named one, or none; what must not serve is not pinned, and a bad pin is told at the start."""
    flags = ["--model-dir", str(models)]
    assert run_alone("rollback", flags) == 3
    assert "expected a version below 1, found none" in capsys.readouterr().err
    publish(models, 2)
    assert run_alone("rollback", flags) == 0
    assert (models / "PINNED").read_text() == "1\n"
    (models / "2" / "golden.npz").write_bytes(b"")
    assert run_alone("rollback", ["2", *flags]) == 3
    assert (models / "PINNED").read_text() == "1\n"
    assert run_alone("rollback", ["--undo", *flags]) == 0
    assert not (models / "PINNED").exists()
    elsewhere = models.parent / "chosen"
    assert run_alone("rollback", ["1", *flags, "--pin-file", str(elsewhere)]) == 0
    assert elsewhere.read_text() == "1\n"
    (models / "PINNED").write_text("newest")
    start = [sys.executable, "-m", "service", "--port", "0", *flags]
    ended = subprocess.run(start, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (
        3,
        "service: PINNED: expected a version's number, or latest, found something else\n",
    )


def parts(service: Service) -> list[int]:
    """The service's processes, its checks included."""
    found, ask = [service.process.pid], [service.process.pid]
    while ask:
        for task in Path(f"/proc/{ask.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += (children := list(map(int, task.read_text().split())))
                ask += children
    return found


def held(service: Service) -> int:
    """Bytes that all processes of the service hold together (PSS)."""
    total = 0
    for pid in parts(service):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


@pytest.mark.parametrize("name", list(hostile_models.MODELS))
def test_a_version_made_to_hurt_hurts_nobody(models: Path, digits: Digits, name: str) -> None:
    """While two workers refuse it others are answered, and all processes together stay within their memory."""
    picture = png(digits.images[0])
    with running_service(model_dir=models, model_version="latest", workers=2) as service:
        hostile_models.publish(models / "9", hostile_models.MODELS[name][0]())
        most = 0

        def refused() -> bool:
            nonlocal most
            most = max(most, held(service))
            assert httpx.post(f"{service.url}/predict", content=picture).json()["model"]["version"] == "1"
            return failed_loads(service) == 2

        until(refused, "it is not refused")
        assert most < 550 * 2**20
        index = httpx.post(f"{service.url}/v2/repository/index").json()
        assert hostile_models.MODELS[name][1] in index[0]["reason"]


def test_sigterm_does_not_wait_for_a_check(models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A check that would go on for seconds is killed with the service, before it comes to a refusal."""
    with running_service(model_dir=models, model_version="latest", workers=2, shutdown_seconds=5) as service:
        hostile_models.publish(models / "9", hostile_models.MODELS[LONG][0]())
        until(lambda: any(b"check_process" in command(pid) for pid in parts(service)), "no check has begun")
        whole = parts(service)
        assert service.stop() == 0
        until(lambda: not any(command(pid) for pid in whole), "a process is left")
    assert TAKES_LONGER not in capfd.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_that_hangs_in_a_check_can_be_ended(
    models: Path, workers: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """At once; the check ends with it, and so does a worker that waits for its verdict."""
    hostile_models.publish(models / "9", hostile_models.MODELS[LONG][0]())
    start = [sys.executable, "-m", "service", "--port", "0", "--workers", workers, "--model-dir", str(models)]
    with subprocess.Popen(start, cwd=ROOT, text=True) as process:
        service = Service("", process)
        until(lambda: any(b"check_process" in command(pid) for pid in parts(service)), "no check has begun")
        whole = parts(service)
        process.terminate()
        process.wait(60)
    until(lambda: not any(command(pid) for pid in whole), "a process is left")
    assert TAKES_LONGER not in capfd.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_refused_version_ends_the_start(tmp_path: Path, workers: str) -> None:
    """In one line, with exit code 3, and with the worker that waits for the verdict."""
    make, sentence = hostile_models.MODELS["sparse numbers in another file"]
    hostile_models.publish(tmp_path / "9", make())
    start = [sys.executable, "-m", "service", "--port", "0", "--workers", workers, "--model-dir", str(tmp_path)]
    with subprocess.Popen(start, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3
        assert re.fullmatch(rf"service: .*{sentence}\n", err)
        until(lambda: not processes_of_session(process.pid), "a process is left")


@pytest.mark.parametrize("name", ["PINNED", "CANARY", "HELD"])
def test_a_pipe_in_the_place_of_a_pin_holds_up_nobody(models: Path, name: str) -> None:
    """Neither an order to load, which is told so, nor the end."""
    with running_service(model_dir=models, model_version="latest", admin=True) as service:
        os.mkfifo(models / name)
        refused = httpx.post(f"{service.url}/v2/repository/models/mnist-mlp/load", timeout=20)
        expected = f"{name}: expected a regular file, found a pipe or a device"
        assert (refused.status_code, refused.json()["error"]) == (400, expected)
        assert service.stop() == 0


def test_a_held_version_serves_once_it_is_promoted(models: Path) -> None:
    """Both workers follow the list as they follow the pin; nothing but a promotion makes them serve what is on it."""
    flags = ["--model-dir", str(models)]
    with running_service(model_dir=models, model_version="latest", workers=2) as service:
        (models / "HELD").write_text("2\n")
        publish(models, 2)
        index = f"{service.url}/v2/repository/index"
        until(lambda: len(httpx.post(index).json()) == 2, "the version is not seen")
        time.sleep(1.2)  # two looks
        wait_for_version(service, "1")
        assert main(["promote", "2", *flags]) == 0
        wait_for_version(service, "2")
        (models / "HELD").write_text("2\n")
        wait_for_version(service, "1")


def test_a_pin_to_a_missing_version_is_a_metric(models: Path) -> None:
    """The number of the version that is not there."""
    named = ("mnist_model_missing_version", {"named_by": "choice"})
    with running_service(model_dir=models, model_version="latest", workers=2) as service:
        assert value(samples(f"{service.url}/metrics"), *named) == 0
        (models / "PINNED").write_text("7")
        until(lambda: value(samples(f"{service.url}/metrics"), *named) == 7, "it is not told")
        (models / "PINNED").unlink()
        until(lambda: value(samples(f"{service.url}/metrics"), *named) == 0, "it is told still")


def test_a_config_map_pins_a_running_service(models: Path, tmp_path: Path) -> None:
    """Its file is a link into a folder that is swapped by a link (..data)."""
    publish(models, 2)
    mounted = tmp_path / "config"
    mounted.mkdir()

    def swap(number: str) -> None:
        (mounted / f"..{number}").mkdir()
        (mounted / f"..{number}" / "PINNED").write_text(number)
        (mounted / "..data_tmp").symlink_to(f"..{number}")
        (mounted / "..data_tmp").replace(mounted / "..data")

    swap("1")
    (mounted / "PINNED").symlink_to("..data/PINNED")
    with running_service(model_dir=models, pin_file=mounted / "PINNED") as service:
        wait_for_version(service, "1")
        swap("2")
        wait_for_version(service, "2")
