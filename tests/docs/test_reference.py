"""What the service, the Makefile and the folders have is in the documents, and what the documents name exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml

from service import errors
from service.api import openapi
from service.batch import remote
from service.commands import check
from service.settings import Settings
from tests.docs import tables
from tests.docs.pages import DOCUMENTS, EVERYTHING, README
from tests.support.service import ROOT
from training.__main__ import main as training

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

API = DOCUMENTS["docs/api.md"]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_readme_is_short() -> None:
    """README.md has at most 130 lines; everything else is in docs/."""
    assert len(README.read_text().splitlines()) <= 130


@pytest.mark.parametrize("name", tables.TABLES)
def test_a_generated_table_is_up_to_date(name: str) -> None:
    """docs/ has the settings and the metrics as they are: `python -m tests.docs.tables` writes them."""
    found, expected = tables.written(name)
    assert found == expected


def test_no_document_names_a_setting_that_does_not_exist() -> None:
    """Every MNIST_* variable is a setting of the service, or a variable of the training job."""
    known = {f"MNIST_{name.upper()}" for name in Settings.model_fields} | {"MNIST_DATA_DIR", "MNIST_SIGNING_PASSWORD"}
    assert set(re.findall(r"MNIST_[A-Z_]+\b", EVERYTHING)) - {"MNIST_"} <= known


def test_no_document_names_a_metric_that_does_not_exist() -> None:
    """Every `mnist_*` name in the documents is in the table of metrics."""
    declared = set(re.findall(r"`(mnist_[a-z_]+)[`{]", tables.metrics()))
    assert set(re.findall(r"`(mnist_[a-z_]+)[`{]", EVERYTHING)) - {"mnist_mlp"} == declared


def test_every_route_is_documented(client: httpx.Client) -> None:
    """The documents name each path of `/openapi.json`."""
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"`{path}`" in EVERYTHING or f" {path}`" in EVERYTHING, path


def test_every_error_and_warning_is_documented() -> None:
    """docs/api.md has a row for each reason, with its status, and for each warning."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServiceError)]
    for kind in kinds:
        assert re.search(rf"^\| {kind.status} \| .*`{kind.reason}`", API, re.MULTILINE), kind
    for name in openapi._WARNINGS:
        assert f"| `{name}` |" in API


@pytest.mark.parametrize(
    "header", ["X-Request-ID", "X-Request-Timeout-Ms", "Retry-After", "Authorization", "X-API-Key", "traceparent"]
)
def test_every_header_is_documented(header: str) -> None:
    """docs/api.md has the headers that clients send and get."""
    assert re.search(rf"^\| .*`{header}`.* \|", API, re.MULTILINE)


def test_every_make_target_is_documented_and_exists() -> None:
    """Each target that `make help` lists is in the documents, and each that they name exists; CI runs `make test`."""
    listed = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )(?:MNIST_\w+=\S+ )?make ([a-z-]+)", EVERYTHING, re.MULTILINE))
    assert named == listed - {"help"}
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_file_that_is_named_exists() -> None:
    """Links of the documents that are not pages of the site, and paths in code spans, lead somewhere."""
    for name, text in DOCUMENTS.items():
        folder = (ROOT / name).parent
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^):#]+)[)#]", prose):
            assert (folder / link).exists(), (name, link)
        for path in re.findall(r"`((?:service|training|tests|models|deploy|docs|requirements)/[\w./-]*\w)`", text):
            assert (ROOT / path).exists(), (name, path)


def test_commands_of_training_have_their_flags(capsys: pytest.CaptureFixture[str]) -> None:
    """Each `python -m training …` in the documents uses flags that its help lists."""
    commands = re.findall(r"-m training((?: [\w./,-]+)*)", EVERYTHING)
    commands += re.findall(r'make train ARGS="(.*?)"', EVERYTHING)
    assert len(commands) > 10
    texts: dict[str, str] = {}
    for command in commands:
        words = shlex.split(command)
        name = words[0] if words and not words[0].startswith("-") else "train"
        if name not in texts:
            with pytest.raises(SystemExit):
                training([name, "--help"])
            texts[name] = capsys.readouterr().out
        if name == "sweep":  # takes the flags of training too
            continue
        for flag in (word for word in words if word.startswith("--")):
            assert flag in texts[name], command


def test_every_module_that_is_named_exists() -> None:
    """`python -m MODULE` in the documents names a module that exists, and the environment's Python."""
    for command, python, module in re.findall(r"((\S*python) -m (?!pip)([\w.]+))", EVERYTHING):
        assert python.endswith(".venv/bin/python"), command
        assert importlib.util.find_spec(module) is not None, command


def test_no_document_says_pip_alone() -> None:
    """`pip` would install into another Python: `make extras` does it."""
    assert re.findall(r"(?<!-m )\bpip (?:--python \S+ )?install.*", EVERYTHING) == []


def test_every_extra_that_is_named_exists() -> None:
    """Extras that the documents, a batch and the source of versions ask for are in pyproject.toml."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lists = re.findall(r"EXTRAS=\"?([a-z0-9, ]+)", EVERYTHING)
    named = {extra for words in lists for extra in re.split("[, ]+", words.strip())}
    named |= set(re.findall(r"\bextra `([a-z0-9]+)`", EVERYTHING))
    assert {"batch", "otel", "signing"} <= named
    assert named | set(remote.EXTRAS.values()) | set(check.LIBRARIES) <= set(known)


def test_the_hooks_are_what_make_lint_runs() -> None:
    """.pre-commit-config.yaml has each command of `make lint`, with the tools of the environment."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    commands = [
        line.strip().removeprefix("@").replace("$(PY)", ".venv/bin/python").replace("$(VENV)", ".venv")
        for line in recipe[1].splitlines()
    ]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [hook["entry"] for hook in local["hooks"]] == commands
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])


@pytest.mark.parametrize("target", ["lint", "types", "check"])
def test_a_missing_environment_is_told(target: str, tmp_path: Path) -> None:
    """Without the tools, the targets that need them say in one line which command installs them."""
    command = ["make", "--silent", target, f"VENV={tmp_path}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "the tools are missing: make dev installs them\n")
