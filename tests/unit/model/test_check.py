"""Versions are checked in a process of their own: what hurts there hurts nobody, and what is good there is loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from service.errors import ModelError, NotChecked
from service.model import artefact, check
from service.settings import Settings
from service.versions.shared_state import CheckedFiles
from tests.support import hostile_models
from tests.support.processes import forget_memory, most_memory
from tests.support.service import MODELS, ROOT, VERSION, until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from service.model.artefact import Files

SLOW = "multiplications for a minute"
MEBIBYTE = 2**20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"model_dir": tmp_path})


@pytest.fixture
def slow(settings: Settings) -> Files:
    """A version whose check takes a minute."""
    hostile_models.publish(settings.model_dir / "1", hostile_models.MODELS[SLOW][0]())
    return artefact.read_files(settings.model_dir, "1")


def never() -> bool:
    return False


def publish(settings: Settings, name: str) -> str:
    """A version made to hurt; how its refusal ends."""
    if name in hostile_models.MODELS:
        make, sentence = hostile_models.MODELS[name]
        hostile_models.publish(settings.model_dir / "1", make())
    else:
        make, sentence = hostile_models.BATCHES[name]
        hostile_models.publish(settings.model_dir / "1", hostile_models.harmless(), make())
    return sentence


@pytest.mark.parametrize("name", [*hostile_models.MODELS, *hostile_models.BATCHES])
def test_a_version_made_to_hurt_is_refused_at_no_cost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In one short line, and with no more memory here than its files have."""
    if name == SLOW:
        monkeypatch.setattr(check, "CPU_SECONDS", 2)
    sentence = publish(settings, name)
    forget_memory(os.getpid())
    before = most_memory(os.getpid())
    with pytest.raises(ModelError) as refusal:
        check.check(settings, 1)
    assert most_memory(os.getpid()) - before < 100 * MEBIBYTE
    assert str(refusal.value).startswith(f"{settings.model_dir}/1")
    assert str(refusal.value).endswith(sentence)
    assert len(str(refusal.value)) < 500
    assert "\n" not in str(refusal.value)


def test_a_check_takes_no_more_memory_than_it_may(settings: Settings) -> None:
    """Whatever the model asks for: the process with its libraries, and the limit."""
    publish(settings, "a matrix of 1.6 GB from 160 KB")
    files = artefact.read_files(settings.model_dir, "1")
    most = 0
    with check.checking(files, 64, never) as begun, pytest.raises(ModelError):
        while (held := held_by(begun.pid)) is not None:
            most = max(most, held)
        begun.wait()
    assert most < check.memory(64) + 100 * MEBIBYTE


def held_by(pid: int) -> int | None:
    """The most bytes that a process has held; None once it has ended."""
    try:
        return most_memory(pid)
    except (ValueError, FileNotFoundError, ProcessLookupError):  # a zombie holds none
        return None


def publish_largest(settings: Settings) -> int:
    """A version of a model that is nearly as large as it may be; its bytes."""
    side = int((artefact.LIMITS["model.onnx"] / 4 - 784 * 10) ** 0.5) - 100
    rng = np.random.default_rng(0)
    constants = {"wide": np.zeros((10, side)), "square": rng.normal(size=(side, side)), "back": np.zeros((side, 10))}
    model = hostile_models.layers({name: array.astype(np.float32) for name, array in constants.items()})
    assert len(model) > 0.8 * artefact.LIMITS["model.onnx"]
    hostile_models.publish(settings.model_dir / "1", model)
    return len(model)


def test_the_largest_model_passes(settings: Settings) -> None:
    """What the limit of the file lets in, the limit of memory does not refuse."""
    publish_largest(settings)
    check.check(settings, 1)


LOADING = """\
import sys
from multiprocessing import reduction
from pathlib import Path
import numpy, onnxruntime
from service.system import memory
from service.settings import Settings
from service.versions.loader import VersionLoader
from service.versions.shared_state import CheckedFiles

def held():
    memory.trim()
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

loader, before = VersionLoader(Settings(model_dir=sys.argv[1]), CheckedFiles()), held()
classifier = loader.load(loader.version_to_load(None))
print(held() - before)
"""


def test_a_loaded_model_takes_little_more_than_its_file(settings: Settings) -> None:
    """Loading takes four times as much, which goes back to the system."""
    size = publish_largest(settings)
    ran = subprocess.run(
        [sys.executable, "-c", LOADING, settings.model_dir], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(ran.stdout) < 1.6 * size


def test_a_hanging_check_is_given_up_at_once(slow: Files) -> None:
    """When nobody waits for it any more, as at shutdown, its process is killed."""
    stopped = threading.Event()
    timer = threading.Timer(0.5, stopped.set)
    timer.start()
    with pytest.raises(NotChecked), check.checking(slow, 64, stopped.is_set) as begun:
        begun.wait()
    assert not Path(f"/proc/{begun.pid}").exists()


def test_a_check_that_is_killed_is_a_refusal(slow: Files) -> None:
    """Such as by the system, when it has no memory left; the line names the signal."""
    with check.checking(slow, 64, never) as begun:
        os.kill(begun.pid, signal.SIGKILL)
        with pytest.raises(ModelError) as refusal:
            begun.wait()
    assert str(refusal.value).endswith("found that the check ends with SIGKILL")
    assert not isinstance(refusal.value, NotChecked)


def test_a_check_that_is_stopped_is_killed_in_the_end(slow: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGSTOP holds up nobody."""
    monkeypatch.setattr(check, "SECONDS", 0.5)
    longer = pytest.raises(ModelError, match=r"in 0\.5 s, found that it takes longer")
    with longer, check.checking(slow, 64, never) as begun:
        os.kill(begun.pid, signal.SIGSTOP)
        begun.wait()
    assert not Path(f"/proc/{begun.pid}").exists()


@pytest.fixture
def good(settings: Settings) -> Files:
    """A version as it should be."""
    hostile_models.publish(settings.model_dir / "1", hostile_models.harmless())
    return artefact.read_files(settings.model_dir, "1")


def test_time_without_cpu_does_not_count(good: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other programs have the cores, or a pod has a small part of one, a good version is checked for longer."""
    monkeypatch.setattr(check, "CPU_SECONDS", 3)
    with check.checking(good, 64, never) as begun:
        os.kill(begun.pid, signal.SIGSTOP)
        time.sleep(4)
        os.kill(begun.pid, signal.SIGCONT)
        begun.wait()


def test_a_verdict_counts_although_nobody_was_there_in_time(good: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that waits for it imports the app meanwhile."""
    monkeypatch.setattr(check, "SECONDS", 0.5)
    with check.checking(good, 64, never) as begun:
        state = Path(f"/proc/{begun.pid}/stat")
        until(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z", "the check does not end")
        time.sleep(0.5)
        begun.wait()


def test_where_no_process_can_be_started_the_version_is_not_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the version's: it is tried again."""
    hostile_models.publish(settings.model_dir / "1", hostile_models.harmless())
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with pytest.raises(NotChecked, match="no process can be started that checks it: No such file or directory"):
        check.check(settings, 1)


def test_the_process_sees_no_secret(slow: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the environment it has what Python needs."""
    monkeypatch.setenv("MNIST_SECRET", "shibboleth")
    with check.checking(slow, 64, never) as begun:
        until(lambda: b"OPENBLAS_NUM_THREADS" in Path(f"/proc/{begun.pid}/environ").read_bytes(), "it did not start")
        assert b"shibboleth" not in Path(f"/proc/{begun.pid}/environ").read_bytes()


def test_a_check_ends_with_who_started_it(slow: Files) -> None:
    """However that ends."""
    script = f"""\
from multiprocessing import reduction
from pathlib import Path
from service.model import artefact, check
with check.checking(artefact.read_files(Path({str(slow.folder.parent)!r}), "1"), 64, lambda: False) as begun:
    print(begun.pid, flush=True)
    begun.wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        process.kill()
    until(lambda: held_by(pid) is None, "the check goes on")


OPENING = """\
import resource, sys
from multiprocessing import reduction
from pathlib import Path
import numpy as np
from tests.support import hostile_models
from service.model import artefact
from service.model.classifier import Classifier
images, probabilities = np.zeros((1, 1, 28, 28), np.uint8), np.full((1, 10), 0.1, np.float32)
version = artefact.Artefact("a", "1", "", hostile_models.sparse_elsewhere(), {}, images, probabilities)
Path("weights.bin").write_bytes(bytes(4))
if sys.argv[1] == "confined":
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
Classifier(version)
"""


@pytest.mark.parametrize(("place", "read"), [("confined", False), ("open", True)])
def test_the_runtime_opens_no_file_while_it_checks(tmp_path: Path, place: str, read: bool) -> None:
    """Not even one that the model names and that nobody had found in it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", OPENING, place], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert (ended.returncode == 0) == read, ended.stderr


def test_what_was_checked_is_known_in_every_worker() -> None:
    """The newest digests are kept; a process that is forked has them, and what it adds comes back."""
    verified = CheckedFiles()
    digests = [bytes([number]) * 32 for number in range(100)]
    assert digests[0] not in verified
    for digest in digests:
        verified.add(digest)
    assert digests[99] in verified
    assert digests[36] in verified
    assert digests[35] not in verified
    child = multiprocessing.get_context("fork").Process(target=add, args=(verified, digests[99], b"new" + bytes(29)))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert b"new" + bytes(29) in verified


def add(verified: CheckedFiles, known: bytes, new: bytes) -> None:
    assert known in verified
    verified.add(new)


def test_only_one_worker_checks_at_a_time() -> None:
    """The others wait, as long as anybody wants them to; a worker that dies is none that checks."""
    verified = CheckedFiles()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=hold_lock, args=(verified, theirs))
    child.start()
    assert ours.recv() == "has it"
    asked = iter([False, False, True])
    with pytest.raises(NotChecked), verified.locking(lambda: next(asked)):
        pass
    child.kill()
    child.join()
    with verified.locking(lambda: True):
        pass


def hold_lock(verified: CheckedFiles, tell: Connection[str, str]) -> None:
    with verified.locking(never):
        tell.send("has it")
        time.sleep(60)


def test_a_check_waits_for_no_library() -> None:
    """It begins without NumPy and ONNX Runtime: these are imported while it runs, in another process."""
    script = f"""\
import sys
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState
from service.settings import Settings
models = VersionManager(Settings(model_dir={str(MODELS)!r}, model_version={VERSION!r}), SharedState(shared=True))
print(models.check(lambda: None), sorted({{"numpy", "onnxruntime"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{VERSION} []\n"


def test_the_trial_is_of_as_many_pictures_as_a_run_may_have() -> None:
    """As MNIST_MAX_IMAGES says, or as an explanation asks for."""
    from service.inference import occlusion

    corners = len(range(0, 28 - occlusion.PATCH + 1, occlusion.STRIDE)) ** 2
    assert corners + 1 == check.PICTURES
