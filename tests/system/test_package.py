"""The wheel: one name, `mnist_mlp`, with a trained version in it; and the same code in a checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

import service
from tests.support.service import MODELS, ROOT, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

USE = """\
from mnist_mlp import Client, Model, open_model

model: Model = open_model()
letter: str = model.read("picture.png").digit
other: str = Client().predict(b"").digit
"""
SEVEN = ROOT / "service" / "page" / "seven.png"
HEAVY = {"fastapi", "numpy", "onnxruntime", "PIL", "pydantic", "starlette", "torch", "uvicorn"}
# A setting of whoever runs the tests must not name a model's folder.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("MNIST_", "PYTHON"))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools writes into the folder that it builds from."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("service", "training", "deploy", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


@dataclass
class Installed:
    """An environment with the wheel, and an empty folder to work in."""

    python: Path
    folder: Path

    def command(self, *words: str | Path) -> list[str]:
        """A command that the wheel installs, or `python`."""
        return [str(self.python.with_name(str(words[0]))), *map(str, words[1:])]

    def run(self, *words: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the empty folder; it must end with this exit code."""
        environment = ENVIRONMENT | environment
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a fresh environment, which finds its dependencies in the environment of the tests."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    python = place / "bin" / "python"
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    pip = [base, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*map(str, pip), "--no-deps", "--no-index", str(wheel)], check=True)
    return Installed(python, tmp_path_factory.mktemp("empty"))


def files(folder: str) -> Iterator[str]:
    """The paths of a package's files, as the wheel should have them."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield f"mnist_mlp/{path.relative_to(ROOT)}"


def test_the_wheel_has_one_name_and_every_file(wheel: Path) -> None:
    """Its top-level name is `mnist_mlp` alone; no module and no data file of either package is left out."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"mnist_mlp", f"mnist_mlp-{service.__version__}.dist-info"}
    assert "mnist_mlp/py.typed" in names
    assert {*files("service"), *files("training")} <= set(names)
    assert wheel.stat().st_size < 6_000_000


def test_the_wheel_holds_the_newest_committed_version(wheel: Path) -> None:
    """One version is bundled: the newest that git holds, byte for byte."""
    kept = re.findall(r"^!models/mnist-mlp/(\d+)/$", (ROOT / ".gitignore").read_text(), re.MULTILINE)
    assert max(kept, key=int) == VERSION
    with zipfile.ZipFile(wheel) as archive:
        bundled = {name: archive.read(name) for name in archive.namelist() if name.startswith("mnist_mlp/bundled/")}
    assert bundled == {
        f"mnist_mlp/bundled/mnist-mlp/{VERSION}/{file.name}": file.read_bytes() for file in (MODELS / VERSION).iterdir()
    }


def test_the_metadata_names_the_license_and_the_version(wheel: Path) -> None:
    """The version stands in `service/__init__.py` alone, and the wheel has it."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"mnist_mlp-{service.__version__}.dist-info/METADATA").decode()
    for line in (f"Version: {service.__version__}", "License-Expression: Apache-2.0", "Author: The mnist-mlp authors"):
        assert f"\n{line}\n" in metadata


@pytest.mark.parametrize("command", ["mnist-mlp", "mnist-mlp-serve", "mnist-mlp-train"])
def test_each_command_tells_its_version(installed: Installed, command: str) -> None:
    """`--version` prints the package's name and version."""
    assert installed.run(command, "--version").stdout == f"mnist-mlp {service.__version__}\n"


def test_each_command_names_itself(installed: Installed) -> None:
    """In its errors, and in the usage that follows them."""
    for command in ("mnist-mlp", "mnist-mlp-serve"):
        wrong = installed.run(command, "--colour", code=2).stderr
        assert re.match(rf"{command}( \[serve\])?: error: ", wrong)
        assert f"\nusage: {command} " in wrong


def test_it_serves_the_bundled_version_in_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    """Two workers and their readers answer the client, a log line names the model, and `open_model` reads alike."""
    large = tmp_path / "large.png"
    Image.open(SEVEN).resize((2000, 2000)).save(large, compress_level=0)
    command = installed.command("mnist-mlp-serve", "--port", "0", "--workers", "2")
    with subprocess.Popen(
        command, cwd=installed.folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            welcome = "".join(iter(process.stdout.readline, "Ctrl-C ends it.\n"))
            (url,) = re.findall(r"  page +(\S+)/\n", welcome)
            answer = json.loads(installed.run("mnist-mlp", SEVEN, "--url", url, "--json").stdout)
            read = json.loads(installed.run("mnist-mlp", large, "--url", url, "--json").stdout)
        finally:
            process.send_signal(signal.SIGTERM)
            _, logged = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (answer["digit"], read["digit"]) == (7, 7)
    assert '"the bundled model is used: MNIST_MODEL_DIR is unset, and there is no folder models/mnist-mlp"' in logged
    code = f"from mnist_mlp import open_model; print(open_model().read({str(SEVEN)!r}).probabilities)"
    assert installed.run("python", "-c", code).stdout == f"{tuple(answer['probabilities'])}\n"


def test_a_folder_that_is_named_or_there_is_never_replaced(installed: Installed, tmp_path: Path) -> None:
    """A wrong MNIST_MODEL_DIR, or an empty models/mnist-mlp, ends the start with exit code 3."""
    refused = installed.run("mnist-mlp-serve", "--port", "0", code=3, MNIST_MODEL_DIR=str(tmp_path / "nowhere"))
    assert refused.stderr.startswith(f"service: {tmp_path}/nowhere: expected a folder of model versions")
    (tmp_path / "models" / "mnist-mlp").mkdir(parents=True)
    refused = Installed(installed.python, tmp_path).run("mnist-mlp-serve", "--port", "0", code=3)
    assert refused.stderr.startswith("service: models/mnist-mlp: expected numbered version folders")


def test_training_without_torch_says_what_to_install(installed: Installed) -> None:
    """Where PyTorch is missing, `mnist-mlp-train` ends with exit code 2 and one line."""
    (site,) = installed.python.parents[1].glob("lib/python*/site-packages")
    code = "import sys; from mnist_mlp.scripts import train; sys.exit(train())"
    # Without the module `site` there are no .pth files, and so no dependencies.
    refused = installed.run("python", "-S", "-c", code, code=2, PYTHONPATH=str(site))
    assert refused.stderr == "mnist-mlp-train: PyTorch is not installed: pip install 'mnist-mlp[training]'\n"


IMPORTS = (
    "import sys; from {0} import Client; import {1}.client; "
    "print({{name.partition('.')[0] for name in sys.modules}} & {2})"
)


def test_the_client_imports_nothing_heavy_either_way(installed: Installed) -> None:
    """Neither `mnist_mlp` nor the checkout's `service` loads ONNX Runtime or FastAPI for the client."""
    code = IMPORTS.format("mnist_mlp", "mnist_mlp.service", HEAVY)
    assert installed.run("python", "-c", code).stdout == "set()\n"
    code = IMPORTS.format("service", "service", HEAVY)
    assert installed.run("python", "-c", code, PYTHONPATH=str(ROOT)).stdout == "set()\n"


def test_others_see_its_types(installed: Installed, tmp_path: Path) -> None:
    """mypy reads the installed package's types, and so finds what is wrong in a program that uses it."""
    (tmp_path / "use.py").write_text(USE)
    words = ["--strict", "--no-error-summary", "--python-executable", str(installed.python), "use.py"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert re.findall(r"^use.py:(\d+): error: .*\[(.*)\]$", found.stdout, re.MULTILINE) == [
        ("4", "assignment"),
        ("5", "assignment"),
    ]


def test_both_names_offer_the_same(installed: Installed) -> None:
    """Every public name of the checkout's `service` is one of `mnist_mlp`."""
    code = "import mnist_mlp; print(*(name for name in mnist_mlp.__all__ if getattr(mnist_mlp, name)))"
    assert installed.run("python", "-c", code).stdout.split() == service.__all__
