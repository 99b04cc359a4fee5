"""The README.md of a version: what the Hugging Face Hub reads in it, and what people do."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.support.service import MODELS, ROOT, VERSION
from training.export.model_readme import render_readme

if TYPE_CHECKING:
    from pathlib import Path

# Versions that are published in the repository, not only on this machine.
COMMITTED = re.findall(r"^!models/mnist-mlp/(\d+)/$", (ROOT / ".gitignore").read_text(), re.MULTILINE)


def _card(version: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((MODELS / version / "model.json").read_text())
    return card


def _metadata(text: str) -> dict[str, Any]:
    """The block of YAML at the beginning."""
    start, block, _ = text.split("---\n", 2)
    assert start == ""
    metadata: dict[str, Any] = yaml.safe_load(block)
    return metadata


@pytest.mark.parametrize("version", COMMITTED)
def test_a_committed_version_says_what_its_card_says(version: str) -> None:
    """Its README.md is what is made of its model.json today: `python -m training card models/mnist-mlp/*`."""
    assert (MODELS / version / "README.md").read_text() == render_readme(_card(version))


@pytest.mark.parametrize("version", COMMITTED)
def test_the_metadata_is_as_the_hub_specifies_it(version: str) -> None:
    """The keys of huggingface/hub-docs' modelcard.md: each result has a task, a dataset and metrics, with values."""
    card, metadata = _card(version), _metadata(render_readme(_card(version)))
    assert set(metadata) == set("license library_name pipeline_tag tags datasets metrics model-index".split())
    assert metadata["pipeline_tag"] == "image-classification"
    assert metadata["datasets"] == ["ylecun/mnist"]
    (model,) = metadata["model-index"]
    assert model["name"] == "mnist-mlp"
    assert len(model["results"]) == len(card["metrics"]) - 1  # all but validation
    for result in model["results"]:
        assert result["task"] == {"type": "image-classification"}
        assert {"type", "name"} <= set(result["dataset"])
        facts = card["metrics"]["test" if "split" in result["dataset"] else "rendered"]
        assert {each["type"]: each["value"] for each in result["metrics"]} == pytest.approx(
            {name: facts[name] for name in ("accuracy", "nll", "ece")}, abs=1e-6
        )


def test_people_read_scores_data_and_knobs() -> None:
    """Accuracy and calibration by data set, every file's checksum, every knob, and what it is not for."""
    card, text = _card(VERSION), render_readme(_card(VERSION))
    for facts in card["metrics"].values():
        assert f"| {facts['count']:,} | {facts['accuracy']:.2%} | {facts['nll']:.4f} | {facts['ece']:.2%} |" in text
    for word in (*card["data"]["sha256"].values(), card["sha256"], "Do not use it for:", "`unlike_a_digit`"):
        assert word in text
    for knob in card["training"]["knobs"]:
        assert f"| `{knob}` |" in text
    assert "$" not in text.replace("$ python", "").replace("$ curl", "")


def test_people_read_the_quantiles_of_sets() -> None:
    """For three coverages, with the number of pictures of each source; a card without them has no such words."""
    levels, counts = [0.9, 0.99, 0.995, 0.999], {"validation": 5000, "rendered": 1200}
    conformal = {"levels": levels, "quantiles": [0, 1.234, 2, None], "counts": counts}
    text = render_readme(_card("2") | {"conformal": conformal})
    assert "99.0%: 1.23, 99.5%: 2.00, 99.9%: all ten digits." in text
    assert "5,000 of MNIST, validation; 1,200 of rendered pictures" in text
    assert "Sets of digits" not in render_readme(_card("2"))


def test_what_the_data_lack_and_odd_names_are_told() -> None:
    """The warnings of a run on few digits stand among the limits; a name that YAML would misread is quoted."""
    card = _card(VERSION)
    text = render_readme(card | {"name": "yes: #1", "data": card["data"] | {"warnings": ["only 5,000 digits"]}})
    assert "- only 5,000 digits.\n" in text.partition("## Limitations")[2].partition("##")[0]
    assert _metadata(text)["model-index"][0]["name"] == "yes: #1"


def test_the_lines_of_python_in_it_run(tmp_path: Path) -> None:
    """Pasted into a shell beside the model and a picture, they print the digit."""
    (program,) = re.findall(r"```python\n(.*?)```", render_readme(_card(VERSION)), re.DOTALL)
    (tmp_path / "model.onnx").symlink_to(MODELS / VERSION / "model.onnx")
    with np.load(MODELS / VERSION / "golden.npz") as golden:
        image, label = golden["images"][0, 0], golden["labels"][0]
    Image.fromarray(np.asarray(image)).resize((280, 280)).save(tmp_path / "digit.png")
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split()[0] == str(label)


@pytest.mark.parametrize("version", COMMITTED)
def test_the_contract_lists_every_committed_version(version: str) -> None:
    """models/README.md has a line for it, with its accuracy, NLL and calibration error, a latency, and what it is."""
    lines = (ROOT / "models" / "README.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"| {version} |")]
    _, accuracy, nll, ece, size, latency, what = [cell.strip() for cell in line.strip("|").split("|")]
    test = _card(version)["metrics"]["test"]
    assert accuracy == f"{100 * test['accuracy']:.2f} %"
    assert nll == f"{test['nll']:.4f}"
    assert ece == f"{100 * test['ece']:.2f} %"
    assert size == f"{(MODELS / version / 'model.onnx').stat().st_size / 1e6:.1f} MB"
    assert re.fullmatch(r"\d+ µs", latency)
    assert what
