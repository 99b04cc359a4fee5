from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from training.errors import GateError
from training.export import quantise
from training.export import to_onnx as export
from training.export.quantise import Export

if TYPE_CHECKING:
    from tests.support.training import Trained
    from training.data.mnist import Dataset


@pytest.fixture(scope="module")
def models(trained: Trained, dataset: Dataset) -> dict[str, bytes]:
    return quantise.twins(export.to_onnx(trained.network), dataset.train.images)


def test_int8_reads_the_digits_that_fp32_reads_in_a_smaller_file(models: dict[str, bytes], dataset: Dataset) -> None:
    """Both twins are right about as often, and their weights take a quarter of the bytes."""
    answers = {name: export.run_onnx(model, dataset.test.images) for name, model in models.items()}
    exports = quantise.compare(models, answers, dataset.test)
    for twin in (exports["int8"], exports["int8_dynamic"]):
        assert twin.accuracy == pytest.approx(exports["fp32"].accuracy, abs=0.005)
        assert twin.nll == pytest.approx(exports["fp32"].nll, abs=0.02)
        assert twin.bytes < exports["fp32"].bytes * 0.4
    assert all(each.microseconds > 0 for each in exports.values())


def test_int8_answers_do_not_depend_on_their_neighbours(models: dict[str, bytes], dataset: Dataset) -> None:
    """The twin that may be published gives each image of a batch what it gives it alone, to the bit."""
    images = dataset.test.images[:20]
    alone = torch.cat([export.run_onnx(models["int8"], image) for image in torch.split(images, 1)])
    assert torch.equal(alone, export.run_onnx(models["int8"], images))


def test_the_same_weights_give_the_same_int8_file(models: dict[str, bytes], dataset: Dataset) -> None:
    """A run that was resumed publishes the same bytes, whatever its precision."""
    assert quantise.static(models["fp32"], dataset.train.images) == models["int8"]


def test_int8_that_is_less_right_is_refused() -> None:
    """The gate names what int8 costs, and what ships instead; five digits of ten thousand are allowed."""
    full = Export(400, 0.99, 0.03, 30.0)
    worse, harmless = (Export(100, accuracy, 0.03, 20.0) for accuracy in (0.9894, 0.9895))
    with pytest.raises(GateError, match=re.escape("int8 costs 0.06% of test accuracy, and the limit is 0.05%")):
        quantise.require_harmless({"fp32": full, "int8": worse}, "int8")
    quantise.require_harmless({"fp32": full, "int8": worse}, "fp32")
    quantise.require_harmless({"fp32": full, "int8": harmless}, "int8")
