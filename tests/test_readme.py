"""The README is true: its settings, routes, metrics, commands and files are those that exist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from service.observability.metrics import Metrics
from service.settings import Settings
from tests.support.service import ROOT

if TYPE_CHECKING:
    import httpx

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table_as_it_is(name: str) -> None:
    """A setting's row names its variable, its default and what it does, in the words of `--help`."""
    field = Settings.model_fields[name]
    row = next(line for line in README.splitlines() if line.startswith(f"| `MNIST_{name.upper()}` "))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    if field.default_factory is None:
        default = "unset" if field.default is None else f"`{field.default}`"
        assert cells[1] == default
    assert cells[2] == field.description


def test_the_table_has_no_setting_that_does_not_exist() -> None:
    """Every MNIST_* variable the README speaks of is a setting, or training's data folder."""
    known = {f"MNIST_{name.upper()}" for name in Settings.model_fields} | {"MNIST_DATA_DIR"}
    assert set(re.findall(r"MNIST_[A-Z_]+\b", README)) - {"MNIST_"} <= known


def test_every_route_is_in_the_readme(client: httpx.Client) -> None:
    """What `/openapi.json` knows, the README names."""
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"`{path}`" in README or f" {path}`" in README, path


def test_every_metric_is_in_the_readme() -> None:
    """What `/metrics` exports, the README explains, and nothing else."""
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
        if family.name.startswith("mnist_")
    }
    assert set(re.findall(r"`(mnist_[a-z_]+)[`{]", README)) == exported


def test_every_make_target_that_is_named_exists() -> None:
    """`make X` in the README is a target of the Makefile, and the test command is CI's."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`(?:MNIST_PORT=\d+ )?make ([a-z-]+)", README))
    assert {"up", "test", "serve", "train", "check", "bench", "bench-learning"} <= named <= targets
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_file_that_is_named_exists() -> None:
    """The file tree and the links lead somewhere."""
    tree = README.split("## The files")[1]
    for path in re.findall(r"^(\S+[/.]\S*) ", tree.split("```")[1], re.MULTILINE):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / link).exists(), link
