from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import torch

from training.errors import GateError
from training.evaluation.onnx_runtime import run_onnx
from training.export import quantise
from training.export.quantise import Export
from training.export.to_onnx import to_onnx

if TYPE_CHECKING:
    from tests.support.training import Trained
    from training.data.mnist import Dataset


@pytest.fixture(scope="module")
def models(trained: Trained, dataset: Dataset) -> dict[str, bytes]:
    return quantise.make_variants(to_onnx(trained.network), dataset.train.images)


def test_int8_reads_the_digits_that_fp32_reads_in_a_smaller_file(models: dict[str, bytes], dataset: Dataset) -> None:
    """Both variants are about as accurate, and their weights take a quarter of the bytes."""
    predictions = {name: run_onnx(model, dataset.test.images) for name, model in models.items()}
    exports = quantise.compare(models, predictions, dataset.test)
    for variant in (exports["int8"], exports["int8_dynamic"]):
        assert variant.accuracy == pytest.approx(exports["fp32"].accuracy, abs=0.005)
        assert variant.nll == pytest.approx(exports["fp32"].nll, abs=0.02)
        assert variant.bytes < exports["fp32"].bytes * 0.4
    assert all(each.microseconds > 0 for each in exports.values())


def test_int8_answers_do_not_depend_on_their_neighbours(models: dict[str, bytes], dataset: Dataset) -> None:
    """The variant that may be published gives each image of a batch what it gives it alone, to the bit."""
    images = dataset.test.images[:20]
    alone = torch.cat([run_onnx(models["int8"], image) for image in torch.split(images, 1)])
    assert torch.equal(alone, run_onnx(models["int8"], images))


def test_the_same_weights_give_the_same_int8_file(models: dict[str, bytes], dataset: Dataset) -> None:
    """A run that was resumed publishes the same bytes, whatever its precision."""
    assert quantise.quantise_fixed(models["fp32"], dataset.train.images) == models["int8"]


def test_int8_that_is_less_right_is_refused() -> None:
    """The gate names what int8 costs, and what ships instead; five digits of ten thousand are allowed."""
    full = Export(400, 0.99, 0.03, 30.0)
    worse, harmless = (Export(100, accuracy, 0.03, 20.0) for accuracy in (0.9894, 0.9895))
    with pytest.raises(GateError, match=re.escape("int8 loses 0.06% of test accuracy, and the limit is 0.05%")):
        quantise.require_harmless({"fp32": full, "int8": worse}, "int8")
    quantise.require_harmless({"fp32": full, "int8": worse}, "fp32")
    quantise.require_harmless({"fp32": full, "int8": harmless}, "int8")
